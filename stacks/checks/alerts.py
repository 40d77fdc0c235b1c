"""What an endpoint measures of itself, against the thresholds in its config: alarms where there is no CloudWatch."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from conventions import metric_names
from conventions.regular_files import read_text
from infra.deployment_config import DeploymentConfig
from stacks.errors import EndpointSilent

_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Alert:
    """One threshold."""

    name: str
    value: float | None
    """As measured; None when nothing is known yet, which breaches nothing."""
    threshold: float
    unit: str
    breached: bool

    def to_dict(self) -> dict[str, Any]:
        """The alert as plain JSON values."""
        return asdict(self)


def measured(url: str, api_key_file: Path) -> dict[str, Any]:
    """What the endpoint says of its last minute.

    Args:
        url: of the endpoint.
        api_key_file: file with an API key that has the scope `admin`.

    Raises:
        EndpointSilent: the key cannot be read or is refused, or the endpoint does not answer.
    """
    try:
        key = read_text(api_key_file).strip()
        answer = httpx.get(f"{url}/status", headers={"X-API-Key": key}, timeout=_TIMEOUT_SECONDS, trust_env=False)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
    except OSError as error:
        raise EndpointSilent(
            f"{api_key_file}: cannot be read ({error.strerror}); name a key with --api-key-file"
        ) from None
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        raise EndpointSilent(
            f"{url}/status answers {status}; it needs an API key with the scope admin, named with --api-key-file"
        ) from None
    except (httpx.HTTPError, ValueError) as error:
        raise EndpointSilent(f"{url} does not answer ({type(error).__name__}: {error})") from None
    return found


def evaluate(numbers: dict[str, Any], config: DeploymentConfig) -> list[Alert]:
    """Compares the measurements with the config's thresholds."""
    limits, gauges = config.monitoring_config.alert_thresholds, numbers["gauges"]
    above: Callable[[float, float], bool] = lambda value, limit: value > limit  # noqa: E731
    below: Callable[[float, float], bool] = lambda value, limit: value < limit  # noqa: E731
    rows = (
        ("error rate", numbers["error_rate"], limits.error_rate, "share", above),
        ("latency p95", numbers["latency_ms"]["p95"], float(limits.response_time_p95), "ms", above),
        ("cpu", gauges.get(metric_names.CPU_UTILIZATION), limits.cpu_utilization, "share of the limit", above),
        ("memory", gauges.get(metric_names.MEMORY_UTILIZATION), limits.memory_utilization, "share of the limit", above),
        ("drift", gauges.get(metric_names.DRIFT), limits.drift, "index", above),
        ("accuracy", gauges.get(metric_names.ACCURACY), limits.accuracy, "share", below),
    )
    return [
        Alert(name, value, limit, unit, breached=value is not None and breaches(value, limit))
        for name, value, limit, unit, breaches in rows
    ]
