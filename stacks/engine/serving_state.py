"""Whether what a stack of this machine has deployed serves: its endpoint is asked, then its containers."""

from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from conventions.config_keys import MODEL_VERSION, ROLLOUT
from stacks.checks.asking import ask
from stacks.checks.endpoint import endpoint_verification
from stacks.engine.docker_state import container_checks
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment
from stacks.errors import EndpointSilent

_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Silence:
    """Why a deployed version does not serve."""

    reason: str
    mend: str
    """The command that brings it back."""

    def to_dict(self) -> dict[str, str]:
        """The silence as plain JSON values."""
        return asdict(self)


def find_silence(file: StackFile, checkout: Path) -> Silence | None:
    """Returns why the version that a stack of this machine has deployed does not serve; None when it does.

    None as well when nothing is deployed, and for a cluster, which is watched from elsewhere.

    Args:
        file: the stack's config, read now.
        checkout: the project's root.
    """
    if file.in_cluster or not file.deployed:
        return None
    problem = _endpoint_problem(file, checkout)
    # While the endpoint answers, Docker is asked only for what the endpoint does not show: a candidate.
    checks = container_checks(file, checkout) if problem or file.rollout().other else ()
    failed = [check.detail for check in checks if not check.healthy]
    if not problem and not failed:
        return None
    return Silence("; ".join(dict.fromkeys([*failed, *([problem] if problem else [])])), mend_command(file))


def mend_command(file: StackFile) -> str:
    """The command that brings back what a stack has deployed."""
    program, environment = "python scripts/deploy_model.py", file.environment
    if file.rollout().candidate:
        return f"{program} resume {environment}"
    if environment is DeploymentEnvironment.DEVELOPMENT:
        return f"{program} up {environment}"
    return f"{program} deploy {file.model_version} {environment}"


def _endpoint_problem(file: StackFile, checkout: Path) -> str:
    url = f"{file.endpoint_url}/health/ready"
    try:
        verify = endpoint_verification(url, checkout)
        with httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False, verify=verify) as client:
            answer = ask(client, "GET", url)
        served = answer.json().get("model_id") if answer.status_code == httpx.codes.OK else None
    except (EndpointSilent, httpx.HTTPError, ValueError, AttributeError, RecursionError) as error:
        return f"{url} does not answer ({error or type(error).__name__})"
    if served is None:
        return f"{url} answers {answer.status_code}"
    return "" if served in _versions(file) else f"{url} answers for {served}"


def _versions(file: StackFile) -> set[str]:
    """Every version that may answer, also while an update runs."""
    found: set[str] = set()
    for values in (file.config, file.deployed):
        rollout = values.get(ROLLOUT) or {}
        found |= {str(values.get(MODEL_VERSION)), *(str(rollout.get(key)) for key in ("candidate", "kept"))}
    return found
