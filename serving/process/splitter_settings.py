"""What the traffic splitter is told by its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from conventions import variables
from serving.settings import body_bounds, connection_bounds, tls_files


@dataclass(frozen=True)
class SplitterBounds:
    """What a client may send and hold; `ServingSettings` says what each means."""

    max_header_bytes: int
    max_headers: int
    header_timeout_seconds: float
    idle_timeout_seconds: float
    max_connections: int
    max_connections_per_address: int
    max_body_bytes: int
    request_timeout_seconds: float


@dataclass(frozen=True)
class TrafficSplitterSettings:
    """What the traffic splitter is told by its environment."""

    directory: Path
    """The run directory of the splitter."""
    stable: Path
    """Run directory of the process that serves the stable version."""
    candidate: Path | None
    """The run directory of the candidate's process; None without a candidate."""
    model_id: str
    candidate_model_id: str
    weight: int
    """Percent of the predictions that the candidate answers."""
    shadow: bool
    host: str
    port: int
    bounds: SplitterBounds
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    tls_client_ca_file: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "TrafficSplitterSettings":
        """Reads the settings.

        Raises:
            KeyError: a variable is missing.
            SettingsError: a bound is not allowed.
        """
        candidate = environment.get(variables.FRONT_CANDIDATE)
        return cls(
            directory=Path(environment[variables.FRONT_DIRECTORY]),
            stable=Path(environment[variables.FRONT_STABLE]),
            candidate=Path(candidate) if candidate else None,
            model_id=environment[variables.MODEL_ID],
            candidate_model_id=environment.get(variables.CANDIDATE_MODEL_ID, ""),
            weight=int(environment.get(variables.FRONT_WEIGHT) or 0),
            shadow=environment.get(variables.FRONT_SHADOW) == "1",
            host=environment[variables.API_HOST],
            port=int(environment[variables.API_PORT]),
            bounds=SplitterBounds(**connection_bounds(environment), **body_bounds(environment)),
            **tls_files(environment),
        )
