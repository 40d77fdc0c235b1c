"""Audit records as events of the Open Cybersecurity Schema Framework (OCSF 1.1.0): one JSON object a record.

The class is API Activity (6003) of the category Application Activity (6). Names and numbers are those of the schema at
github.com/ocsf/ocsf-schema: `events/application/api_activity.json`, `events/base_event.json`,
`includes/classification.json`, `includes/occurrence.json` and the objects metadata, product, actor, user, api, service,
resource_details and network_endpoint.
"""

from datetime import datetime
from typing import Any

from model_store.errors import UnreadableModel
from model_store.registry.log.audit import GATES, REFUSED, UPDATE, AuditRecord

OCSF_VERSION = "1.1.0"
_CLASS_UID, _CATEGORY_UID = 6003, 6
_CREATE, _READ, _UPDATE, _DELETE, _OTHER = 1, 2, 3, 4, 99
_ACTIVITY_NAMES = {_CREATE: "Create", _READ: "Read", _UPDATE: "Update", _DELETE: "Delete"}
_ACTIVITIES = {
    "register": _CREATE,
    "import": _CREATE,
    "restore": _CREATE,
    "repair": _UPDATE,
    "load": _READ,
    "export": _READ,
    "backup": _READ,
    "prove": _UPDATE,
    "status": _UPDATE,
    "alias": _UPDATE,
    "sign": _UPDATE,
    "approve": _UPDATE,
    "rotate-key": _UPDATE,
    "access": _UPDATE,
    UPDATE: _UPDATE,
    GATES: _READ,
    "deploy": _UPDATE,
    "rollback": _UPDATE,
    "canary": _UPDATE,
    "blue-green": _UPDATE,
    "promote": _UPDATE,
    "abort": _UPDATE,
    "resume": _UPDATE,
    "api-key": _CREATE,
    "unlock": _UPDATE,
    "pause": _UPDATE,
    "unpause": _UPDATE,
    "receipt-key": _UPDATE,
    "decision-features": _READ,
    "erase-features": _DELETE,
    "delete": _DELETE,
    "cleanup": _DELETE,
    "destroy": _DELETE,
}
_INFORMATIONAL, _MEDIUM = 1, 3
_SUCCESS, _FAILURE, _STATUS_OTHER = 1, 2, 99
_WARNED = (REFUSED, "force", "access")


def ocsf_event(record: AuditRecord, location: str, digest: str) -> dict[str, Any]:
    """One record as an event.

    Args:
        record: of the audit log.
        location: of the registry.
        digest: of the record as it is stored.

    Raises:
        UnreadableModel: the record's time is not one.
    """
    attempted = str(record.details.get("attempted", "")) if record.action == REFUSED else record.action
    activity = _ACTIVITIES.get(attempted, _OTHER)
    status_id, status = _status(record)
    event: dict[str, Any] = {
        "activity_id": activity,
        "activity_name": _ACTIVITY_NAMES.get(activity, record.action),
        "category_uid": _CATEGORY_UID,
        "category_name": "Application Activity",
        "class_uid": _CLASS_UID,
        "class_name": "API Activity",
        "type_uid": _CLASS_UID * 100 + activity,
        "severity_id": _MEDIUM if record.action in _WARNED else _INFORMATIONAL,
        "status_id": status_id,
        "status": status,
        "time": _milliseconds(record),
        "message": " ".join(part for part in (record.actor, record.action, record.model_id, record.reason) if part),
        "metadata": {
            "version": OCSF_VERSION,
            "product": {"name": "fraud-detection model registry", "vendor_name": "fraud-detection"},
            "uid": digest,
            "sequence": record.sequence,
            "original_time": record.at,
            "log_name": f"{location}/audit",
        },
        "actor": {"user": {"name": record.actor, "uid": record.actor}},
        "api": {"operation": record.action, "service": {"name": "model registry"}},
        "src_endpoint": {"name": "not recorded"},
        "unmapped": {"details": record.details, "previous": record.previous},
    }
    if record.model_id:
        event["resources"] = [{"uid": record.model_id, "name": record.model_id, "type": "model version"}]
    if record.reason:
        event["status_detail"] = record.reason
    return event


def _status(record: AuditRecord) -> tuple[int, str]:
    """A record is written before its action; a second one tells how a deployment ended."""
    outcome = record.details.get("outcome")
    if record.action == REFUSED or outcome in ("failed", "interrupted"):
        return _FAILURE, "Failure"
    if outcome is not None:
        return _SUCCESS, "Success"
    return _STATUS_OTHER, "Begun"


def _milliseconds(record: AuditRecord) -> int:
    try:
        moment = datetime.fromisoformat(record.at)
    except ValueError:
        raise UnreadableModel(f"audit record {record.sequence}: {record.at!r} is not a time") from None
    return int(moment.timestamp() * 1000)
