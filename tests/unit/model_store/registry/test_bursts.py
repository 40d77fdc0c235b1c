"""Many registrations in one second: each has an id and a number of its own, and none is from the future."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sklearn.linear_model import LogisticRegression

from model_store import ModelRegistry
from model_store.contract.preparing import prepare
from model_store.registry.files.manifest import parse_model_name
from model_store.registry.request import RegistrationRequest


def _prepared(name: str) -> tuple[Any, RegistrationRequest]:
    request = RegistrationRequest(model_name=name)
    return prepare(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), request), request


def test_versions_of_one_second_differ_by_their_number_and_are_not_from_the_future(tmp_path: Path) -> None:
    registries = [ModelRegistry(tmp_path / "registry", encrypt=False) for _ in range(2)]
    prepared, request = _prepared("fraud")
    ids = [registries[number % 2].register_prepared(prepared, request) for number in range(30)]
    after = datetime.now(UTC)
    listed = ModelRegistry(tmp_path / "registry", encrypt=False).list_models()
    assert [model.model_id for model in listed] == ids
    assert [model.version for model in listed] == list(range(1, 31))
    assert all(datetime.fromisoformat(model.created_at) <= after for model in listed)
    assert {parse_model_name(model_id) for model_id in ids} == {"fraud"}
    assert any("-" in model_id.rsplit("_", 1)[1] for model_id in ids)
    for model_id in ids:
        registries[0].verify_artifact(model_id)


def test_numbers_go_on_when_the_hint_is_lost_wrong_or_old(tmp_path: Path) -> None:
    prepared, request = _prepared("fraud")

    def registered() -> int:
        registry = ModelRegistry(tmp_path / "registry", encrypt=False)
        return registry.get_metadata(registry.register_prepared(prepared, request)).version

    hint = tmp_path / "registry" / "models" / "fraud" / ".versions" / ".last"
    assert [registered(), registered()] == [1, 2]
    for content in (b"", b"one", b"1", b"\xff"):
        hint.write_bytes(content)
        registered()
    hint.unlink()
    assert registered() == 7
