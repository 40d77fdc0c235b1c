"""Is a deployment healthy: its process, its API, its model, its resources."""

import re
import ssl
from dataclasses import asdict, dataclass, replace
from typing import Any

import httpx

from conventions.alert_rules import MEMORY
from conventions.exit_codes import DONE, ENDPOINT_SILENT, UNFIT
from infra.deployment_config import DeploymentConfig
from stacks.checks.asking import ask
from stacks.history import Deployment

_TIMEOUT_SECONDS = 5.0
_MEMORY_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


REQUIREMENTS = "requirements"
"""The check of what the environment requires of the version."""
_SERVES = ("container", "api", "model")
"""The checks that fail where the endpoint does not serve the version."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    healthy: bool
    detail: str


@dataclass(frozen=True)
class HealthReport:
    """The health of one deployment, check by check."""

    deployment_id: str
    environment: str
    model_id: str
    url: str
    checks: tuple[Check, ...]
    mend: str = ""
    """The command that brings back an endpoint that does not serve; empty where it serves, or a person has to look."""
    answers: bool = True
    """Whether the endpoint gives any answer; one that hangs is asked once."""

    @property
    def healthy(self) -> bool:
        """Whether every check passed."""
        return all(check.healthy for check in self.checks)

    @property
    def exit_code(self) -> int:
        """0 when healthy; of its own when the version lacks what the environment requires, and all else is well."""
        failed = {check.name for check in self.checks if not check.healthy}
        return DONE if not failed else UNFIT if failed == {REQUIREMENTS} else ENDPOINT_SILENT

    def with_check(self, check: Check) -> "HealthReport":
        """The report with one check more."""
        return replace(self, checks=(*self.checks, check))

    def with_mend(self, command: str) -> "HealthReport":
        """The report with the command that brings the endpoint back, where it does not serve."""
        silent = any(check.name in _SERVES and not check.healthy for check in self.checks)
        return replace(self, mend=command) if silent else self

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        told = asdict(self)
        del told["answers"]
        return {**told, "healthy": self.healthy}


def check_health(
    deployment: Deployment,
    config: DeploymentConfig,
    further: tuple[Check, ...] = (),
    *,
    verify: ssl.SSLContext | bool = True,
) -> HealthReport:
    """Asks the endpoint of a deployment how it is.

    Args:
        deployment: what should be running.
        config: the environment's deployment config, for limits and thresholds.
        further: what the platform itself says.
        verify: how an endpoint with TLS is verified.
    """
    url = deployment.api_endpoint or config.api_endpoint
    with httpx.Client(base_url=url, timeout=_TIMEOUT_SECONDS, trust_env=False, verify=verify) as client:
        ready = _ask(client, "/health/ready")
        # Each question to an endpoint that hangs lasts until its time is over.
        health = _ask(client, "/health") if ready[0] else ready
    checks = (
        _superseded(deployment),
        *further,
        _api(ready),
        _model(deployment, ready),
        _memory(health, config),
    )
    return HealthReport(
        deployment.deployment_id,
        deployment.environment,
        deployment.model_id,
        url,
        tuple(filter(None, checks)),
        answers=bool(ready[0]),
    )


def _ask(client: httpx.Client, path: str) -> tuple[int, dict[str, Any], str]:
    try:
        answer = ask(client, "GET", path)
        body = answer.json()
    except httpx.HTTPError as error:
        return 0, {}, str(error) or type(error).__name__
    except ValueError:
        return answer.status_code, {}, "the answer is not JSON"
    return answer.status_code, body if isinstance(body, dict) else {}, ""


def _superseded(deployment: Deployment) -> Check | None:
    if deployment.current:
        return None
    return Check(
        "deployment",
        healthy=False,
        detail="no longer deployed: another deployment followed or it was destroyed",
    )


def _api(ready: tuple[int, dict[str, Any], str]) -> Check:
    status, _, problem = ready
    detail = problem or f"/health/ready answers {status}"
    return Check("api", status == httpx.codes.OK, detail)


def _model(deployment: Deployment, ready: tuple[int, dict[str, Any], str]) -> Check:
    served = ready[1].get("model_id")
    return Check("model", served == deployment.model_id, f"serves {served}" if served else "serves no model")


def _memory(health: tuple[int, dict[str, Any], str], config: DeploymentConfig) -> Check:
    resources = health[1].get("resources") or {}
    used = resources.get("memory_bytes")
    if not isinstance(used, int | float):
        return Check("resources", healthy=False, detail=health[2] or "the service does not say what it uses")
    limit = _bytes(config.resource_limits.memory)
    threshold = MEMORY.threshold(config.monitoring_config.alert_thresholds)
    share = used / limit
    detail = f"memory {used / (1 << 20):.0f} MiB, {share:.0%} of {config.resource_limits.memory}"
    return Check("resources", not MEMORY.is_breached(share, threshold), detail)


def _bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w+)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * _MEMORY_UNITS[unit]
