"""The registry in S3 and keys in KMS, against a real server of both interfaces on the loopback."""

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from model_store import Keyring, ModelRegistry, SecureModelPersistence
from model_store.errors import (
    KeyUnwrap,
    ModelStoreError,
    StorageFailed,
    UnreadableModel,
    VersionConflict,
)
from model_store.keys.keyring import generate_key
from model_store.keys.kms import KmsKey
from model_store.registry.aliases import Aliases
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.upkeep.key_rotation import rotate_keys
from model_store.registry.upkeep.maintenance import cleanup, verify_everything
from model_store.storage.s3 import S3Storage
from tests.unit.model_store.making import intact

KEY = generate_key()


@pytest.fixture
def location(cloud: str, request: pytest.FixtureRequest) -> str:
    bucket = f"b{abs(hash(request.node.name)) % 10**12}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/registry"


@pytest.fixture
def registry(location: str) -> ModelRegistry:
    return ModelRegistry(location, keys=Keyring.of(KEY), actor="tester")


def _register(registry: ModelRegistry, value: Any = 1, **arguments: Any) -> str:
    return registry.register_model(model=value, model_name="m", model_type="T", registry_only=True, **arguments)


def test_a_model_goes_into_the_bucket_and_comes_back(registry: ModelRegistry, location: str) -> None:
    model_ids = [_register(registry, [number] * 1000) for number in range(3)]
    other = ModelRegistry(location, keys=Keyring.of(KEY))
    assert [other.load_model(each)[0][0] for each in model_ids] == [0, 1, 2]
    assert [model.model_id for model in other.list_models()] == model_ids
    assert [model.version for model in other.list_models()] == [1, 2, 3]
    assert other.verify_artifact(model_ids[0]) == other.get_metadata(model_ids[0]).digest
    assert intact(other)


def test_the_layout_is_that_of_a_directory(registry: ModelRegistry, location: str) -> None:
    model_id = _register(registry)
    bucket = location.removeprefix("s3://").split("/")[0]
    listed = boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    names = {item["Key"].removeprefix(f"registry/models/m/{model_id}/") for item in listed}
    assert {"manifest.json", "artifact", "state.json"} <= names


def test_large_artifacts_go_and_come_in_parts(registry: ModelRegistry) -> None:
    value = b"\x07" * (12 << 20)
    model_id = _register(registry, value, compression="none")
    assert registry.load_model(model_id)[0] == value


def test_status_aliases_audit_and_listing_see_every_change(registry: ModelRegistry, location: str) -> None:
    first, second = _register(registry), _register(registry)
    other = ModelRegistry(location, keys=Keyring.of(KEY))
    assert len(other.list_models(status="trained")) == 2
    registry.update_model_status(first, "staged")
    Aliases(registry).set("m", "champion", second)
    assert [model.model_id for model in other.list_models(status="staged")] == [first]
    assert Aliases(other).resolve("m@champion") == second
    assert [record.action for record in other.audit.records()] == ["register", "register", "status", "alias"]


def test_the_second_of_two_writers_of_one_etag_gets_an_error(registry: ModelRegistry, location: str) -> None:
    bucket, prefix = location.removeprefix("s3://").split("/")
    one, two = S3Storage(bucket, prefix), S3Storage(bucket, prefix)
    assert one.put_if_absent("x/y.json", b"1")
    assert not two.put_if_absent("x/y.json", b"2")
    one.compare_and_swap("x/y.json", b"3", b"1")
    with pytest.raises(VersionConflict):
        two.compare_and_swap("x/y.json", b"4", b"1")
    assert two.read("x/y.json") == b"3"


def test_rotation_cleanup_export_and_backup_work_as_in_a_directory(
    registry: ModelRegistry, location: str, tmp_path: Path
) -> None:
    model_ids = [_register(registry, number) for number in range(3)]
    new_key = generate_key()
    assert rotate_keys(registry, [], Keyring.of(KEY, new_key).providers) == model_ids
    assert ModelRegistry(location, keys=Keyring.of(new_key)).load_model(model_ids[0])[0] == 0
    export_model(registry, model_ids[2], tmp_path / "m.bundle")
    backup(registry, tmp_path / "backup")
    cleanup(registry, 1, dry_run=False)
    assert [model.model_id for model in registry.list_models()] == model_ids[2:]
    restore(registry, tmp_path / "backup")
    assert [model.model_id for model in registry.list_models()] == model_ids
    local = ModelRegistry(tmp_path / "local", keys=Keyring.of(new_key))
    import_model(local, tmp_path / "m.bundle")
    assert local.load_model(model_ids[2])[0] == 2
    assert intact(registry)


