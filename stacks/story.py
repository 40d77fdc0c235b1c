"""A model version's whole story in an environment: trained, registered, validated, approved, gated, deployed.

The stack's history tells what served and who changed it; the registry's manifest and state tell what is known of the
version; the audit log, in the periods around these, tells which gates it passed and who is on record.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from stacks.history import Deployment, Intent
from stacks.periods import require_served, several_deployments

if TYPE_CHECKING:
    from model_store import ModelMetadata, ModelRegistry
    from model_store.registry.log.audit import AuditRecord
    from model_store.registry.log.log_window import LogWindows

_AROUND = timedelta(minutes=10)
"""A command checks before its update, and writes its last record after it."""
_CHECKED = ("gates", "force", "break-glass")


def story_of(
    history: Sequence[Deployment], environment: str, at: date | None, registry: "ModelRegistry"
) -> dict[str, Any]:
    """The story of the version that serves, or served, in an environment.

    Args:
        history: the environment's deployments, newest first, with their actors.
        environment: for messages.
        at: a time, or a day in UTC; None: now.
        registry: holds the version and the audit log.

    Raises:
        NoPriorVersion: nothing served then.
        SeveralDeployments: several versions served on that day.
        ModelStoreError: the registry or its log cannot be read; a version that was deleted has no manifest to tell of.
    """
    served = require_served(history, environment, at or datetime.now(UTC))
    if len({item.model_id for item in served}) > 1:
        assert at is not None  # noqa: S101 - a moment has one deployment
        raise several_deployments(served, environment, at)
    shown = served[0]
    updates = _run_of(history, shown)
    began, before = updates[-1], _before(history, updates[-1])
    tried = _tried(history, began)
    story: dict[str, Any] = {"environment": environment, "at": at.isoformat() if at else "", "model_id": shown.model_id}
    story |= _of_registry(registry, shown.model_id)
    records = _around(registry, [*updates, *tried], environment, shown.model_id)
    story["gated"] = _gated(history, records, began, tried)
    story["deployed"] = {**_deployment(began), "audit": _recorded(records, began)}
    story["until"] = updates[0].until
    if before is not None:
        story["before"] = _deployment(before)
    if began.intent is Intent.ROLLBACK and before is not None:
        story["rolled_back_from"] = {"model_id": before.model_id, "deployment_id": before.deployment_id}
    story["tried"] = [_deployment(each) for each in tried]
    story["since"] = [_deployment(each) for each in updates[:-1][::-1]]
    return story


def _of_registry(registry: "ModelRegistry", model_id: str) -> dict[str, Any]:
    """What manifest and state tell; of a deleted version, that the registry no longer has it."""
    from model_store.errors import ModelNotFound
    from model_store.registry.approvals import approval_problem, read_validation
    from model_store.registry.log.log_window import LogWindows

    try:
        metadata, state = registry.get_metadata(model_id), registry.state(model_id)
    except ModelNotFound as error:
        return {"missing": str(error)}
    windows = LogWindows(registry.audit)
    validated = read_validation(state)
    evidence = {each["sha256"]: each for each in state.get("evidence", [])}
    return {
        "model": _model(metadata, registry),
        "trained": _trained(metadata),
        "registered": _registered(metadata, state, windows),
        "validated": _validated(validated, evidence) if validated else None,
        "approved": [{**each, "evidence": evidence.get(each["evidence"], {"sha256": each["evidence"]})}
                     for each in state.get("approvals", [])],
        "not_approved": approval_problem(registry, model_id),
        "status_history": state["history"],
    }  # fmt: skip


def _model(metadata: "ModelMetadata", registry: "ModelRegistry") -> dict[str, Any]:
    from model_store.registry.serving import serves_in

    return {
        "name": metadata.model_name,
        "version": metadata.version,
        "type": metadata.model_type,
        "class": metadata.model_class,
        "description": metadata.description,
        "digest": metadata.digest,
        "status": str(metadata.status),
        "serving": dict(serves_in(registry, metadata.model_id)),
    }


def _trained(metadata: "ModelMetadata") -> dict[str, Any]:
    source = metadata.source
    return {
        "author": metadata.author,
        "source": {"name": source.name, "sha256": source.sha256, "size_bytes": source.size_bytes} if source else None,
        "metrics": dict(metadata.performance_metrics),
        "library_versions": dict(metadata.library_versions),
        "lineage": dict(metadata.lineage),
    }


def _registered(metadata: "ModelMetadata", state: Mapping[str, Any], windows: "LogWindows") -> dict[str, Any]:
    first: Mapping[str, str] = next(iter(state["history"]), {})
    found = {"at": metadata.created_at, "by": first.get("by") or metadata.author, "how": first.get("why", "")}
    # An imported version was made elsewhere and earlier; its state begins with the import.
    moment = datetime.fromisoformat(first.get("at", metadata.created_at))
    for record in windows.between(_rfc3339(moment - _AROUND), _rfc3339(moment + _AROUND)):
        if record.model_id == metadata.model_id and record.action in ("register", "import"):
            return {**found, "at": record.at, "by": record.actor, "reason": record.reason, "audit": record.sequence}
    return found


def _validated(validated: Mapping[str, Any], evidence: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    files = [dict(evidence.get(each, {"sha256": each})) for each in validated.get("evidence", [])]
    return {**validated, "evidence": files}


def _around(
    registry: "ModelRegistry", related: Iterable[Deployment], environment: str, model_id: str
) -> "list[AuditRecord]":
    """The records about a version in an environment, around its deployments there."""
    from model_store.registry.log.log_window import LogWindows

    windows, found = LogWindows(registry.audit), {}
    for each in related:
        first = _rfc3339(datetime.fromisoformat(each.started_at) - _AROUND)
        last = _rfc3339(datetime.fromisoformat(each.finished_at) + _AROUND)
        for record in windows.between(first, last):
            if record.details.get("environment") == environment and record.model_id == model_id:
                found[record.sequence] = record
    return [found[sequence] for sequence in sorted(found)]


def _gated(
    history: Sequence[Deployment], records: "Iterable[AuditRecord]", began: Deployment, tried: Sequence[Deployment]
) -> list[dict[str, Any]]:
    """The checks of one deployment: after the deployment before it and its candidate's steps."""
    first = tried[0] if tried else began
    earlier = next(iter(history[history.index(first) + 1 :]), None)
    since = earlier.finished_at if earlier is not None else ""
    return [
        _check(each)
        for each in records
        if each.action in _CHECKED and _until(each, began) and since <= each.at[:19] + "Z"
    ]


