"""What the running service knows of itself."""

import itertools
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from model_store.decisions.override import Override
from serving.http.auth import ApiKeys
from serving.http.member import Member
from serving.http.receipts import Receipts
from serving.inference.model import ServedModel
from serving.observability.decision_log import DecisionLog
from serving.observability.logs import RequestLog
from serving.observability.metrics import ServiceMetrics
from serving.observability.resources import resident_bytes
from serving.observability.status import KeyUse
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from serving.observability.tracing import Tracing


@dataclass
class ServiceState:
    """What the running service knows of itself."""

    settings: ServingSettings
    model: ServedModel
    api_keys: ApiKeys
    metrics: ServiceMetrics
    request_log: RequestLog
    receipts: Receipts
    """Signs the receipts of answers, and reads those of feedback."""
    decision_log: DecisionLog | None = None
    """Where each decision is logged; None: nowhere."""
    started: float = field(default_factory=time.monotonic)
    draining: bool = False
    """Set while the service finishes before it ends."""
    in_flight: int = 0

    request_ids: Iterator[str] = field(default_factory=lambda: _request_ids())
    """An id for each request that brings none."""
    last_used: dict[str, float] = field(default_factory=dict)
    """When each API key was last used since the process started, in seconds of `time.perf_counter`, by its hash."""
    override: Override | None = None
    """What gives the decisions until its time; None: the model does."""
    tracing: "Tracing | None" = None
    """Makes a span of each request; None for no traces."""
    member: Member | None = None
    """This process in its group; None when it serves alone."""

    def __post_init__(self) -> None:
        if self.member is not None:
            self.member.last_used = self.keys_last_used

    def take_keys(self, keys: ApiKeys) -> None:
        """Lets these API keys in from now on, and no others; former keys of receipts are among them."""
        self.api_keys = keys
        self.receipts.take_former(keys.receipt_keys)

    def take_override(self, override: Override | None) -> None:
        """Lets an override give the decisions from now on, or the model where it is None."""
        self.override = override
        self.metrics.paused_until = 0.0 if override is None else override.until

    def override_in_force(self) -> Override | None:
        """The override that gives the decisions now; None: the model does."""
        override = self.override
        return override if override is not None and time.time() < override.until else None

    def keys_in_use(self) -> list[KeyUse]:
        """Every API key that is let in, with its last use since the process started."""
        used = self.keys_last_used() if self.member is None else self.member.keys_last_used()
        return [KeyUse(key.name, key.sha256[:8], used.get(key.sha256), key.expires) for key in self.api_keys.known]

    def keys_last_used(self) -> dict[str, float]:
        """Unix time of the last use of each API key in this process, by its hash."""
        behind = time.time() - time.perf_counter()
        return {hashed: behind + at for hashed, at in self.last_used.items()}

    @property
    def bounds(self) -> ServingSettings:
        """What a client may send and hold."""
        return self.settings

    def refused_early(self, status: int, code: str, method: str, milliseconds: float) -> str:
        """Counts an answer that is given before the application is asked; returns its request id."""
        request_id = next(self.request_ids)
        self.metrics.request(status, milliseconds)
        self.metrics.refused(code)
        if self.tracing is not None:
            self.tracing.refused(status, code, method, request_id)
        if self.request_log.enabled:
            model_id = self.model.metadata.model_id
            self.request_log.add(request_id, None, model_id, method, "", status, milliseconds, None, code)
        return request_id

    def connection_closed(self, reason: str) -> None:
        """Counts a connection that the service has closed on its own account."""
        self.metrics.closed(reason)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return self.settings.api_host, self.settings.api_port

    @property
    def drain_seconds(self) -> float:
        """How long open connections are served after a stop was asked for."""
        return self.settings.shutdown_drain_seconds

    @property
    def introduction(self) -> dict[str, Any]:
        """What is served."""
        metadata = self.model.metadata
        return {"model_id": metadata.model_id, "digest": metadata.digest, "memory_bytes": resident_bytes()}


def _request_ids() -> Iterator[str]:
    prefix = secrets.token_hex(8)
    return (f"{prefix}{number:016x}" for number in itertools.count())
