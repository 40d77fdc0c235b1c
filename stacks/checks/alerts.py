"""What an endpoint measures of itself, against the thresholds in its config: alarms where there is no CloudWatch."""

import ssl
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from conventions.alert_rules import THRESHOLD_RULES
from conventions.regular_files import read_text
from infra.deployment_config import DeploymentConfig
from stacks.checks.asking import ask
from stacks.errors import EndpointSilent

_TIMEOUT_SECONDS = 5.0


class StatusRead(msgspec.Struct):
    """What commands and console rely on in the service's status; a service of another release may tell more."""

    seconds: float
    requests: int
    requests_per_second: float
    errors: int
    error_rate: float
    latency_ms: dict[str, float | None]
    gauges: dict[str, float]
    drift_by_feature: dict[str, float]
    total: dict[str, int]
    feedback: int
    feedback_by_version: dict[str, dict[str, int]] = {}
    drift_shares: dict[str, list[float]] = {}


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


def measured(url: str, api_key_file: Path, verify: ssl.SSLContext | bool = True) -> dict[str, Any]:
    """Returns the endpoint's metrics of its last minute.

    Args:
        url: of the endpoint.
        api_key_file: file with an API key that has the scope `admin`.
        verify: how an endpoint with TLS is verified.

    Raises:
        EndpointSilent: the key cannot be read or is refused, or the endpoint does not answer.
    """
    try:
        key = read_text(api_key_file).strip()
        with httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False, verify=verify) as client:
            answer = ask(client, "GET", f"{url}/status", headers={"X-API-Key": key})
        answer.raise_for_status()
        found: dict[str, Any] = msgspec.json.decode(answer.content)
        msgspec.convert(found, StatusRead)
    except OSError as error:
        raise EndpointSilent(
            f"{api_key_file}: cannot be read ({error.strerror}); name a key with --api-key-file"
        ) from None
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        refused = status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
        advice = "it needs an API key with the scope admin, named with --api-key-file" if refused else "see its log"
        raise EndpointSilent(f"{url}/status answers {status}; {advice}") from None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise EndpointSilent(f"{url}/status does not answer as the service does ({error})") from None
    except (httpx.HTTPError, ValueError) as error:
        raise EndpointSilent(f"{url} does not answer ({type(error).__name__}: {error})") from None
    return found


def evaluate(numbers: dict[str, Any], config: DeploymentConfig) -> list[Alert]:
    """Compares the measurements with the config's thresholds."""
    thresholds = config.monitoring_config.alert_thresholds
    found = []
    for rule in THRESHOLD_RULES:
        value, threshold = rule.measured(numbers), float(rule.threshold(thresholds))
        found.append(Alert(rule.title, value, threshold, rule.unit, rule.is_breached(value, threshold)))
    return found
