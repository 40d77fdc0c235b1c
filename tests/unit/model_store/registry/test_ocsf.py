"""The export of the audit log has the names that OCSF gives: nothing else, nothing missing."""

import json
from datetime import datetime
from typing import Any

import jsonschema
import pytest

from model_store import ModelRegistry
from model_store.errors import AccessDenied, ChecksumMismatch
from model_store.registry.access import AccessPolicy, Rights, Role
from model_store.registry.log.ocsf import ocsf_event
from tests.unit.model_store.making import register

# Attributes and requirements of OCSF 1.1.0, from github.com/ocsf/ocsf-schema: the class
# `events/application/api_activity.json`, `events/base_event.json` with `includes/classification.json` and
# `includes/occurrence.json`, and of `objects/`: metadata, product, actor, user, api, service, resource_details,
# network_endpoint.
_EVENT = {
    "required": {
        "activity_id": int,
        "actor": dict,
        "api": dict,
        "category_uid": int,
        "class_uid": int,
        "metadata": dict,
        "severity_id": int,
        "src_endpoint": dict,
        "time": int,
        "type_uid": int,
    },
    "optional": {
        "activity_name": str,
        "category_name": str,
        "class_name": str,
        "message": str,
        "resources": list,
        "status": str,
        "status_detail": str,
        "status_id": int,
        "unmapped": dict,
    },
}
_OBJECTS: dict[str, dict[str, dict[str, type]]] = {
    "metadata": {
        "required": {"product": dict, "version": str},
        "optional": {"uid": str, "sequence": int, "original_time": str, "log_name": str},
    },
    "metadata.product": {"required": {"name": str, "vendor_name": str}, "optional": {}},
    "actor": {"required": {"user": dict}, "optional": {}},
    "actor.user": {"required": {"name": str, "uid": str}, "optional": {}},
    "api": {"required": {"operation": str}, "optional": {"service": dict}},
    "api.service": {"required": {"name": str}, "optional": {}},
    "src_endpoint": {"required": {"name": str}, "optional": {}},
}
_ACTIVITY_IDS = {0, 1, 2, 3, 4, 99}
_STATUS_IDS = {0, 1, 2, 99}


def _schema(part: dict[str, dict[str, type]]) -> dict[str, Any]:
    kinds = {int: "integer", str: "string", dict: "object", list: "array"}
    known = {**part["required"], **part["optional"]}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": sorted(part["required"]),
        "properties": {name: {"type": kinds[kind]} for name, kind in known.items()},
    }


def _require(value: Any, schema: dict[str, Any]) -> None:
    jsonschema.validate(value, schema)


def _events(registry: ModelRegistry) -> list[dict[str, Any]]:
    location = registry.storage.location
    return [json.loads(json.dumps(ocsf_event(record, location, digest))) for record, digest in registry.audit.links()]


def test_every_event_has_the_attributes_of_the_schema(registry: ModelRegistry) -> None:
    model_id = register(registry)
    registry.load_model(model_id)
    registry.update_model_status(model_id, "staged", reason="reviewed")
    registry.record_deployment(model_id, environment="production", deployment_id="d")
    registry.audit.append("something new", model_id)
    for event in _events(registry):
        _require(event, _schema(_EVENT))
        for path, part in _OBJECTS.items():
            value = event
            for name in path.split("."):
                value = value[name]
            _require(value, _schema(part))
        assert event["activity_id"] in _ACTIVITY_IDS
        assert event["status_id"] in _STATUS_IDS
        assert event["class_uid"] == 6003
        assert event["category_uid"] == 6
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]


def test_an_event_says_who_did_what_to_which_version_when(registry: ModelRegistry) -> None:
    model_id = register(registry)
    registry.record_deployment(model_id, environment="production", deployment_id="d", action="rollback")
    registered, begun, rolled_back = _events(registry)
    record, *_ = registry.audit.records()
    assert registered["actor"]["user"]["name"] == "tester"
    assert registered["resources"] == [{"uid": model_id, "name": model_id, "type": "model version"}]
    assert registered["time"] == round(datetime.fromisoformat(record.at).timestamp() * 1000)
    assert (registered["activity_name"], registered["status"]) == ("Create", "Begun")
    assert registered["metadata"]["sequence"] == 1
    assert (begun["api"]["operation"], begun["status"]) == ("rollback", "Begun")
    assert (rolled_back["api"]["operation"], rolled_back["status"]) == ("rollback", "Success")
    assert rolled_back["unmapped"]["details"]["environment"] == "production"


def test_a_refusal_is_a_failure_of_what_was_tried(registry: ModelRegistry) -> None:
    model_id = register(registry)
    reader = ModelRegistry(registry.storage.location, actor="eve", policy=AccessPolicy(default=Rights(Role.READER)))
    with pytest.raises(AccessDenied):
        reader.update_model_status(model_id, "staged")
    refused = _events(registry)[-1]
    assert (refused["activity_name"], refused["status"], refused["severity_id"]) == ("Update", "Failure", 3)
    assert "needs the role promoter" in refused["status_detail"]


def test_a_log_shipper_resumes_and_gets_an_error_when_shipped_records_are_gone(registry: ModelRegistry) -> None:
    model_id = register(registry)
    for _ in range(3):
        registry.load_model(model_id)
    assert [record.sequence for record in registry.audit.records(after=2)] == [3, 4]
    assert list(registry.audit.records(after=4)) == []
    with pytest.raises(ChecksumMismatch, match="no record 9"):
        list(registry.audit.records(after=9))