def test_a_version_without_its_manifest_is_not_there(registry: ModelRegistry, location: str) -> None:
    model_id = _register(registry)
    bucket = location.removeprefix("s3://").split("/")[0]
    boto3.client("s3").delete_object(Bucket=bucket, Key=f"registry/models/m/{model_id}/manifest.json")
    assert registry.list_models() == []
    with pytest.raises(UnreadableModel, match=r"manifest\.json is missing"):
        registry.get_metadata(model_id)
    assert _register(registry) != model_id


def test_a_registration_that_was_ended_is_no_damage_and_a_lost_manifest_is(
    registry: ModelRegistry, location: str, tmp_path: Path
) -> None:
    bucket, client = location.removeprefix("s3://").split("/")[0], boto3.client("s3")
    ended, kept = _register(registry), _register(registry)
    registry.update_model_status(kept, "staged")
    # As a process leaves it that ended before the manifest, which is written last.
    client.delete_object(Bucket=bucket, Key=f"registry/models/m/{ended}/manifest.json")
    findings = {each.subject: each for each in verify_everything(registry)}
    assert all(each.intact for each in findings.values())
    assert "an ended registration" in findings[ended].detail
    assert backup(registry, tmp_path / "backup")["damaged"] == {}
    key = f"registry/models/m/{ended}/state.json"
    state = json.loads(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    client.put_object(Bucket=bucket, Key=key, Body=json.dumps({**state, "unfinished": "2026-01-01T00:00:00Z"}).encode())
    assert [each.subject for each in verify_everything(registry) if not each.intact] == [ended]
    client.delete_object(Bucket=bucket, Key=f"registry/models/m/{kept}/manifest.json")
    assert {each.subject for each in verify_everything(registry) if not each.intact} == {ended, kept}


def test_an_altered_object_is_found(registry: ModelRegistry, location: str) -> None:
    model_id = _register(registry, [1] * 1000)
    bucket, client = location.removeprefix("s3://").split("/")[0], boto3.client("s3")
    key = f"registry/models/m/{model_id}/artifact"
    content = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    client.put_object(Bucket=bucket, Key=key, Body=content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
    with pytest.raises(ModelStoreError, match=model_id):
        registry.verify_artifact(model_id)


def test_a_bucket_that_is_not_there_is_named(cloud: str) -> None:
    registry = ModelRegistry("s3://no-such-bucket/registry", keys=Keyring.of(KEY))
    with pytest.raises(StorageFailed, match="no-such-bucket"):
        _register(registry)


@pytest.fixture
def kms_key(cloud: str) -> KmsKey:
    return KmsKey(boto3.client("kms").create_key()["KeyMetadata"]["Arn"])


def test_a_model_is_encrypted_for_a_kms_key_and_opened_by_it(kms_key: KmsKey, tmp_path: Path) -> None:
    persistence = SecureModelPersistence(keys=Keyring((kms_key,)))
    saved = persistence.save_model_secure([1, 2], tmp_path / "a", context={"model_id": "m", "model_name": "n"})
    assert saved["key_fingerprints"] == [kms_key.key_id]
    assert persistence.load_model_secure(tmp_path / "a")[0] == [1, 2]


def test_kms_and_static_keys_open_one_artifact_side_by_side(kms_key: KmsKey, location: str) -> None:
    registry = ModelRegistry(location, keys=Keyring((kms_key,)))
    model_id = _register(registry, "both")
    rotate_keys(registry, [model_id], [kms_key, *Keyring.of(KEY).providers])
    for keys in (Keyring((kms_key,)), Keyring.of(KEY)):
        assert ModelRegistry(location, keys=keys).load_model(model_id)[0] == "both"


def test_kms_unwraps_for_the_very_artifact_only(kms_key: KmsKey) -> None:
    context = json.dumps({"context": {"model_id": "a"}, "message_id": "00"}).encode()
    slot = kms_key.wrap(b"k" * 32, context)
    assert kms_key.unwrap(slot, context) == b"k" * 32
    with pytest.raises(KeyUnwrap, match="refused"):
        kms_key.unwrap(slot, context.replace(b'"a"', b'"b"'))


def test_the_environment_names_a_kms_key_and_a_wrong_one_is_refused(kms_key: KmsKey, tmp_path: Path) -> None:
    ring = Keyring.from_environment({"MODEL_KMS_KEY": kms_key.key_id, "MODEL_KEY": KEY.decode()})
    assert ring.primary.key_id == kms_key.key_id
    missing = KmsKey("arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000")
    with pytest.raises(KeyUnwrap):
        SecureModelPersistence(keys=Keyring((missing,))).save_model_secure(1, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_backup_in_a_bucket_comes_back(tmp_path: Path, location: str) -> None:
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    model_id = _register(registry)
    destination = f"{location}-backup"
    assert backup(registry, destination)["copied"] >= 3
    assert backup(registry, destination)["copied"] == 1, "the record of the backup itself"
    restored = ModelRegistry(tmp_path / "restored", encrypt=False)
    restore(restored, destination)
    assert restored.verify_artifact(model_id) == registry.get_metadata(model_id).digest
