"""What happens to versions after they are registered: aliases, search, signatures, other keys, leaving and entering."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from model_store import Keyring, ModelRegistry
from model_store.errors import (
    InUse,
    InvalidInput,
    KeyNotFound,
    ModelNotFound,
    ModelStoreError,
    SignatureInvalid,
    UnreadableModel,
)
from model_store.keys.keyring import generate_key
from model_store.registry.aliases import Aliases
from model_store.registry.exchange.bundles import BUNDLE_FORMAT, export_model, import_model
from model_store.registry.files.layout import json_bytes
from model_store.registry.files.model_card import model_card
from model_store.registry.files.search import search
from model_store.registry.measuring.statistics import statistics
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.signing import (
    key_id,
    parse_public_key,
    public_text,
    read_signing_key,
    sign_manifest,
    verify_envelope,
    write_signing_key,
)
from model_store.registry.upkeep.key_rotation import rotate_keys
from model_store.registry.upkeep.maintenance import cleanup, delete_model
from tests.unit.model_store.making import KEY, intact, register

NEW_KEY = generate_key()


def test_versions_are_numbered_within_a_name_and_no_number_is_given_twice(registry: ModelRegistry) -> None:
    first, second = register(registry), register(registry)
    delete_model(registry, second)
    third = register(registry)
    other = register(registry, name="other")
    numbers = [registry.get_metadata(each).version for each in (first, third, other)]
    assert numbers == [1, 3, 1]


def test_an_alias_moves_and_keeps_its_history(registry: ModelRegistry) -> None:
    first, second = register(registry), register(registry)
    aliases = Aliases(registry)
    aliases.set("m", "champion", first, "start")
    aliases.set("m", "champion", second, "better")
    assert aliases.resolve("m@champion") == second
    assert [(item["model_id"], item["why"]) for item in aliases.history("m", "champion")] == [
        (first, "start"),
        (second, "better"),
    ]
    aliases.remove("m", "champion")
    with pytest.raises(ModelNotFound, match="no alias"):
        aliases.resolve("m@champion")
    assert len(aliases.history("m", "champion")) == 3


def test_references_mean_an_id_an_alias_or_a_number(registry: ModelRegistry) -> None:
    model_id = register(registry)
    Aliases(registry).set("m", "best", model_id)
    assert {Aliases(registry).resolve(each) for each in (model_id, "m@best", "m:1")} == {model_id}
    for unknown in ("m:2", "m:x", "m@other", "../x@y"):
        with pytest.raises(ModelNotFound):
            Aliases(registry).resolve(unknown)


def test_an_alias_of_another_model_or_of_an_odd_name_is_refused(registry: ModelRegistry) -> None:
    model_id = register(registry)
    with pytest.raises(InvalidInput, match="not of other"):
        Aliases(registry).set("other", "champion", model_id)
    with pytest.raises(InvalidInput, match="alias"):
        Aliases(registry).set("m", "Champion!", model_id)


def test_search_meets_conditions_on_tags_and_metrics_in_order(registry: ModelRegistry) -> None:
    for number, accuracy in enumerate((0.9, 0.97, 0.96)):
        register(registry, performance_metrics={"accuracy": accuracy}, tags=["a", f"n{number}"])
    register(registry, tags=["a"])
    models = registry.list_models()
    found = search(models, tags=["a"], metrics=["accuracy > 0.95"], sort="-accuracy")
    assert [model.performance_metrics["accuracy"] for model in found] == [0.97, 0.96]
    assert [model.version for model in search(models, sort="-version", limit=2)] == [4, 3]
    assert "accuracy" not in search(models, sort="accuracy")[-1].performance_metrics
    assert search(models, metrics=["accuracy<=0.9", "accuracy!=0.5"])[0].version == 1


@pytest.mark.parametrize("condition", ["accuracy", "accuracy ~ 1", "> 1", "accuracy > many", "__import__('os')>1"])
def test_an_invalid_search_condition_is_refused(condition: str) -> None:
    with pytest.raises(InvalidInput, match="condition"):
        search([], metrics=[condition])


def test_lineage_and_card_tell_where_a_model_comes_from(registry: ModelRegistry, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n0.5,1\n-1,2.5\n")
    data = np.random.default_rng(0).normal(size=(20, 2))
    model = LogisticRegression(C=0.25).fit(data, data[:, 0] > 0)
    model_id = registry.register_model(model=model, model_name="m", training_data=tmp_path / "data.csv", tags=["x"])
    lineage = registry.get_metadata(model_id).lineage
    assert lineage["parameters"]["C"] == 0.25
    assert lineage["training_data"]["name"] == "data.csv"
    card = model_card(registry.get_metadata(model_id), registry.state(model_id))
    for words in (model_id, "Parameter C | 0.25", "data.csv", "feature_0", "trained by tester: registered"):
        assert words in card


def test_what_is_deployed_aliased_or_a_rollbacks_target_cannot_be_deleted(registry: ModelRegistry) -> None:
    deployed, aliased, target, free = (register(registry, number) for number in range(4))
    registry.record_deployment(target, environment="production", deployment_id="d1")
    registry.update_model_status(target, "deprecated")
    registry.record_deployment(deployed, environment="production", deployment_id="d2")
    Aliases(registry).set("m", "champion", aliased)
    for model_id, words in ((deployed, "is deployed"), (aliased, "m@champion"), (target, "rollback in production")):
        with pytest.raises(InUse, match=words):
            delete_model(registry, model_id)
    delete_model(registry, free)
    with pytest.raises(ModelNotFound):
        registry.get_metadata(free)
    assert intact(registry)


def test_cleanup_keeps_the_latest_and_whatever_is_in_use(registry: ModelRegistry) -> None:
    model_ids = [register(registry, number) for number in range(6)]
    Aliases(registry).set("m", "champion", model_ids[0])
    would_go, kept = cleanup(registry, 2, dry_run=True)
    assert would_go == model_ids[1:4]
    assert list(kept) == model_ids[:1]
    assert len(registry.list_models()) == 6
    cleanup(registry, 2, dry_run=False)
    assert [model.model_id for model in registry.list_models()] == [model_ids[0], *model_ids[4:]]
    assert intact(registry)


def test_rotating_keys_changes_the_header_only_and_the_old_key_opens_nothing(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    model_id = register(registry, [1] * 5000)
    before, digest = registry.artifact_path(model_id).read_bytes(), registry.get_metadata(model_id).digest
    assert rotate_keys(registry, [], Keyring.of(NEW_KEY).providers) == [model_id]
    after = registry.artifact_path(model_id).read_bytes()
    size = registry.get_metadata(model_id).payload_bytes + 16
    assert before[-32 - size : -32] == after[-32 - size : -32], "the body's bytes are the same"
    assert before != after
    assert registry.verify_artifact(model_id) == digest
    with pytest.raises(KeyNotFound):
        registry.load_model(model_id)
    renewed = ModelRegistry(tmp_path / "registry", keys=Keyring.of(NEW_KEY))
    assert renewed.load_model(model_id)[0] == [1] * 5000


def test_several_keys_at_once_each_open_the_artifact(registry: ModelRegistry, tmp_path: Path) -> None:
    model_id = register(registry)
    rotate_keys(registry, [model_id], Keyring.of(KEY, NEW_KEY).providers)
    for key in (KEY, NEW_KEY):
        assert ModelRegistry(tmp_path / "registry", keys=Keyring.of(key)).load_model(model_id)[0] == 1
    assert registry.verify_artifact(model_id)


def test_a_signature_holds_for_this_manifest_and_these_keys_only(registry: ModelRegistry, tmp_path: Path) -> None:
    write_signing_key(tmp_path / "a.key")
    write_signing_key(tmp_path / "b.key")
    key, other = (read_signing_key(tmp_path / name) for name in ("a.key", "b.key"))
    signed, unsigned = register(registry, signing_key=key), register(registry)
    assert registry.verify_signature(signed, [key.public_key()]) == key_id(key.public_key())
    with pytest.raises(SignatureInvalid, match="none of the 1"):
        registry.verify_signature(signed, [other.public_key()])
    with pytest.raises(SignatureInvalid, match="not signed"):
        registry.verify_signature(unsigned, [key.public_key()])
    registry.sign_model(signed, other)
    assert registry.verify_signature(signed, [other.public_key()]) == key_id(other.public_key())
    assert registry.verify_signature(signed, [key.public_key()]) == key_id(key.public_key())
    taken = registry.manifest_path(signed).with_name("signature.json").read_bytes()
    registry.manifest_path(unsigned).with_name("signature.json").write_bytes(taken)
    with pytest.raises(SignatureInvalid, match="another manifest"):
        registry.verify_signature(unsigned, [key.public_key()])


def test_any_change_of_a_signed_manifest_or_of_the_envelope_is_found(tmp_path: Path) -> None:
    write_signing_key(tmp_path / "a.key")
    key = read_signing_key(tmp_path / "a.key")
    manifest = {"model_id": "m_T_20260101_000000", "digest": "sha256:" + "0" * 64, "metrics": {"a": 1.0}}
    envelope = sign_manifest(manifest, key)
    assert verify_envelope(envelope, manifest, [key.public_key()])
    text = json.dumps(envelope)
    for position in range(0, len(text), 7):
        changed = text[:position] + chr(ord(text[position]) ^ 1) + text[position + 1 :]
        try:
            parsed = json.loads(changed)
        except ValueError:
            continue
        if parsed == envelope or not isinstance(parsed, dict):
            continue
        with pytest.raises(SignatureInvalid):
            verify_envelope(parsed, manifest, [key.public_key()])
    with pytest.raises(SignatureInvalid):
        verify_envelope(envelope, {**manifest, "metrics": {"a": 2.0}}, [key.public_key()])


def test_public_keys_go_through_text_and_nonsense_is_refused(tmp_path: Path) -> None:
    text = write_signing_key(tmp_path / "a.key")
    assert public_text(parse_public_key(text)) == text
    assert (tmp_path / "a.key.pub").read_text().strip() == text
    assert (tmp_path / "a.key").stat().st_mode & 0o777 == 0o600
    for nonsense in ("", "ed25519:", "rsa:AAAA", "ed25519:####", text[:-4]):
        with pytest.raises(InvalidInput):
            parse_public_key(nonsense)


def test_a_bundle_carries_a_version_with_its_digest_signature_and_lineage(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    write_signing_key(tmp_path / "a.key")
    key = read_signing_key(tmp_path / "a.key")
    model_id = register(registry, {"x": 1}, signing_key=key, tags=["t"])
    export_model(registry, model_id, tmp_path / "m.bundle")
    other = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY), actor="else")
    assert import_model(other, tmp_path / "m.bundle") == model_id
    assert other.get_metadata(model_id).manifest() == registry.get_metadata(model_id).manifest()
    assert other.verify_signature(model_id, [key.public_key()])
    assert other.load_model(model_id)[0] == {"x": 1}
    assert import_model(other, tmp_path / "m.bundle") == model_id, "again is not an error"
    assert intact(other)
    assert register(other) != model_id
    assert other.list_models()[-1].version == 2


@pytest.mark.parametrize("member", ["bundle.json", "manifest.json", "artifact"])
def test_a_bundle_that_was_changed_is_refused_and_leaves_nothing(
    registry: ModelRegistry, tmp_path: Path, member: str
) -> None:
    model_id = register(registry, [1] * 1000)
    export_model(registry, model_id, tmp_path / "m.bundle")
    content = bytearray((tmp_path / "m.bundle").read_bytes())
    with tarfile.open(tmp_path / "m.bundle") as bundle:
        entry = bundle.getmember(member)
        content[entry.offset_data + entry.size // 2] ^= 1
    (tmp_path / "bad.bundle").write_bytes(content)
    other = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY))
    with pytest.raises(ModelStoreError):
        import_model(other, tmp_path / "bad.bundle")
    assert other.list_models() == []


@pytest.mark.parametrize(
    "change",
    [
        {"model_name": "../../../elsewhere"},
        {"model_name": "other"},
        {"version": "../../../elsewhere"},
        {"version": 0},
        {"version": True},
        {"model_id": "../../elsewhere"},
    ],
)
def test_a_bundle_whose_manifest_leads_elsewhere_is_refused_and_writes_nothing(
    registry: ModelRegistry, tmp_path: Path, change: dict[str, Any]
) -> None:
    model_id = register(registry)
    manifest = json_bytes({**registry.get_metadata(model_id).manifest(), **change})
    digests = {"manifest.json": hashlib.sha256(manifest).hexdigest(), "artifact": "0" * 64}
    described = {"format": BUNDLE_FORMAT, "model_id": change.get("model_id", model_id), "members": digests}
    with tarfile.open(tmp_path / "m.bundle", "w") as bundle:
        for name, content in {"bundle.json": json_bytes(described), "manifest.json": manifest, "artifact": b""}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            bundle.addfile(entry, io.BytesIO(content))
    other = ModelRegistry(tmp_path / "deep" / "down" / "other", keys=Keyring.of(KEY))
    with pytest.raises(UnreadableModel, match="the bundle's manifest"):
        import_model(other, tmp_path / "m.bundle")
    assert not list(tmp_path.rglob("elsewhere*"))
    assert not (tmp_path / "deep" / "down" / "other" / "models").exists()


def test_a_bundle_for_a_directory_is_named_after_its_version(registry: ModelRegistry, tmp_path: Path) -> None:
    first, second = register(registry, "one"), register(registry, "two")
    (tmp_path / "export").mkdir()
    for model_id in (first, second):
        export_model(registry, model_id, tmp_path / "export")
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == sorted(
        [f"{first}.bundle", f"{second}.bundle"]
    )
    other = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY))
    assert import_model(other, tmp_path / "export" / f"{second}.bundle") == second


@pytest.mark.parametrize("content", [b"", b"no tar", b"\0" * 10240])
def test_an_invalid_bundle_is_refused(registry: ModelRegistry, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ModelStoreError):
        import_model(registry, tmp_path / "x")


def test_a_backup_restores_everything_and_a_second_one_copies_only_what_is_new(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    first = register(registry, "one")
    Aliases(registry).set("m", "champion", first)
    assert backup(registry, tmp_path / "backup")["present"] == 0
    second = register(registry, "two")
    registry.update_model_status(first, "deployed")
    again = backup(registry, tmp_path / "backup")
    assert again["present"] > 0
    assert 0 < again["copied"] < 15
    restored = ModelRegistry(tmp_path / "restored", keys=Keyring.of(KEY))
    restore(restored, tmp_path / "backup")
    assert [restored.load_model(each)[0] for each in (first, second)] == ["one", "two"]
    assert str(restored.get_metadata(first).status) == "deployed"
    assert Aliases(restored).resolve("m@champion") == first
    assert intact(restored)


def test_a_backup_names_another_version_in_its_place_and_leaves_it(registry: ModelRegistry, tmp_path: Path) -> None:
    model_id = register(registry)
    backup(registry, tmp_path / "backup")
    manifest = next((tmp_path / "backup").rglob("manifest.json"))
    manifest.write_text(manifest.read_text().replace('"author": "', '"author": "not '))
    # Not damaged: the version of another registry, whose state keeps its own manifest's digest.
    state = manifest.with_name("state.json")
    digest = f"sha256:{hashlib.sha256(manifest.read_bytes()).hexdigest()}"
    state.write_text(json.dumps({**json.loads(state.read_text()), "manifest": digest}))
    damaged = backup(registry, tmp_path / "backup")["damaged"]
    assert "neither was changed" in damaged[f"models/m/{model_id}/manifest.json"]
    assert '"author": "not ' in manifest.read_text()


def test_statistics_count_what_is_there(registry: ModelRegistry) -> None:
    assert statistics(registry)["versions"] == 0
    first = register(registry)
    register(registry, name="other")
    registry.update_model_status(first, "archived")
    counted = statistics(registry)
    assert (counted["versions"], counted["by_status"]) == (2, {"archived": 1, "trained": 1})
    assert counted["bytes"] > 0


def test_verify_sees_a_contract_that_was_altered(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="tester")
    rows, labels = [[0.0], [1.0]] * 20, [0, 1] * 20
    model_id = registry.register_model(model=LogisticRegression().fit(rows, labels), model_name="m")
    assert intact(registry)
    path = registry.manifest_path(model_id)
    manifest = json.loads(path.read_text())
    manifest["contract"]["threshold"] = 0.9
    path.chmod(0o644)
    path.write_text(json.dumps(manifest))
    assert not intact(registry)
