"""In S3: who acts is what STS says, and the versions of the log's objects tell what was hidden or replaced."""

import json
import time
from typing import Any

import boto3
import pytest

from model_store import Keyring, ModelRegistry
from model_store.errors import AccessDenied, ChecksumMismatch
from model_store.keys.keyring import generate_key
from model_store.registry.access_file import parse_principal
from model_store.registry.granting import describe_access, grant
from model_store.registry.recovery.backups import backup
from model_store.registry.upkeep.log_proof import prove_audit_log

KEY = generate_key()


@pytest.fixture
def bucket(cloud: str, request: pytest.FixtureRequest) -> str:
    name = f"b{abs(hash(request.node.name)) % 10**12}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def _open(bucket: str, **more: Any) -> ModelRegistry:
    return ModelRegistry(f"s3://{bucket}/registry", keys=Keyring.of(KEY), **more)


def _register(registry: ModelRegistry) -> str:
    return registry.register_model(model=1, model_name="m", model_type="T", registry_only=True)


def _record(sequence: int) -> str:
    return f"registry/audit/000000/{sequence:09}.json"


def test_the_actor_is_the_caller_arn_and_the_maker_is_admin(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "admin")
    monkeypatch.setenv("MODEL_ACTOR", "release-bot")
    registry = _open(bucket)
    _register(registry)
    arn = boto3.client("sts").get_caller_identity()["Arn"]
    (record,) = registry.audit.records()
    assert (record.actor, record.details["claimed"]) == (arn, "release-bot")
    found = describe_access(registry)
    assert (found["role"], found["actors"]) == ("admin", {parse_principal(arn): {"role": "admin"}})
    assert "IAM enforces" in found["meaning"]


def test_an_assumed_role_has_one_name_for_all_its_sessions(bucket: str) -> None:
    registry = _open(bucket)
    _register(registry)
    role = "arn:aws:sts::123456789012:assumed-role/publisher"
    assert parse_principal(f"{role}/whoever") == f"{role}/*"
    grant(registry, f"{role}/*", "publisher")
    session = _open(bucket, actor=f"{role}/i-chose-this")
    model_id = _register(session)
    with pytest.raises(AccessDenied, match="status needs the role promoter"):
        session.update_model_status(model_id, "validated")


def test_records_that_were_written_once_are_told_to_be(bucket: str) -> None:
    registry = _open(bucket)
    registry.load_model(_register(registry))
    assert str(prove_audit_log(registry)).endswith("by the chain alone; each object was written once")


def test_a_hidden_record_is_told_by_its_delete_marker(bucket: str) -> None:
    registry = _open(bucket)
    registry.load_model(_register(registry))
    boto3.client("s3").delete_object(Bucket=bucket, Key=_record(2))
    with pytest.raises(ChecksumMismatch, match=r"000000002\.json is hidden by a delete marker"):
        prove_audit_log(_open(bucket))


def test_a_replaced_record_is_told_by_its_versions(bucket: str) -> None:
    registry = _open(bucket)
    registry.load_model(_register(registry))
    client = boto3.client("s3")
    content = client.get_object(Bucket=bucket, Key=_record(2))["Body"].read().replace(b"load", b"look")
    client.put_object(Bucket=bucket, Key=_record(2), Body=content)
    # The chain alone does not tell: nothing follows on the last record.
    assert [record.action for record in _open(bucket).audit.records()] == ["register", "look"]
    with pytest.raises(ChecksumMismatch, match=r"000000002\.json was replaced: 2 versions"):
        prove_audit_log(_open(bucket))


def test_a_backup_in_s3_keeps_the_heads(bucket: str) -> None:
    registry = _open(bucket)
    _register(registry)
    target = f"s3://{bucket}/backup"
    backup(registry, target)
    listed = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix="backup/anchors/")["Contents"]
    assert [item["Key"] for item in listed] == ["backup/anchors/000000002.json"]
    assert f"proven to 2 by the backup {target}" in str(prove_audit_log(registry, backups=[target]))


def test_an_append_waits_for_one_request_and_for_three_in_a_new_process(bucket: str, server: str) -> None:
    registry = _open(bucket)
    model_id = _register(registry)
    _await_hint(registry)
    other = _open(bucket)
    other.audit.append("load", model_id)
    _await_hint(other)
    counted = _counted(other)
    other.audit.append("load", model_id)
    assert counted == ["put_if_absent"]
    _await_hint(_open(bucket))
    third = _open(bucket)
    counted = _counted(third)
    third.audit.append("load", model_id)
    assert counted == ["read", "read", "put_if_absent"]


def _await_hint(registry: ModelRegistry) -> None:
    """A thread writes the hint after the record."""
    last = registry.audit.head().sequence
    deadline = time.monotonic() + 30
    while registry.audit.hint()[0].sequence != last:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _counted(registry: ModelRegistry) -> list[str]:
    """The requests that a caller waits for, in order; each of these methods makes one."""
    made: list[str] = []
    storage: Any = registry.storage
    for name in ("read", "put_if_absent", "keys", "exists"):
        real = getattr(storage, name)

        def call(*arguments: Any, _name: str = name, _real: Any = real) -> Any:
            made.append(_name)
            return _real(*arguments)

        setattr(storage, name, call)
    return made


def test_the_policy_is_in_the_registry_for_every_process(bucket: str) -> None:
    _register(_open(bucket))
    content = boto3.client("s3").get_object(Bucket=bucket, Key="registry/access.json")["Body"].read()
    assert json.loads(content)["default"] == {"role": "reader"}