def _check(record: "AuditRecord") -> dict[str, Any]:
    kept = {name: value for name, value in record.details.items() if name not in ("environment", "claimed")}
    told = {"at": record.at, "by": record.actor, "check": record.action, "reason": record.reason}
    return {**told, **kept, "audit": record.sequence}


def _recorded(records: "Iterable[AuditRecord]", deployment: Deployment) -> dict[str, Any]:
    """What the audit log has on record of a deployment: actor and number; empty where it has nothing."""
    from model_store.registry.log.audit import UPDATE

    for record in records:
        # A plain `pulumi up` can have any message; its record cannot be left out by the message.
        plain = record.action == UPDATE and _during(record, deployment)
        if plain or record.details.get("deployment_id") == deployment.deployment_id:
            agrees, plain = record.actor == deployment.actor, deployment.intent is Intent.UP
            return {"sequence": record.sequence, "actor": record.actor, "agrees": agrees, "only_source": plain}
    return {}


def _during(record: "AuditRecord", deployment: Deployment) -> bool:
    return deployment.started_at <= record.at[:19] + "Z" and _until(record, deployment)


def _until(record: "AuditRecord", deployment: Deployment) -> bool:
    """Whether a record is of a deployment's time or before it, to the second."""
    return record.at[:19] + "Z" <= deployment.finished_at


def _deployment(deployment: Deployment) -> dict[str, Any]:
    names = ("deployment_id", "model_id", "started_at", "intent", "message", "actor", "reason", "commit", "run")
    found = {name: str(getattr(deployment, name)) for name in names}
    glass = {"break_glass": dict(deployment.break_glass)} if deployment.break_glass_reason else {}
    return {**found, "from": deployment.finished_at, "until": deployment.until, **glass}


def _run_of(history: Sequence[Deployment], shown: Deployment) -> list[Deployment]:
    """The updates in a row that kept a version serving, newest first; the last one brought it."""
    at = history.index(shown)
    newest = at
    while newest > 0 and _follows(history[newest - 1], history[newest]):
        newest -= 1
    oldest = at
    while oldest + 1 < len(history) and _follows(history[oldest], history[oldest + 1]):
        oldest += 1
    return list(history[newest : oldest + 1])


def _follows(later: Deployment, earlier: Deployment) -> bool:
    return later.model_id == earlier.model_id and earlier.until == later.finished_at


def _before(history: Sequence[Deployment], began: Deployment) -> Deployment | None:
    """What served until a deployment; None where nothing did."""
    found = next(iter(history[history.index(began) + 1 :]), None)
    return found if found is not None and found.until == began.finished_at else None


def _tried(history: Sequence[Deployment], began: Deployment) -> list[Deployment]:
    """The steps, oldest first, in which a version was a candidate before it took its place."""
    found = []
    for each in history[history.index(began) + 1 :]:
        if each.candidate != began.model_id:
            break
        found.append(each)
    return found[::-1]


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
