"""What served at a time or on a day: a deployment serves from its end until the next one, or the stack, ends it."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

from stacks.errors import NoPriorVersion, SeveralDeployments
from stacks.history import Deployment


def served_at(history: Iterable[Deployment], when: date) -> list[Deployment]:
    """The deployments that served at a time or on a day, newest first.

    Args:
        history: deployments of one environment, newest first.
        when: a time, in UTC when it has no zone; or a date, which means the whole day in UTC.
    """
    if not isinstance(when, datetime):
        return served_on(history, when)
    then = deployment_at(history, when)
    return [then] if then else []


def deployment_at(history: Iterable[Deployment], moment: datetime) -> Deployment | None:
    """Returns the deployment that served at a moment; None before the first one and after the stack's end.

    Args:
        history: deployments of one environment, newest first.
        moment: with a time zone; UTC when it has none.
    """
    wanted = _rfc3339(moment)
    found = next((item for item in history if item.finished_at <= wanted), None)
    return found if found is not None and (not found.until or wanted < found.until) else None


def served_on(history: Iterable[Deployment], day: date) -> list[Deployment]:
    """The deployments that served on a day of UTC, for all of it or a part, newest first."""
    name = day.isoformat()
    first = f"{name}T00:00:00Z"
    return [item for item in history if item.finished_at[: len(name)] <= name and not "" < item.until <= first]


def period_line(deployment: Deployment) -> str:
    """A deployment in one line: from, until, version, who and why."""
    who = f"by {deployment.actor}" if deployment.actor else ""
    why = f"({deployment.reason})" if deployment.reason else ""
    until = deployment.until or "now"
    return " ".join(filter(None, (deployment.finished_at, "to", until, deployment.model_id, who, why)))


def require_served(history: Iterable[Deployment], environment: str, when: date) -> list[Deployment]:
    """As `served_at`.

    Raises:
        NoPriorVersion: nothing served then.
    """
    if served := served_at(history, when):
        return served
    raise NoPriorVersion(f"nothing was deployed in {environment} {_shown(when)}")


def several_deployments(served: Sequence[Deployment], environment: str, when: date) -> SeveralDeployments:
    """The error that lists the deployments of a day, each with the option that chooses it."""
    lines = "\n".join(f"  --at {item.finished_at}   {period_line(item)}" for item in served)
    return SeveralDeployments(
        f"{len(served)} deployments served in {environment} {_shown(when)}; nothing was changed. Choose one:\n{lines}"
    )


def _shown(when: date) -> str:
    return f"at {_rfc3339(when)}" if isinstance(when, datetime) else f"on {when.isoformat()} (UTC)"


def _rfc3339(moment: datetime) -> str:
    utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return utc.replace(microsecond=0).isoformat(timespec="seconds").replace("+00:00", "Z")
