"""Two people approve a version in the registry where it counts, whatever way it came there, also in S3."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model_store import Keyring, ModelRegistry
from model_store.errors import AccessDenied, StorageForbidden, VersionConflict
from model_store.registry.approvals import approval_problem, is_withdrawn, registrants
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.granting import grant
from model_store.registry.promotion import promote_version
from model_store.registry.recovery.repair import repair
from model_store.registry.upkeep.maintenance import delete_model
from tests.s3_servers import moto_server, s3_client, s3_settings
from tests.unit.model_store.making import KEY, register

_BUCKET = "four-eyes"
Open = Callable[[str, str], ModelRegistry]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto_server(tmp_path_factory.mktemp("moto")) as url:
        s3_client(url).create_bucket(Bucket=_BUCKET)
        yield url


@pytest.fixture(params=["directory", "moto"])
def open_as(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a registry by its name for an actor."""
    top = str(tmp_path)
    if request.param == "moto":
        for name, value in s3_settings(request.getfixturevalue("server")).items():
            monkeypatch.setenv(name, value)
        top = f"s3://{_BUCKET}/{tmp_path.name}"
    return lambda name, actor: ModelRegistry(f"{top}/{name}", keys=Keyring.of(KEY), actor=actor)


def _writes_no_state(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """In S3 a publisher's credentials write no state and no evidence."""
    storage = registry.storage
    if not storage.location.startswith("s3://"):
        return
    for name in ("put_if_absent", "compare_and_swap", "replace_file"):
        write = getattr(storage, name)

        def refusing(key: str, *given: Any, write: Callable[..., Any] = write) -> Any:
            if key.endswith("/state.json") or "/evidence/" in key:
                raise StorageForbidden(f"{key}: cannot be written")
            return write(key, *given)

        monkeypatch.setattr(storage, name, refusing)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.txt"
    path.write_text("recall 0.93")
    return path


@pytest.fixture
def own(open_as: Open, report: Path) -> tuple[ModelRegistry, str]:
    """A directory that one person made, and a version that three names registered, validated and approved there."""
    model_id = register(open_as("own", "carol"))
    grant(open_as("own", "carol"), "bob", "promoter")
    bob = open_as("own", "bob")
    bob.update_model_status(model_id, "validated", evidence=report)
    bob.approve(model_id, report, "fine")
    assert approval_problem(bob, model_id) == ""
    return bob, model_id


def test_an_approval_of_any_directory_does_not_count_after_a_promotion(
    open_as: Open, tmp_path: Path, own: tuple[ModelRegistry, str], report: Path
) -> None:
    source, model_id = own
    target = open_as("production", "root")
    promote_version(source, target, model_id, "release 7")
    assert approval_problem(target, model_id) == (
        f"bob approved it in {source.storage.location}; an approval counts in the registry where it is given"
    )
    (told,) = (each for each in target.audit.records() if each.action == "status")
    assert told.details["validated_by"] == "bob"
    assert told.details["approved_by"] == ["bob"]
    assert told.details["evidence"] == [each["sha256"] for each in target.state(model_id)["evidence"]][:1]
    grant(target, "vera", "promoter")
    open_as("production", "vera").approve(model_id, report, "read it here")
    assert approval_problem(target, model_id) == ""
    promote_version(source, target, model_id, "again")
    assert approval_problem(target, model_id) == ""
    own_again = open_as("third", "root")
    promote_version(target, own_again, model_id)
    assert "vera approved it in" in approval_problem(own_again, model_id), "nor does it two promotions on"


def test_a_withdrawn_approval_ends_the_way_back_although_one_from_elsewhere_stands(
    open_as: Open, tmp_path: Path, own: tuple[ModelRegistry, str], report: Path
) -> None:
    source, model_id = own
    target = open_as("production", "root")
    promote_version(source, target, model_id)
    vera = open_as("production", "vera")
    grant(target, "vera", "promoter")
    vera.approve(model_id, report, "read it here")
    state = target.state(model_id)
    for each in state["approvals"]:
        if each["by"] == "vera":
            each["withdrawn"] = {"at": each["at"], "by": "vera", "reason": "wrong labels"}
    assert is_withdrawn(state)


def test_who_brings_a_version_does_not_approve_it(
    open_as: Open, tmp_path: Path, own: tuple[ModelRegistry, str], report: Path
) -> None:
    source, model_id = own
    promoted = open_as("promoted", "root")
    promote_version(source, promoted, model_id)
    export_model(source, model_id, tmp_path / "x.bundle")
    imported = open_as("imported", "root")
    import_model(imported, tmp_path / "x.bundle")
    repaired = open_as("repaired", "root")
    register(repaired, name="other")
    repair(repaired, source.storage)
    for registry in (promoted, imported, repaired):
        with pytest.raises(AccessDenied, match="somebody else has to approve"):
            registry.approve(model_id, report, "mine")
        assert {"root", "carol"} <= registrants(registry.get_metadata(model_id), registry.state(model_id))


def test_who_carries_the_validation_later_does_not_approve_it(
    open_as: Open, own: tuple[ModelRegistry, str], report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, model_id = own
    target = open_as("production", "root")
    grant(target, "ci", "publisher")
    grant(target, "rosa", "promoter")
    publisher = open_as("production", "ci")
    _writes_no_state(publisher, monkeypatch)
    assert promote_version(source, publisher, model_id).state == "left to a promoter"
    promote_version(source, open_as("production", "rosa"), model_id)
    for actor in ("ci", "rosa"):
        grant(target, actor, "promoter")
        with pytest.raises(AccessDenied, match="somebody else has to approve"):
            open_as("production", actor).approve(model_id, report, "mine")
    target.approve(model_id, report, "read it")
    assert approval_problem(target, model_id) == ""


def test_a_reason_makes_nobody_an_importer(open_as: Open, tmp_path: Path, report: Path) -> None:
    registry = open_as("registry", "alice")
    model_id = register(registry)
    grant(registry, "bob", "promoter")
    bob = open_as("registry", "bob")
    bob.approve(model_id, report, "read it")
    bob.update_model_status(model_id, "deprecated", "imported data drifted")
    assert approval_problem(registry, model_id) == ""


def test_a_state_of_before_tells_its_importer_by_its_history(open_as: Open, tmp_path: Path, report: Path) -> None:
    alice = open_as("own", "alice")
    model_id = register(alice)
    export_model(alice, model_id, tmp_path / "x.bundle")
    registry = open_as("registry", "irene")
    import_model(registry, tmp_path / "x.bundle")
    registry.change_state(model_id, lambda state: state.pop("brought_by"))
    with pytest.raises(AccessDenied, match="alice, irene"):
        registry.approve(model_id, report, "mine")
    grant(registry, "bob", "promoter")
    bob = open_as("registry", "bob")
    bob.approve(model_id, report, "read it")
    bob.update_model_status(model_id, "deprecated", "imported data drifted")
    assert approval_problem(registry, model_id) == ""


def test_a_publisher_who_imports_a_version_does_not_approve_it_as_a_promoter(
    open_as: Open, tmp_path: Path, report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carol = open_as("own", "carol")
    export_model(carol, model_id := register(carol), tmp_path / "x.bundle")
    registry = open_as("registry", "root")
    register(registry, name="other")
    grant(registry, "ci", "publisher")
    publisher = open_as("registry", "ci")
    _writes_no_state(publisher, monkeypatch)
    import_model(publisher, tmp_path / "x.bundle")
    assert {"ci", "carol"} <= registrants(registry.get_metadata(model_id), registry.state(model_id))
    grant(registry, "ci", "promoter")
    with pytest.raises(AccessDenied, match="somebody else has to approve"):
        open_as("registry", "ci").approve(model_id, report, "mine")
    registry.approve(model_id, report, "read it")
    assert approval_problem(registry, model_id) == ""
    with pytest.raises(AccessDenied, match="somebody else has to approve"):
        open_as("registry", "ci").approve(model_id, report, "mine")


def test_a_number_that_another_version_has_or_had_is_not_taken_again(open_as: Open, tmp_path: Path) -> None:
    carol, registry = open_as("own", "carol"), open_as("registry", "root")
    model_id = carol.register_model(1, "m", model_type="U", registry_only=True)
    export_model(carol, model_id, tmp_path / "x.bundle")
    own = register(registry)
    for state in ("there", "deleted", "deleted, and its claim lost"):
        if state == "deleted":
            delete_model(registry, own, "bad")
        elif state != "there":
            registry.storage.remove("models/m/.versions")
            register(registry, 2)  # its registration writes lost claims again
        for bring in (
            lambda: import_model(open_as("registry", "root"), tmp_path / "x.bundle"),
            lambda: promote_version(carol, open_as("registry", "root"), model_id),
        ):
            with pytest.raises(VersionConflict, match="m:1 is"):
                bring()
