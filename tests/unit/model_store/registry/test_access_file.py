"""A registry has a policy from its first write; only an admin changes it, and it can only be narrowed from outside."""

import json
import os
from pathlib import Path

import pytest

from model_store import Keyring, ModelRegistry
from model_store.errors import AccessDenied, InvalidInput, UnreadableModel, VersionConflict
from model_store.registry.aliases import Aliases
from model_store.registry.exchange.bundles import import_model
from model_store.registry.granting import describe_access, grant, revoke, take_over
from model_store.registry.identity import account_name
from model_store.registry.upkeep.maintenance import cleanup
from tests.unit.model_store.making import KEY, register


def _open(root: Path, actor: str | None = None) -> ModelRegistry:
    return ModelRegistry(root / "registry", keys=Keyring.of(KEY), actor=actor)


def _policy(root: Path) -> Path:
    return root / "registry" / "access.json"


def _write(root: Path, **actors: str) -> None:
    entries = {name: {"role": role} for name, role in actors.items()}
    _policy(root).write_text(json.dumps({"default": {"role": "reader"}, "actors": entries}))


def test_the_first_write_makes_its_user_the_admin_and_everybody_else_a_reader(tmp_path: Path) -> None:
    registry = _open(tmp_path)
    assert registry.list_models() == []
    assert not _policy(tmp_path).exists()
    register(registry)
    assert json.loads(_policy(tmp_path).read_text()) == {
        "default": {"role": "reader"},
        "actors": {account_name(): {"role": "admin"}},
    }
    assert describe_access(registry)["role"] == "admin"


def test_an_unlisted_actor_reads_and_a_refusal_names_the_admins(tmp_path: Path) -> None:
    register(_open(tmp_path))
    _write(tmp_path, alice="admin")
    registry = _open(tmp_path)
    with pytest.raises(AccessDenied, match=r"register needs the role publisher; its admins: alice.*take-over"):
        register(registry)
    assert [record.action for record in registry.audit.records()] == ["register", "refused"]


