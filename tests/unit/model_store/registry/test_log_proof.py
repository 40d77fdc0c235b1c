"""The audit log cannot be cut or rewritten unseen: what keeps a head of it contradicts, and is named."""

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conventions import exit_codes
from model_store import Keyring, ModelRegistry
from model_store.errors import ChecksumMismatch, InvalidInput, SignatureInvalid, UnreadableModel
from model_store.registry.aliases import Aliases
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.files.layout import storage_at
from model_store.registry.log.audit import AuditHead
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.recovery.repair import repair
from model_store.registry.signing import parse_envelope, read_anchor, require_envelope, sign_manifest, verify_envelope
from model_store.registry.upkeep.log_proof import prove_audit_log
from model_store.registry.upkeep.maintenance import cleanup, delete_model, verify_everything
from scripts.manage_models import main
from tests.unit.model_store.making import KEY, intact, register

SIGNER, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def _root(registry: ModelRegistry) -> Path:
    return Path(registry.storage.location)


def _cut(registry: ModelRegistry, keep: int) -> None:
    """What somebody does who can write the directory: the last records go, and the hint with them."""
    for file in sorted(_root(registry).glob("audit/*/*.json"))[keep:]:
        file.unlink()
    (_root(registry) / "audit" / "head").unlink(missing_ok=True)


def _signed(registry: ModelRegistry) -> str:
    model_id = register(registry)
    registry.load_model(model_id)
    registry.sign_model(model_id, SIGNER)
    registry.load_model(model_id)
    return model_id


def test_a_signature_proves_the_log_up_to_its_own_record(registry: ModelRegistry) -> None:
    model_id = _signed(registry)
    proof = prove_audit_log(registry, public_keys=[SIGNER.public_key()])
    assert (proof.records, [anchor.head.sequence for anchor in proof.proven]) == (5, [3])
    assert f"records 1 to 5 are a chain; proven to 3 by the signature of {model_id} by " in str(proof)
    assert str(proof).endswith("; 4 to 5 by the chain alone")


def test_a_version_signed_when_it_is_registered_proves_its_own_registration(registry: ModelRegistry) -> None:
    register(registry, signing_key=SIGNER)
    assert prove_audit_log(registry).proven[0].head.sequence == 1


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_a_log_truncated_before_a_signature_is_reported_with_the_signature(registry: ModelRegistry, keep: int) -> None:
    model_id = _signed(registry)
    _cut(registry, keep)
    with pytest.raises(
        ChecksumMismatch, match=f"ends at record {keep}; the signature of {model_id} .* proves record 3"
    ):
        prove_audit_log(registry)
    assert not intact(registry)


def test_the_head_hint_reveals_a_truncated_log(registry: ModelRegistry) -> None:
    model_id = register(registry)
    registry.load_model(model_id)
    sorted(_root(registry).glob("audit/*/*.json"))[-1].unlink()
    with pytest.raises(ChecksumMismatch, match="audit/head names record 2"):
        prove_audit_log(registry)


def test_a_log_that_was_removed_is_missed_where_versions_are(registry: ModelRegistry) -> None:
    register(registry)
    shutil.rmtree(_root(registry) / "audit")
    with pytest.raises(ChecksumMismatch, match="it was removed"):
        prove_audit_log(registry)
    assert not intact(registry)


def test_a_log_that_was_removed_is_missed_where_every_version_was_deleted(registry: ModelRegistry) -> None:
    delete_model(registry, register(registry))
    assert intact(registry)
    shutil.rmtree(_root(registry) / "audit")
    with pytest.raises(ChecksumMismatch, match="holds numbers of deleted versions and its audit log has no records"):
        prove_audit_log(registry)
    assert not intact(registry)


def test_an_empty_registry_needs_no_log(registry: ModelRegistry) -> None:
    cleanup(registry, 1, dry_run=False)
    with pytest.raises(InvalidInput):
        register(registry, author="x" * 5000)
    assert intact(registry)


def test_the_signatures_reveal_a_rewritten_log(registry: ModelRegistry, tmp_path: Path) -> None:
    model_id = _signed(registry)
    shutil.rmtree(_root(registry) / "audit")
    forger = ModelRegistry(_root(registry), keys=Keyring.of(KEY), actor="tester")
    for _ in range(5):
        forger.audit.append("load", model_id)
    with pytest.raises(ChecksumMismatch, match=f"another one than the signature of {model_id}"):
        prove_audit_log(forger)


