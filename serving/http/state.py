"""What the running service knows of itself."""

import time
from dataclasses import dataclass, field
from typing import Any

from serving.http.auth import ApiKeys
from serving.inference.model import ServedModel
from serving.observability.logs import RequestLog
from serving.observability.metrics import ServiceMetrics
from serving.settings import ServingSettings


@dataclass
class ServiceState:
    """What the running service knows of itself."""

    settings: ServingSettings
    model: ServedModel
    api_keys: ApiKeys
    metrics: ServiceMetrics
    request_log: RequestLog
    started: float = field(default_factory=time.monotonic)
    draining: bool = False
    """Set while the service finishes before it ends."""
    in_flight: int = 0

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
        return {"model_id": self.model.metadata.model_id, "digest": self.model.metadata.digest}
