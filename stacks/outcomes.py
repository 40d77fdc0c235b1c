"""How the deployments of a stack ended: succeeded, failed, withdrawn or interrupted, and which a rollback replaced.

The engine's history of a stack has every update that ended, the failed ones too. The audit log alone has a run that was
killed, and an update that succeeded while the cluster's live objects differed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from model_store.registry.log.audit import REFUSED
from stacks.environments import DeploymentEnvironment
from stacks.history import Intent, ToldUpdate, push_version, told_updates

if TYPE_CHECKING:
    from model_store import ModelRegistry
    from model_store.registry.log.audit import AuditRecord

_DEPLOYS = f"{Intent.DEPLOY} "
_GOES_ON = ("promote", "resume")
"""Actions of the audit log that go on with a deployment that has begun before."""
_AFTERWARDS = timedelta(minutes=10)
"""The audit log has the outcome after the update: checks of a cluster's objects lie between."""
_ROUNDING = timedelta(seconds=1)
"""The engine's history tells whole seconds."""
_BEGIN = "2000-01-01T00:00:00Z"
_TIME_DIGITS = {"day": 10, "month": 7}
"""How much of an RFC 3339 time names the period."""


class Outcome(StrEnum):
    """How a deployment that was started ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"
    """A candidate that did not become the stable version."""
    INTERRUPTED = "interrupted"
    """Its run was killed before the update ended."""
    UNDECIDED = "undecided"
    """A candidate that is still tried."""


@dataclass(frozen=True)
class Attempt:
    """A deployment, or a rollback, that was started."""

    environment: str
    model_id: str
    started_at: str
    """RFC 3339, UTC."""
    finished_at: str
    """Of its last update so far."""
    outcome: Outcome
    is_rollback: bool = False
    rolled_back: bool = False
    """Whether a rollback replaced it."""


@dataclass(frozen=True)
class DeploymentCounts:
    """How the deployments of an environment ended that were started in a period."""

    environment: str
    period: str
    """`YYYY-mm` or `YYYY-mm-dd`, UTC."""
    started: int
    """Deployments by command, by a plain `pulumi up`, or as a candidate; a rollback is none of them."""
    succeeded: int
    failed: int
    withdrawn: int
    interrupted: int
    undecided: int
    rolled_back: int
    """Of those that succeeded, how many a rollback replaced."""
    rollbacks: int
    """Rollbacks that were started, the automatic ones too."""
    failed_rollbacks: int
    success_rate: float | None
    """`succeeded` by those that have ended, 0 to 1; None while none has ended."""

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain JSON values."""
        return asdict(self)


def attempts(environment: DeploymentEnvironment, updates: Iterable[Any]) -> list[Attempt]:
    """The deployments and rollbacks that a stack's history tells of, oldest first.

    A rollout is one deployment: from its candidate's first update until the candidate is the stable version, or gone.

    Args:
        environment: whose stack it is.
        updates: the stack's history as the engine lists it, newest first.
    """
    found: list[Attempt] = []
    versions: list[str] = []
    for update in told_updates(environment, updates):
        tried = bool(found) and found[-1].outcome is Outcome.UNDECIDED
        if update.kind == "destroy":
            if tried and update.succeeded:
                found[-1] = replace(found[-1], outcome=Outcome.WITHDRAWN)
            continue
        if update.kind != "update" or not update.model_id:
            continue
        went_back = update.succeeded and push_version(versions, update.model_id, update.intent)
        if tried:
            found[-1] = _followed(found[-1], update)
        elif (begun := _begun(update, went_back)) is not None:
            found.append(begun)
        else:
            continue
        if found[-1].is_rollback and found[-1].outcome is Outcome.SUCCEEDED:
            found[:-1] = _with_last_rolled_back(found[:-1])
    return found


def with_audit(found: Sequence[Attempt], environment: str, records: "Iterable[AuditRecord]") -> list[Attempt]:
    """The attempts and what the audit log alone tells, oldest first.

    Args:
        found: of one environment, by the engine's history.
        environment: which.
        records: of the audit log, oldest first; those of other environments are passed over.
    """
    own = [record for record in records if record.details.get("environment") == environment]
    failed = [record for record in own if record.details.get("outcome") == Outcome.FAILED]
    following = [*(each.started_at for each in found[1:]), ""]
    known = [_as_recorded(each, after, failed) for each, after in zip(found, following, strict=True)] if found else []
    return sorted([*known, *_killed(own, known)], key=lambda each: each.started_at)


def read_audit(found: Mapping[str, Sequence[Attempt]], registry: "ModelRegistry", since: str = "") -> list[Attempt]:
    """As `with_audit`, for several environments and the records since a time.

    Args:
        found: attempts by environment.
        registry: holds the audit log.
        since: RFC 3339, UTC; empty: all records.

    Raises:
        ModelStoreError: the registry or its log cannot be read.
    """
    from model_store.registry.log.log_window import LogWindows

    records = LogWindows(registry.audit).read_between(since or _BEGIN, _rfc3339(datetime.now(UTC)))
    return [each for name, attempts in found.items() for each in with_audit(attempts, name, records)]


