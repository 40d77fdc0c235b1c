"""A registry in a bucket with an object lock: nobody removes a record in time, and one that is hidden is told.

On versitygw only: moto takes no object into such a bucket without the header `x-amz-sdk-checksum-algorithm`, which
obstore does not send beside its checksum.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from model_store import Keyring, ModelRegistry
from model_store.errors import ChecksumMismatch
from model_store.registry.aliases import Aliases
from model_store.registry.upkeep.log_proof import prove_audit_log
from model_store.registry.upkeep.maintenance import delete_model
from tests.s3_servers import s3_client, s3_settings, versitygw_server
from tests.unit.model_store.making import KEY, intact, register

_BUCKET = "locked"
_DAYS = 90


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a bucket whose objects nobody removes for 90 days."""
    with versitygw_server(tmp_path_factory.mktemp("locked")) as url:
        client = s3_client(url)
        client.create_bucket(Bucket=_BUCKET, ObjectLockEnabledForBucket=True)
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": _DAYS}}
        lock = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        client.put_object_lock_configuration(Bucket=_BUCKET, ObjectLockConfiguration=lock)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in s3_settings(url).items():
                patch.setenv(name, value)
            yield client


def _versions(client: Any, prefix: str) -> list[dict[str, Any]]:
    found = client.list_object_versions(Bucket=_BUCKET, Prefix=prefix).get("Versions", [])
    return [each for each in found if each["Key"].endswith(".json")]


def test_each_record_is_locked_and_one_that_is_hidden_is_told(client: Any) -> None:
    registry = ModelRegistry(f"s3://{_BUCKET}/registry", keys=Keyring.of(KEY), actor="tester")
    first, second = register(registry, 1), register(registry, 2)
    registry.update_model_status(first, "staged")
    Aliases(registry).set("m", "champion", first)
    registry.record_deployment(first, environment="staging", deployment_id="d")
    delete_model(registry, second)
    assert registry.load_model(first)[0] == 1
    assert intact(registry)
    assert "each object was written once" in str(prove_audit_log(registry))
    records = _versions(client, "registry/audit/")
    assert len(records) == len(list(registry.audit.records())) >= 7
    for record in [*records, *_versions(client, f"registry/models/m/{first}/manifest.json")]:
        where = {"Bucket": _BUCKET, "Key": record["Key"], "VersionId": record["VersionId"]}
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(**where)
    # Without naming a version a delete hides the record; its bytes stay, and the proof names it.
    hidden = records[2]["Key"]
    client.delete_object(Bucket=_BUCKET, Key=hidden)
    with pytest.raises(ChecksumMismatch, match=r"000000003\.json is hidden by a delete marker"):
        prove_audit_log(registry)
    assert [each["VersionId"] for each in _versions(client, hidden)] == [records[2]["VersionId"]]
