"""Mistakes with whole registries: a wrong place for a backup, a damaged version that has to go, a file that is huge."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sklearn.linear_model import LogisticRegression

from model_store import ModelRegistry
from model_store.errors import ChecksumMismatch, InUse, InvalidInput, StorageFailed, UnreadableModel, VersionConflict
from model_store.registry.aliases import Aliases
from model_store.registry.approvals import approval_problem
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.granting import grant
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.recovery.log_repair import record_key
from model_store.registry.recovery.repair import repair
from model_store.registry.upkeep.log_proof import prove_audit_log
from model_store.registry.upkeep.maintenance import delete_model, verify_everything
from model_store.storage.atomic_file import atomic_write
from model_store.storage.directory import DirectoryStorage
from tests.checkout import SOURCE

ROWS = np.random.default_rng(0).normal(size=(60, 2))
MODEL = LogisticRegression().fit(ROWS, ROWS[:, 0] > 0)


def _open(place: Path) -> ModelRegistry:
    return ModelRegistry(place, encrypt=False, actor="ann")


def _register(registry: ModelRegistry, name: str = "fraud", **fields: Any) -> str:
    return registry.register_model(MODEL, name, registry_only=True, **fields)


def _broken(registry: ModelRegistry) -> list[str]:
    return [each.subject for each in verify_everything(registry) if not each.intact]


def _file(registry: ModelRegistry, model_id: str, name: str) -> Path:
    return Path(registry.storage.location, "models", model_id.split("_")[0], model_id, name)


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"), [('"accuracy": 0.51', '"accuracy": 0.99'), ('"author": "ann"', '"author": "bob"')]
)
def test_a_changed_digit_in_a_manifest_is_found_and_brought_back_and_stops_no_backup(
    tmp_path: Path, old: str, new: str
) -> None:
    registry, copy = _open(tmp_path / "r"), tmp_path / "copy"
    model_id = _register(registry, performance_metrics={"accuracy": 0.51})
    backup(registry, copy)
    _replace(_file(registry, model_id, "manifest.json"), old, new)
    later = _register(registry, "later")
    assert _broken(registry) == [model_id]
    assert list(backup(registry, copy)["damaged"]) == [f"models/fraud/{model_id}/manifest.json"]
    assert (copy / "models" / "later" / later / "manifest.json").is_file()
    restore(registry, copy)
    assert not _broken(registry)


def test_who_changes_manifest_and_state_is_contradicted_by_the_log(tmp_path: Path) -> None:
    registry = _open(tmp_path / "r")
    model_id = _register(registry, performance_metrics={"accuracy": 0.51})
    _replace(_file(registry, model_id, "manifest.json"), "0.51", "0.99")
    state = json.loads(_file(registry, model_id, "state.json").read_text())
    del state["manifest"]
    _file(registry, model_id, "state.json").write_text(json.dumps(state))
    with pytest.raises(
        ChecksumMismatch, match=f"the manifest of {model_id} is not the one that audit record 1 registered"
    ):
        prove_audit_log(registry)


def test_a_damaged_version_can_be_deleted_with_a_reason(tmp_path: Path) -> None:
    registry = _open(tmp_path / "r")
    model_id, named = _register(registry), _register(registry)
    Aliases(registry).set("fraud", "champion", named)
    for each in (model_id, named):
        _file(registry, each, "state.json").write_text("{")
    with pytest.raises(UnreadableModel, match="--reason WHY"):
        delete_model(registry, model_id)
    with pytest.raises(InUse, match="fraud@champion"):
        delete_model(registry, named, "cannot be read")
    with pytest.raises(InUse, match="the stack dev names it"):
        delete_model(registry, model_id, "cannot be read", {model_id: "is in use: the stack dev names it"})
    delete_model(registry, model_id, "cannot be read")
    record = list(registry.audit.records())[-1]
    assert (record.action, record.reason, "JSON" in record.details["damage"]) == ("delete", "cannot be read", True)
    assert _broken(registry) == [named, "fraud@champion"]


def test_a_backup_goes_to_no_other_registry_and_not_into_its_own(tmp_path: Path) -> None:
    registry, other = _open(tmp_path / "r"), _open(tmp_path / "other")
    _register(registry)
    _register(other, "elsewhere")
    for place in (tmp_path / "r", tmp_path / "r" / "models" / "fraud", tmp_path / "x" / ".." / "r" / "copy"):
        with pytest.raises(InvalidInput, match="lies in the registry"):
            backup(registry, place)
    with pytest.raises(VersionConflict, match="is a registry"):
        backup(registry, tmp_path / "other")
    backup(registry, tmp_path / "copy")
    with pytest.raises(VersionConflict, match="is the backup of another registry"):
        backup(other, tmp_path / "copy")
    assert not _broken(registry)
    assert not _broken(other)
    assert "proven to" in str(prove_audit_log(registry, backups=[tmp_path / "copy"]))


def test_a_damaged_signature_replaces_no_good_copy(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    registry, copy = _open(tmp_path / "r"), tmp_path / "copy"
    model_id = _register(registry, signing_key=key)
    backup(registry, copy)
    file = _file(registry, model_id, "signature.json")
    signature = json.loads(file.read_text())["signatures"][0]["sig"]
    _replace(file, signature, ("B" if signature[0] == "A" else "A") + signature[1:])
    assert list(backup(registry, copy)["damaged"]) == [f"models/fraud/{model_id}/signature.json"]
    _open(copy).verify_signature(model_id, [key.public_key()])


def test_a_public_key_tells_which_signature_is_right(tmp_path: Path) -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    registry, copy = _open(tmp_path / "r"), tmp_path / "copy"
    model_id = _register(registry, signing_key=key)
    backup(registry, copy)
    intact, file = _open(copy), _file(registry, model_id, "signature.json")
    right = file.read_bytes()
    signature = json.loads(right)["signatures"][0]["sig"]
    _replace(file, signature, ("B" if signature[0] == "A" else "A") + signature[1:])
    source, place = DirectoryStorage(copy), f"models/fraud/{model_id}/signature.json"
    for keys, way_out in (((), "--public-key KEY tells"), ([other.public_key()], "no key that you named")):
        outcome = repair(registry, source, public_keys=keys)
        assert way_out in outcome.damaged[place]
        assert file.read_bytes() != right
    assert repair(registry, source, public_keys=[key.public_key()]).copied == [place]
    registry.verify_signature(model_id, [key.public_key()])
    assert not repair(registry, source).damaged
    # A copy that is damaged itself replaces nothing.
    _replace(_file(intact, model_id, "signature.json"), signature, "A" * 86 + "==")
    assert repair(registry, source, public_keys=[key.public_key()]).copied == []
    assert file.read_bytes() == right


def test_what_is_not_the_claim_of_a_number_is_not_brought_back(tmp_path: Path) -> None:
    registry, copy = _open(tmp_path / "r"), tmp_path / "copy"
    model_id = _register(registry)
    backup(registry, copy)
    claims = copy / "models" / "fraud" / ".versions"
    odd = {
        "2": b"rubbish",
        "3": b"\xff",
        "4": b"2026-11-27T10:00:00Z other_T_20261127_100000",
        "999999998": b"imported",
    }
    for number, content in odd.items():
        (claims / number).write_bytes(content)
    (claims / "5").write_text("2026-11-27T10:00:00Z")
    (claims / "6").write_text(f"imported {model_id}")
    outcome = repair(registry, DirectoryStorage(copy))
    assert outcome.copied == [f"models/fraud/.versions/{number}" for number in (5, 6)]
    assert list(outcome.damaged) == [f"models/fraud/.versions/{number}" for number in sorted(odd)]
    assert registry.get_metadata(_register(registry)).version < 10


def test_aliases_of_versions_that_are_not_there_are_not_brought_back(tmp_path: Path) -> None:
    registry, other = _open(tmp_path / "r"), _open(tmp_path / "other")
    fraud, elsewhere = _register(registry), _register(other, "zebra")
    Aliases(registry).set("fraud", "champion", fraud)
    Aliases(other).set("zebra", "champion", elsewhere)
    place = tmp_path / "other" / "aliases"
    (place / "fraud.json").write_text((place / "zebra.json").read_text())
    (tmp_path / "r" / "aliases" / "fraud.json").unlink()
    (tmp_path / "other" / "models" / "zebra" / elsewhere / "manifest.json").write_text("damaged")
    outcome = repair(registry, DirectoryStorage(tmp_path / "other"))
    assert "aliases/zebra.json" in outcome.damaged
    # The registry's own log says what the source does not.
    assert outcome.newer == {"aliases/fraud.json": [f"{fraud} (audit record 2)"]}
    assert Aliases(registry).all() == {"fraud": {"champion": fraud}}


@pytest.mark.parametrize("told", [{}, {"logs": []}])
def test_a_restore_excuses_no_signature_of_a_log_that_it_did_not_bring(tmp_path: Path, told: dict[str, Any]) -> None:
    registry, key = _open(tmp_path / "r"), Ed25519PrivateKey.generate()
    _register(registry, signing_key=key)
    stranger = _open(tmp_path / "stranger")
    _register(stranger, "unsigned")
    stranger.audit.append("restore", reason="a forged one", **told)
    source, target = tmp_path / "r" / "models" / "fraud", tmp_path / "stranger" / "models" / "fraud"
    source.rename(target)
    with pytest.raises(ChecksumMismatch, match="removed or rewritten"):
        prove_audit_log(stranger, public_keys=[key.public_key()])


_LISTED_AND_VERIFIED = """
import sys
from model_store import ModelRegistry
from model_store.registry.upkeep.maintenance import verify_everything
registry = ModelRegistry(sys.argv[1], encrypt=False, actor="ann")
print(registry.list_models()[-1].model_id)
print(*[each.subject for each in verify_everything(registry) if not each.intact])
"""


@pytest.mark.parametrize(
    ("place", "subjects"),
    [
        ("state.json", ["VERSION", "fraud@champion"]),
        ("manifest.json", ["VERSION", "fraud@champion"]),
        ("aliases/fraud.json", ["fraud@"]),
        ("access.json", ["access"]),
        ("audit/head", []),
    ],
)
def test_a_huge_file_is_one_finding(tmp_path: Path, place: str, subjects: list[str]) -> None:
    registry = _open(tmp_path / "r")
    model_id, other = _register(registry), _register(registry, "other")
    Aliases(registry).set("fraud", "champion", model_id)
    of_version = place in ("state.json", "manifest.json")
    os.truncate(_file(registry, model_id, place) if of_version else tmp_path / "r" / place, 40 << 30)
    command = ["prlimit", "--as=6000000000", sys.executable, "-c", _LISTED_AND_VERIFIED, registry.storage.location]
    found = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.replace(model_id, "VERSION").split() == [other, *subjects]


def test_a_shared_directory_stays_writable_by_its_group(tmp_path: Path) -> None:
    place, model = tmp_path / "r", tmp_path / "m.joblib"
    place.mkdir()
    place.chmod(0o2770)
    joblib.dump(MODEL, model)
    environment = {**os.environ, "MODEL_REGISTRY_URL": str(place), "MODEL_KEY_FILE": str(tmp_path / "key")}

    def run(*arguments: str) -> str:
        command = [sys.executable, "scripts/manage_models.py", *arguments]
        done = subprocess.run(
            command, cwd=SOURCE, env=environment, check=True, capture_output=True, text=True, umask=0o022
        )
        return done.stdout

    run("keygen", str(tmp_path / "key"))
    run("keygen", str(tmp_path / "new"))
    for _ in range(2):
        made = run("register", str(model), "fraud", "LogisticRegression", "--registry-only", "--json")
    model_id = json.loads(made)["model_id"]
    run("update-status", model_id, "validated", "--evidence", str(model))
    run("alias", "set", "fraud", "champion", model_id)
    run("rotate-key", model_id, "--new-key", str(tmp_path / "new"))
    run("list")
    files = list(place.rglob("*"))
    assert len(files) > 20
    assert [each for each in files if each.stat().st_mode & 0o007 or not each.stat().st_mode & 0o020] == []
    environment["MODEL_KEY_FILE"] = str(tmp_path / "new")
    run("export", model_id, str(tmp_path / "out.bundle"))
    assert (tmp_path / "out.bundle").stat().st_mode & 0o077 == 0, "what lies elsewhere is its owner's alone"


@pytest.mark.parametrize("lost", ["state.json", "the version"])
def test_a_withdrawn_approval_is_not_brought_back(tmp_path: Path, lost: str) -> None:
    registry, reviewer = _open(tmp_path / "r"), ModelRegistry(tmp_path / "r", encrypt=False, actor="bob")
    evidence = tmp_path / "e.txt"
    evidence.write_text("read")
    model_id = _register(registry)
    grant(registry, "bob", "promoter")
    reviewer.approve(model_id, evidence, "read it")
    backup(registry, tmp_path / "copy")
    reviewer.withdraw_approval(model_id, "the labels were wrong")
    state = _file(registry, model_id, "state.json")
    if lost == "the version":
        shutil.rmtree(state.parent)
    else:
        state.write_text("{")
    restore(registry, tmp_path / "copy")
    assert "the labels were wrong" in approval_problem(registry, model_id)


@pytest.mark.parametrize("lost", ["state.json", "the version"])
def test_an_approval_of_another_registry_is_not_brought_over(tmp_path: Path, lost: str) -> None:
    registry, evidence = _open(tmp_path / "r"), tmp_path / "e.txt"
    evidence.write_text("read")
    _register(registry, "own")
    other = _open(tmp_path / "other")
    model_id = _register(other)
    grant(other, "bob", "promoter")
    export_model(other, model_id, tmp_path / "fraud.bundle")
    import_model(registry, tmp_path / "fraud.bundle")
    ModelRegistry(tmp_path / "other", encrypt=False, actor="bob").approve(model_id, evidence, "read it")
    state = _file(registry, model_id, "state.json")
    if lost == "the version":
        shutil.rmtree(state.parent)
    else:
        state.write_text("{")
    repair(registry, other.storage)
    assert registry.state(model_id).get("approvals", []) == []
    assert approval_problem(registry, model_id)


def test_what_is_deleted_stays_deleted_though_a_record_before_it_is_damaged(tmp_path: Path) -> None:
    registry = _open(tmp_path / "r")
    gone, stays = _register(registry), _register(registry)
    backup(registry, tmp_path / "copy")
    registry.update_model_status(stays, "staged")
    number = registry.audit.head().sequence
    delete_model(registry, gone, "not needed")
    (tmp_path / "r" / record_key(number)).write_text("{}")
    repair(registry, DirectoryStorage(tmp_path / "copy"))
    assert [model.model_id for model in registry.list_models()] == [stays]


def test_links_in_a_source_lead_to_nothing(tmp_path: Path) -> None:
    registry, source, secret = _open(tmp_path / "r"), tmp_path / "source", tmp_path / "secret"
    secret.write_text("secret")
    model_id = _register(registry)
    claims = source / "models" / "fraud" / ".versions"
    claims.mkdir(parents=True)
    (claims / "9").symlink_to(secret)
    (source / "models" / "fraud" / model_id).mkdir()
    (source / "models" / "fraud" / model_id / "state.json").symlink_to(secret)
    _file(registry, model_id, "state.json").unlink()
    outcome = repair(registry, DirectoryStorage(source))
    assert not [each for each in (tmp_path / "r").rglob("*") if each.is_file() and each.read_bytes() == b"secret"]
    assert f"models/fraud/{model_id}/state.json" in outcome.damaged


def test_no_device_is_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StorageFailed, match="it is not replaced"), atomic_write(pipe):
        pass
    assert pipe.is_fifo()


def test_an_alias_of_another_model_and_a_policy_without_admin_are_findings(tmp_path: Path) -> None:
    registry = _open(tmp_path / "r")
    model_id, other = _register(registry), _register(registry, "other")
    Aliases(registry).set("fraud", "champion", model_id)
    _replace(tmp_path / "r" / "aliases" / "fraud.json", model_id, other)
    (tmp_path / "r" / "access.json").write_text('{"default": {"role": "reader"}}')
    assert _broken(registry) == ["fraud@champion", "access"]
