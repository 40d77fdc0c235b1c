"""Runs of MLflow's file store: what is taken of them, and what is refused."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_store.errors import (
    InvalidInput,
    ModelStoreError,
)
from model_store.registry.exchange.runs import Run, read_run
from model_store.serialization.plain_yaml import read_yaml
from tests.unit.model_store.exchange.spoiled import BOMB


def _recorded(directory: Path, run_id: str = "a" * 32) -> Path:
    """A run of the file store around a model."""
    run = directory.parent / "mlruns" / "1" / run_id
    for below in ("metrics", "params", "tags", "artifacts"):
        (run / below).mkdir(parents=True)
    directory.rename(run / "artifacts" / "model")
    (run / "meta.yaml").write_text(yaml.safe_dump({"run_id": run_id, "run_name": "fraud", "experiment_id": "1"}))
    return run


def _documents(contents: Any) -> Any:
    return {name: read_yaml(content, name) for name, content in contents.items()}


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("metrics/auc", b"1 x 0\n", "metrics/auc, line 1: not a metric"),
        ("metrics/auc", b"", "holds no value"),
        ("metrics/auc", b"1 0.5 " + b"9" * 5000, "not a metric"),
        ("metrics/auc", b"\x00\xff 0.5 1", "not a metric"),
        ("metrics/auc", b"1 0.5 0\n" * 3_000_000, "more than"),
        ("params/a", b"\xff\xfe", "not UTF-8"),
        ("params/a", b"x" * (1 << 20), "more than"),
        ("tags/a", b"x" * (1 << 20), "more than"),
        ("meta.yaml", b"run_id: [1]\n", "`run_id`"),
        ("meta.yaml", BOMB.encode(), "an anchor"),
    ],
)
def test_a_run_of_other_kinds_is_refused_by_its_file(directory: Path, file: str, content: bytes, reason: str) -> None:
    run = _recorded(directory)
    (run / file).write_bytes(content)
    with pytest.raises(ModelStoreError) as caught:
        read_run(run / "artifacts" / "model", None, _documents)
    assert reason in str(caught.value)


def test_links_and_pipes_in_a_run_are_not_followed(directory: Path) -> None:
    run = _recorded(directory)
    model = run / "artifacts" / "model"
    (run / "params" / "key").symlink_to(directory.parents[1] / "model.key")
    with pytest.raises(InvalidInput, match="links in a directory from outside are not followed"):
        read_run(model, None, _documents)
    (run / "params" / "key").unlink()
    os.mkfifo(run / "tags" / "wait")
    with pytest.raises(InvalidInput, match="a pipe"):
        read_run(model, None, _documents)
    (run / "tags" / "wait").unlink()
    (run / "metrics").rmdir()
    (run / "metrics").symlink_to("/etc")
    with pytest.raises(InvalidInput, match="a link"):
        read_run(model, None, _documents)


def test_a_run_of_another_model_is_left_alone(directory: Path) -> None:
    run = _recorded(directory)
    (run / "params" / "depth").write_text("3")
    model = run / "artifacts" / "model"
    assert read_run(model, "a" * 32, _documents).parameters == {"depth": "3"}
    assert read_run(model, "b" * 32, _documents) == Run()
    many = run / "params"
    for number in range(1001):
        (many / str(number)).write_text("x")
    with pytest.raises(ModelStoreError, match="more than 1000 files"):
        read_run(model, None, _documents)


def test_the_last_metric_is_the_one_of_the_highest_step(directory: Path) -> None:
    run = _recorded(directory)
    (run / "metrics" / "auc").write_text("3 0.9 0\n1 0.7 2\n2 0.8 2\n9 0.1 1\n")
    (run / "metrics" / "lost").write_text("1 nan 0\n")
    (run / "metrics" / "system").mkdir()
    (run / "metrics" / "system" / "cpu").write_text("1 55 0\n")
    found = read_run(run / "artifacts" / "model", None, _documents)
    assert (found.metrics, found.left_out) == ({"auc": 0.8}, ("lost",))