def test_a_copied_registry_is_taken_over_by_the_owner_of_the_directory(tmp_path: Path) -> None:
    register(_open(tmp_path))
    _write(tmp_path, alice="admin")
    registry = _open(tmp_path)
    with pytest.raises(InvalidInput, match="--reason"):
        take_over(registry, " ")
    take_over(registry, "moved here")
    register(registry)
    record = next(record for record in registry.audit.records() if record.action == "access")
    assert (record.reason, record.details) == ("moved here", {"take_over": account_name()})
    assert set(json.loads(_policy(tmp_path).read_text())["actors"]) == {"alice", account_name()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_owner_cannot_be_taken_over(tmp_path: Path) -> None:
    register(_open(tmp_path))
    _write(tmp_path, alice="admin")
    os.chown(tmp_path / "registry", 12345, 12345)
    with pytest.raises(AccessDenied, match="belongs to another user"):
        take_over(_open(tmp_path), "mine")
    assert list(json.loads(_policy(tmp_path).read_text())["actors"]) == ["alice"]


def test_grants_and_revocations_are_recorded_and_the_last_admin_stays(tmp_path: Path) -> None:
    registry = _open(tmp_path)
    register(registry)
    grant(registry, "pia", "publisher", "joins")
    grant(registry, "ci-*", "promoter")
    assert describe_access(_open(tmp_path, "pia"))["role"] == "publisher"
    assert describe_access(_open(tmp_path, "ci-7"))["role"] == "promoter"
    revoke(registry, "pia", "leaves")
    records = [record for record in registry.audit.records() if record.action == "access"]
    assert [(record.reason, record.details) for record in records] == [
        ("joins", {"grant": "pia", "role": "publisher"}),
        ("", {"grant": "ci-*", "role": "promoter"}),
        ("leaves", {"revoke": "pia"}),
    ]
    for change in (
        lambda: revoke(registry, account_name()),
        lambda: grant(registry, account_name(), "reader"),
    ):
        with pytest.raises(InvalidInput, match="no admin would be left"):
            change()
    with pytest.raises(InvalidInput, match="does not name 'nobody'"):
        revoke(registry, "nobody")
    for actor, role in (("", "reader"), ("a\nb", "reader"), (" x", "reader"), ("x", "king")):
        with pytest.raises(InvalidInput, match="not allowed"):
            grant(registry, actor, role)


def test_only_an_admin_grants(tmp_path: Path) -> None:
    register(_open(tmp_path))
    _write(tmp_path, alice="admin", pia="promoter")
    with pytest.raises(AccessDenied, match="access needs the role admin"):
        grant(_open(tmp_path, "pia"), "pia", "admin")


def test_the_file_of_the_environment_narrows_and_never_widens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(_open(tmp_path))
    _write(tmp_path, pia="publisher", ada="admin")
    narrowing = tmp_path / "narrowing.json"
    actors = {"pia": {"role": "admin"}, "ada": {"role": "promoter", "aliases": {"deny": ["champion"]}}}
    narrowing.write_text(json.dumps({"actors": actors}))
    monkeypatch.setenv("MODEL_ACCESS_POLICY", str(narrowing))
    model_id = register(_open(tmp_path, "pia"))
    with pytest.raises(AccessDenied):
        _open(tmp_path, "pia").update_model_status(model_id, "staged")
    with pytest.raises(AccessDenied, match="champion"):
        Aliases(_open(tmp_path, "ada")).set("m", "champion", model_id)
    Aliases(_open(tmp_path, "ada")).set("m", "candidate", model_id)
    with pytest.raises(AccessDenied):
        cleanup(_open(tmp_path, "ada"), 1, dry_run=False)


def test_in_a_registry_from_before_the_file_decides_and_without_one_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(_open(tmp_path))
    _policy(tmp_path).unlink()
    register(_open(tmp_path))
    assert not _policy(tmp_path).exists()
    narrowing = tmp_path / "policy.json"
    narrowing.write_text(json.dumps({"actors": {account_name(): {"role": "reader"}, "pia": {"role": "publisher"}}}))
    monkeypatch.setenv("MODEL_ACCESS_POLICY", str(narrowing))
    register(_open(tmp_path, "pia"))
    with pytest.raises(AccessDenied):
        register(_open(tmp_path))
    monkeypatch.delenv("MODEL_ACCESS_POLICY")
    grant(_open(tmp_path), "pia", "publisher")
    assert set(json.loads(_policy(tmp_path).read_text())["actors"]) == {account_name(), "pia"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_without_a_policy_an_actor_who_does_not_own_the_directory_reads(tmp_path: Path) -> None:
    model_id = register(_open(tmp_path))
    _policy(tmp_path).unlink()
    os.chown(tmp_path / "registry", 12345, 12345)
    _open(tmp_path).load_model(model_id)
    with pytest.raises(AccessDenied, match="owner of the directory"):
        register(_open(tmp_path))


@pytest.mark.parametrize("content", ["", "[]", "{", '{"actors": []}', '{"actors": {"a": {"role": "king"}}}'])
def test_a_damaged_policy_stops_what_needs_a_role_and_says_the_way_out(tmp_path: Path, content: str) -> None:
    model_id = register(_open(tmp_path))
    _policy(tmp_path).write_text(content)
    with pytest.raises(UnreadableModel, match=r"access\.json.*take-over"):
        _open(tmp_path).load_model(model_id)
    assert [model.model_id for model in _open(tmp_path).list_models()] == [model_id]
    take_over(_open(tmp_path), "repaired")
    _open(tmp_path).load_model(model_id)


def test_the_second_of_two_concurrent_admins_gets_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, other = _open(tmp_path), _open(tmp_path)
    register(registry)
    append = registry.audit.append

    def slow(*arguments: str, **details: str) -> object:
        monkeypatch.undo()
        grant(other, "rob", "promoter")
        return append(*arguments, **details)

    monkeypatch.setattr(registry.audit, "append", slow)
    with pytest.raises(VersionConflict):
        grant(registry, "pia", "publisher")
    assert "rob" in json.loads(_policy(tmp_path).read_text())["actors"]


def test_a_denied_actor_causes_no_work_and_one_record(tmp_path: Path) -> None:
    model_id = register(_open(tmp_path))
    _write(tmp_path, alice="admin")
    bundle = tmp_path / "no.bundle"
    os.mkfifo(bundle)  # whoever reads it first waits or says so
    for deed in (
        lambda registry: register(registry, name="not a name"),
        lambda registry: import_model(registry, bundle),
        lambda registry: registry.update_model_status("no_such_version", "staged"),
        lambda registry: Aliases(registry).remove("m", "nothing"),
        lambda registry: registry.sign_model("no_such_version", None),
        lambda registry: registry.record_deployment(model_id, environment="production", deployment_id="d"),
    ):
        registry = _open(tmp_path)
        before = registry.audit.head().sequence
        with pytest.raises(AccessDenied):
            deed(registry)
        (record,) = registry.audit.select(after=before)
        assert record.action == "refused"
        assert record.details["attempted"]