def test_a_truncated_log_continues_after_a_visible_gap(registry: ModelRegistry) -> None:
    model_id = register(registry)
    registry.load_model(model_id)
    sorted(_root(registry).glob("audit/*/*.json"))[-1].unlink()
    later = ModelRegistry(_root(registry), keys=Keyring.of(KEY))
    later.load_model(model_id)
    with pytest.raises(ChecksumMismatch, match="audit record 2 is missing"):
        prove_audit_log(later)


def test_a_backup_keeps_the_heads_of_every_run_and_tells_of_a_cut(registry: ModelRegistry, tmp_path: Path) -> None:
    place = tmp_path / "backup"
    model_id = register(registry)
    backup(registry, place)
    registry.load_model(model_id)
    backup(registry, place)
    kept = [json.loads(file.read_text())["sequence"] for file in sorted((place / "anchors").iterdir())]
    assert kept == [2, 4]
    assert f"proven to 4 by the backup {place}" in str(prove_audit_log(registry, backups=[place]))
    _cut(registry, 3)
    assert prove_audit_log(registry).records == 3
    with pytest.raises(ChecksumMismatch, match=f"ends at record 3; the backup {place} proves record 4"):
        prove_audit_log(registry, backups=[place])


def test_a_backup_without_heads_proves_by_its_copy_of_the_log(registry: ModelRegistry, tmp_path: Path) -> None:
    register(registry)
    backup(registry, tmp_path / "backup")
    shutil.rmtree(tmp_path / "backup" / "anchors")
    assert prove_audit_log(registry, backups=[tmp_path / "backup"]).proven[0].head.sequence == 2
    with pytest.raises(InvalidInput, match="holds no backup"):
        prove_audit_log(registry, backups=[tmp_path / "nothing"])
    (tmp_path / "backup" / "anchors").mkdir()
    (tmp_path / "backup" / "anchors" / "000000001.json").write_text("{}")
    with pytest.raises(UnreadableModel, match="not a head"):
        prove_audit_log(registry, backups=[tmp_path / "backup"])


def test_a_backup_after_a_rewritten_log_is_refused(registry: ModelRegistry, tmp_path: Path) -> None:
    register(registry)
    backup(registry, tmp_path / "backup")
    shutil.rmtree(_root(registry) / "audit")
    forger = ModelRegistry(_root(registry), keys=Keyring.of(KEY))
    forger.audit.append("load", "x")
    with pytest.raises(ChecksumMismatch, match="rewritten since"):
        backup(forger, tmp_path / "backup")


def test_a_head_kept_elsewhere_proves_and_contradicts(registry: ModelRegistry) -> None:
    model_id = register(registry)
    registry.load_model(model_id)
    head = registry.audit.head()
    assert AuditHead.parse(str(head)) == head
    assert "proven to 2 by the head that you gave" in str(prove_audit_log(registry, heads=[head]))
    with pytest.raises(ChecksumMismatch, match="not the one that the head that you gave proves"):
        prove_audit_log(registry, heads=[AuditHead(2, "0" * 64)])
    _cut(registry, 1)
    with pytest.raises(ChecksumMismatch, match="ends at record 1; the head that you gave proves record 2"):
        prove_audit_log(registry, heads=[head])
    for text in ("", "2", "2:abc", f"-1:{'0' * 64}", f"2:{'G' * 64}"):
        with pytest.raises(InvalidInput, match="not a head"):
            AuditHead.parse(text)


def test_a_signature_of_another_registry_proves_its_own_log_only(registry: ModelRegistry, tmp_path: Path) -> None:
    model_id = _signed(registry)
    export_model(registry, model_id, tmp_path / "x.bundle")
    other = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY))
    import_model(other, tmp_path / "x.bundle")
    proof = prove_audit_log(other)
    assert (proof.proven, proof.elsewhere) == ((), 1)
    assert intact(other)


def test_old_signatures_and_new_ones_are_both_verified(registry: ModelRegistry) -> None:
    model_id = register(registry)
    manifest = registry.get_metadata(model_id).manifest()
    old = sign_manifest(manifest, SIGNER)
    assert read_anchor(old) is None
    require_envelope(json.dumps(old).encode(), manifest)
    file = _root(registry) / "models" / "m" / model_id / "signature.json"
    file.write_text(json.dumps(old))
    registry.sign_model(model_id, OTHER)
    for key in (SIGNER, OTHER):
        assert registry.verify_signature(model_id, [key.public_key()])
    assert parse_envelope(file.read_bytes())["payload"] == old["payload"]


