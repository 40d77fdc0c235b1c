"""Nothing is written that no reader takes, and no cache is believed."""

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich.console
from sklearn.linear_model import LogisticRegression

from conventions.artifact_files import MANIFEST_FILE
from model_store import ModelRegistry
from model_store.errors import InvalidInput, StorageFailed
from model_store.registry.aliases import Aliases
from model_store.registry.files.schema import MOST_VERSIONS
from model_store.registry.files.search import search
from model_store.registry.log.audit import HINT_FILE
from model_store.registry.upkeep.maintenance import verify_everything

ROWS = np.random.default_rng(0).normal(size=(60, 2))
MODEL = LogisticRegression().fit(ROWS, ROWS[:, 0] > 0)


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "r", encrypt=False, actor="ann")


def _register(registry: ModelRegistry, **fields: Any) -> str:
    return registry.register_model(MODEL, "fraud", registry_only=True, **fields)


def _broken(registry: ModelRegistry) -> list[str]:
    return [f"{each.subject}: {each.detail}" for each in verify_everything(registry) if not each.intact]


@pytest.mark.parametrize(
    "fields",
    [
        {"author": "x" * 5000},
        {"author": 5},
        {"description": 5},
        {"description": "a\udcff"},
        {"tags": [5]},
        {"tags": 5},
        {"tags": [f"t{number}" for number in range(10_001)]},
        {"performance_metrics": {"x" * 5000: 1.0}},
        {"performance_metrics": {"a\udcff": 1.0}},
        {"performance_metrics": [1]},
        {"versions": {"numpy": 5}},
        {"feature_schema": [{"name": "b\udcff", "type": "number"}, {"name": "c", "type": "number"}]},
        {"origin": {"x": math.nan}},
        {"origin": {"x": object()}},
        {"origin": {"computed_metrics": ["accuracy"]}, "performance_metrics": {"accuracy": 0.999}},
        {"origin": {"registered_by": "bob"}},
    ],
    ids=lambda fields: f"{next(iter(fields))} {str(next(iter(fields.values())))[:20]!r}".encode(
        "ascii", "replace"
    ).decode(),
)
def test_what_no_reader_takes_is_not_registered(registry: ModelRegistry, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        _register(registry, **fields)
    assert registry.list_models() == []
    assert not _broken(registry)


@pytest.mark.parametrize("field", ["digest", "created_at"])
def test_a_line_break_at_the_end_of_a_field_makes_another_value(
    registry: ModelRegistry, tmp_path: Path, field: str
) -> None:
    path = tmp_path / "r" / "models" / "fraud" / _register(registry) / MANIFEST_FILE
    manifest = json.loads(path.read_bytes())
    path.write_text(json.dumps({**manifest, field: f"{manifest[field]}\n"}))
    assert any(field in each for each in _broken(registry)), _broken(registry)


def test_a_state_that_no_reader_takes_is_not_written(registry: ModelRegistry, tmp_path: Path) -> None:
    model_id = _register(registry)
    evidence = tmp_path / "ev\udcff.txt"
    evidence.write_text("shown")
    registry.update_model_status(model_id, "validated", evidence=evidence)
    for actor, reason in (("x" * 5000, "why"), ("ann", "x" * ((1 << 20) + 1)), ("ann", "a\udcff")):
        with pytest.raises(InvalidInput):
            ModelRegistry(tmp_path / "r", encrypt=False, actor=actor).update_model_status(model_id, "staged", reason)
        with pytest.raises(InvalidInput):
            Aliases(ModelRegistry(tmp_path / "r", encrypt=False, actor=actor)).set(
                "fraud", "champion", model_id, reason
            )
    assert str(registry.get_metadata(model_id).status) == "validated"
    assert not _broken(registry)


@pytest.mark.parametrize("hint", ["0" * 64, "9", "9:" + "0" * 64, "-4", "", "1:x", "\udcff"])
def test_a_wrong_hint_breaks_no_log(registry: ModelRegistry, tmp_path: Path, hint: str) -> None:
    model_id = _register(registry)
    place = tmp_path / "r" / HINT_FILE
    wrong = f"1:{hint}" if len(hint) == 64 else hint
    place.write_bytes(wrong.encode("utf-8", "surrogateescape"))
    again = ModelRegistry(tmp_path / "r", encrypt=False, actor="ann")
    again.update_model_status(model_id, "staged")
    assert not _broken(again)


def test_a_directory_or_a_dead_link_in_the_place_of_the_hint(registry: ModelRegistry, tmp_path: Path) -> None:
    model_id = _register(registry)
    place = tmp_path / "r" / HINT_FILE
    place.unlink()
    place.mkdir()
    (tmp_path / "r" / "audit" / "zz.json").write_text("{}")
    ModelRegistry(tmp_path / "r", encrypt=False, actor="ann").update_model_status(model_id, "staged")
    place.rmdir()
    place.symlink_to(tmp_path / "nowhere")
    last = ModelRegistry(tmp_path / "r", encrypt=False, actor="ann")
    last.update_model_status(model_id, "deprecated")
    assert [record.sequence for record in last.audit.records()] == [1, 2, 3]
    assert [line.partition(":")[0] for line in _broken(last)] == ["audit/zz.json"]
    (tmp_path / "r" / "audit" / "zz.json").unlink()
    assert not _broken(last)


@pytest.mark.parametrize("hint", [str(MOST_VERSIONS + 1), str(MOST_VERSIONS), "-5", "7", "x"])
def test_a_wrong_hint_gives_no_wrong_number(registry: ModelRegistry, tmp_path: Path, hint: str) -> None:
    _register(registry)
    (tmp_path / "r/models/fraud/.versions/.last").write_text(hint)
    model_id = _register(ModelRegistry(tmp_path / "r", encrypt=False, actor="ann"))
    assert json.loads((tmp_path / "r/models/fraud" / model_id / "manifest.json").read_text())["version"] == 2


def test_numbers_are_not_given_again_when_the_claims_are_lost(registry: ModelRegistry, tmp_path: Path) -> None:
    for _ in range(2):
        _register(registry)
    shutil.rmtree(tmp_path / "r/models/fraud/.versions")
    again = ModelRegistry(tmp_path / "r", encrypt=False, actor="ann")
    _register(again)
    assert sorted(model.version for model in again.list_models()) == [1, 2, 3]


@pytest.mark.parametrize("condition", ["accuracy>1.2.3", "accuracy>.", "accuracy>-", "accuracy>1e"])
def test_a_condition_without_a_number_is_refused(registry: ModelRegistry, condition: str) -> None:
    with pytest.raises(InvalidInput, match="is not allowed"):
        search(registry.list_models(), metrics=[condition])


@pytest.mark.parametrize("endpoint", ["localhost:9000", "http://", "ftp://host"])
def test_an_endpoint_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(InvalidInput, match="AWS_ENDPOINT_URL is"):
        ModelRegistry("s3://bucket/registry", encrypt=False, actor="ann").list_models()


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"])
def test_an_empty_endpoint_is_none(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv(variable, "")
    if variable == "AWS_ENDPOINT_URL_S3":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageFailed):
        ModelRegistry("s3://bucket/registry", encrypt=False, actor="ann").list_models()


def test_a_key_without_its_secret_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(InvalidInput, match="Missing SecretAccessKey"):
        ModelRegistry("s3://bucket/registry", encrypt=False, actor="ann").list_models()


def test_paths_may_be_texts(registry: ModelRegistry, tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"model")
    model_id = registry.register_model(1, "m", model_type="T", registry_only=True, source=str(file))  # type: ignore[arg-type]
    source = registry.get_metadata(model_id).source
    assert source is not None
    assert source.name == "model.bin"
    with pytest.raises(InvalidInput, match="training_data is 5; allowed: a path"):
        registry.register_model(1, "m", model_type="T", registry_only=True, training_data=5)  # type: ignore[arg-type]


def test_a_line_break_in_a_table_is_shown_as_such() -> None:
    from scripts.command_line import table

    with rich.console.Console(record=True, width=200, file=io.StringIO()) as console:
        console.print(table(["reason"], [{"reason": "x\nfraud_LR_20990101_000000  deployed"}], empty="none"))
    assert "x\\nfraud_LR" in console.export_text()
