"""What `GET /status` tells: the last minute and the whole time of a process, for people and tools."""

from typing import Any

import msgspec


class KeyUse(msgspec.Struct):
    """An API key that is let in."""

    name: str
    sha256: str
    """The first eight digits of its hash."""
    last_used: float | None
    """Unix time of its last request to this process; null before its first."""
    expires: float | None
    """Unix time from which on it is unknown; null without an end."""


class Status(msgspec.Struct):
    """The last minute and the whole time, for people."""

    seconds: float
    """How much of the last minute is covered."""
    requests: int
    requests_per_second: float
    errors: int
    error_rate: float
    latency_ms: dict[str, float | None]
    """Percentiles; null without requests."""
    gauges: dict[str, float]
    """Latest values by the name of the metric; those that are not known are left out."""
    drift_by_feature: dict[str, float]
    total: dict[str, int]
    """Requests and errors since the process started."""
    feedback: int
    """Decisions with feedback since the process started."""
    refusals: dict[str, int]
    """Requests that were answered with an error since the process started, by the code in the answer."""
    connections_closed: dict[str, int]
    """Connections that the service has closed since the process started, by reason."""
    feedback_items: dict[str, int]
    """Items of feedback since the process started, by what became of them, such as `verified` or `receipt_altered`."""
    feedback_by_version: dict[str, dict[str, int]]
    """Decisions with feedback since the process started that were `right` and `wrong`, by the version that decided."""
    drift_shares: dict[str, list[float]] = {}
    """Of each feature the share of the latest values in each bin of the manifest; the last is of gaps where known."""
    keys: list[KeyUse] = []
    """The API keys that are let in."""
    override: dict[str, str] | None = None
    """What gives the decisions in place of the model, why, by whom and until when; null where the model decides."""
    decisions_lost: int = 0
    """Decisions that are not in the decision log since the process started: its target took nothing for too long."""
    log_lines_lost: int = 0
    """Lines of the request log that no target took, or that did not fit the queue, since the process started."""
    processes: list[dict[str, Any]] = []
    """Each process that serves here, with its memory; empty where one serves alone."""