def test_a_second_signer_signs_the_very_same_statement(registry: ModelRegistry) -> None:
    model_id = _signed(registry)
    file = _root(registry) / "models" / "m" / model_id / "signature.json"
    first = parse_envelope(file.read_bytes())
    registry.sign_model(model_id, OTHER)
    both = parse_envelope(file.read_bytes())
    assert both["payload"] == first["payload"]
    assert len(both["signatures"]) == 2
    manifest = registry.get_metadata(model_id).manifest()
    require_envelope(file.read_bytes(), manifest)
    for key in (SIGNER, OTHER):
        assert verify_envelope(both, manifest, [key.public_key()])
    with pytest.raises(SignatureInvalid):
        require_envelope(file.read_bytes(), {**manifest, "description": "another"})


def test_only_signatures_by_a_given_key_count(registry: ModelRegistry) -> None:
    _signed(registry)
    assert prove_audit_log(registry, public_keys=[OTHER.public_key()]).proven == ()


def test_verify_tells_from_where_to_where_the_log_is_proven(registry: ModelRegistry) -> None:
    _signed(registry)
    (found,) = [finding for finding in verify_everything(registry) if finding.subject == "audit"]
    assert found.intact
    assert "records 1 to 5 are a chain; proven to 3 by the signature of " in found.detail


def test_a_restore_is_a_record_before_a_version_comes_back(registry: ModelRegistry, tmp_path: Path) -> None:
    register(registry)
    backup(registry, tmp_path / "backup")
    fresh = ModelRegistry(tmp_path / "fresh", keys=Keyring.of(KEY))
    restore(fresh, tmp_path / "backup")
    assert [record.action for record in fresh.audit.records()] == ["register", "backup", "restore", "restore"]
    assert prove_audit_log(fresh, backups=[tmp_path / "backup"]).proven[0].head.sequence == 2


def test_a_hint_of_an_older_program_is_read_and_written_in_the_new_form(registry: ModelRegistry) -> None:
    model_id = register(registry)
    hint = _root(registry) / "audit" / "head"
    hint.write_text("1")
    ModelRegistry(_root(registry), keys=Keyring.of(KEY)).load_model(model_id)
    assert hint.read_text().startswith(f"{registry.audit.head()}:")
    assert prove_audit_log(registry).records == 2


@pytest.mark.parametrize("later", [False, True])
def test_an_edited_last_record_is_seen_and_brought_back(
    registry: ModelRegistry, tmp_path: Path, *, later: bool
) -> None:
    register(registry)
    backup(registry, tmp_path / "copy")
    last = sorted(_root(registry).glob("audit/*/*.json"))[-1]
    right = last.read_bytes()
    last.write_bytes(right.replace(b'"actor":"tester"', b'"actor":"alices"'))
    if later:
        ModelRegistry(_root(registry), keys=Keyring.of(KEY), actor="tester").audit.append("load", "x")
    with pytest.raises(ChecksumMismatch, match="audit record 2 is not the one that"):
        prove_audit_log(registry)
    assert not intact(registry)
    repair(ModelRegistry(_root(registry), keys=Keyring.of(KEY), actor="tester"), storage_at(tmp_path / "copy"))
    assert last.read_bytes() == right
    assert intact(registry)


def test_an_alias_that_no_record_tells_of_is_named(registry: ModelRegistry) -> None:
    model_id = register(registry)
    aliases = Aliases(registry)
    aliases.set("m", "champion", model_id)
    assert intact(registry)
    entries = json.loads((_root(registry) / "aliases" / "m.json").read_text())
    (_root(registry) / "aliases" / "m.json").write_text(json.dumps({**entries, "next": entries["champion"]}))
    wrong = {each.subject: each.detail for each in verify_everything(registry) if not each.intact}
    assert list(wrong) == ["m@next"]
    assert "alias remove m next --reason WHY" in wrong["m@next"]
    aliases.remove("m", "next", "nobody set it")
    assert intact(registry)


def test_a_file_in_the_place_of_the_log_is_named(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register(registry)
    shutil.rmtree(_root(registry) / "audit")
    (_root(registry) / "audit").write_text("")
    monkeypatch.setenv("MODEL_REGISTRY_URL", str(_root(registry)))
    for command in (["audit"], ["audit", "--head"], ["audit", "--verify"], ["audit", "--format", "ocsf"]):
        assert main(command) == exit_codes.NOT_INTACT
        assert "a file is where the registry needs a directory; move it away" in capsys.readouterr().err


def test_the_proof_tells_what_the_log_says_that_it_has_lost(registry: ModelRegistry, tmp_path: Path) -> None:
    register(registry)
    backup(registry, tmp_path / "copy")
    shutil.rmtree(_root(registry) / "audit")
    restore(ModelRegistry(_root(registry), keys=Keyring.of(KEY), actor="tester"), tmp_path / "copy")
    assert str(prove_audit_log(registry)).endswith("; record 3 tells that what came after record 2 was lost")