def counts(found: Iterable[Attempt], by: str = "month") -> list[DeploymentCounts]:
    """The attempts counted, by environment and by the period in which they were started; the newest first.

    Args:
        found: of any environments.
        by: the period, `day` or `month`.
    """
    groups: dict[tuple[str, str], list[Attempt]] = {}
    for each in found:
        groups.setdefault((each.started_at[: _TIME_DIGITS[by]], each.environment), []).append(each)
    return [_counted(environment, period, groups[period, environment]) for period, environment in sorted(groups)[::-1]]


def _counted(environment: str, period: str, found: Sequence[Attempt]) -> DeploymentCounts:
    started = [each for each in found if not each.is_rollback]
    rollbacks = [each for each in found if each.is_rollback]
    number = {outcome: sum(each.outcome is outcome for each in started) for outcome in Outcome}
    ended = len(started) - number[Outcome.UNDECIDED]
    return DeploymentCounts(
        environment=environment,
        period=period,
        started=len(started),
        succeeded=number[Outcome.SUCCEEDED],
        failed=number[Outcome.FAILED],
        withdrawn=number[Outcome.WITHDRAWN],
        interrupted=number[Outcome.INTERRUPTED],
        undecided=number[Outcome.UNDECIDED],
        rolled_back=sum(each.rolled_back for each in started),
        rollbacks=len(rollbacks),
        failed_rollbacks=sum(each.outcome is Outcome.FAILED for each in rollbacks),
        success_rate=number[Outcome.SUCCEEDED] / ended if ended else None,
    )


def _begun(update: ToldUpdate, went_back: bool) -> Attempt | None:
    """What an update starts while no candidate is tried; None where it starts nothing."""
    if (update.intent is Intent.ROLLOUT and not update.candidate) or (update.succeeded and not update.changed):
        return None
    outcome = Outcome.UNDECIDED if update.candidate else Outcome.SUCCEEDED
    return Attempt(
        environment=update.environment,
        model_id=update.candidate or update.model_id,
        started_at=update.started_at,
        finished_at=update.finished_at,
        outcome=outcome if update.succeeded else Outcome.FAILED,
        is_rollback=went_back or update.intent is Intent.ROLLBACK,
    )


def _followed(attempt: Attempt, update: ToldUpdate) -> Attempt:
    """A candidate's deployment after the next update of the stack. A step that fails leaves it undecided."""
    attempt = replace(attempt, finished_at=update.finished_at)
    if not update.succeeded:
        return attempt
    if update.model_id == attempt.model_id:
        return replace(attempt, outcome=Outcome.SUCCEEDED, is_rollback=update.intent is Intent.ROLLBACK)
    return attempt if update.candidate == attempt.model_id else replace(attempt, outcome=Outcome.WITHDRAWN)


def _with_last_rolled_back(found: Sequence[Attempt]) -> list[Attempt]:
    """Marks the deployment that served when a rollback began."""
    for position in range(len(found) - 1, -1, -1):
        each = found[position]
        if each.outcome is Outcome.SUCCEEDED:
            return [*found[:position], replace(each, rolled_back=not each.is_rollback), *found[position + 1 :]]
    return list(found)


def _as_recorded(attempt: Attempt, following: str, failed: "Iterable[AuditRecord]") -> Attempt:
    """The attempt, as failed where the audit log says so of an update that the engine calls successful."""
    for record in failed:
        within = _between(attempt.started_at, record.at, attempt.finished_at, _AFTERWARDS)
        within = within and (not following or _between(attempt.started_at, record.at, following))
        if within and record.model_id == attempt.model_id and attempt.outcome is Outcome.SUCCEEDED:
            return replace(attempt, outcome=Outcome.FAILED, rolled_back=False)
    return attempt


def _killed(records: "Sequence[AuditRecord]", known: Sequence[Attempt]) -> list[Attempt]:
    """Deployments whose begin is recorded, which did not end before the next change of the environment."""
    killed: list[tuple[AuditRecord, str]] = []
    claimed: set[int] = set()
    begun: AuditRecord | None = None
    for record in records:
        if "intent" not in record.details or record.action == REFUSED:
            continue
        outcome = record.details.get("outcome")
        if begun is not None:
            if outcome in (None, Outcome.INTERRUPTED) or record.model_id != begun.model_id:
                killed.append((begun, record.at))
            else:
                claimed |= set(_within(begun, record.at, known, claimed)[-1:])
        begun = record if outcome is None and _starts_a_deployment(record) else None
    return [_interrupted(record) for record, last in killed if not _within(record, last, known, claimed)]


def _within(begun: "AuditRecord", last: str, known: Sequence[Attempt], claimed: "set[int]") -> list[int]:
    """Positions of the attempts that can be a record's own: of its version, in its time, and no other record's.

    A whole second of the history can lie on either side of a record, so time alone does not tell them apart.
    """
    return [
        number
        for number, each in enumerate(known)
        if number not in claimed and each.model_id == begun.model_id and _between(begun.at, each.started_at, last)
    ]


def _starts_a_deployment(record: "AuditRecord") -> bool:
    return record.action not in _GOES_ON and str(record.details["intent"]).startswith(_DEPLOYS)


def _interrupted(record: "AuditRecord") -> Attempt:
    environment = str(record.details["environment"])
    return Attempt(environment, record.model_id, record.at, record.at, Outcome.INTERRUPTED)


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _between(first: str, moment: str, last: str, later: timedelta = timedelta()) -> bool:
    begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    return begin - _ROUNDING <= datetime.fromisoformat(moment) <= end + _ROUNDING + later
