"""A file that somebody changes while a model is registered: nothing is registered, and the message names the file."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from model_store import ModelRegistry
from model_store.errors import InvalidInput
from model_store.registry.outside import register_file
from model_store.registry.request import RegistrationRequest
from model_store.serialization.formats import SerializationFormat, dump_model


def _write_again(path: Path) -> None:
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(first)


def _replace(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


@contextmanager
def _changing(path: Path, change: Callable[[Path], None]) -> Iterator[None]:
    """Changes a file again and again until the block ends."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.05):
            change(path)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("change", [_write_again, _replace])
@pytest.mark.parametrize("name", ["model.joblib", "training.csv"])
def test_a_file_that_changes_while_it_is_read_is_not_registered(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 2))
    target = (rows[:, 0] > 0).astype(int)
    model, training = tmp_path / "model.joblib", tmp_path / "training.csv"
    with model.open("wb") as file:
        dump_model(LogisticRegression().fit(rows, target), file, SerializationFormat.JOBLIB)
    training.write_text("\n".join(["a,b", *(f"{a},{b}" for a, b in rows)]) + "\n")
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    request = RegistrationRequest(model_name="fraud", training_data=training)
    with _changing(tmp_path / name, change), pytest.raises(InvalidInput, match=f"{name}: was changed while"):
        register_file(registry, model, request)
    assert registry.list_models() == []
    model_id, _ = register_file(registry, model, request)
    assert registry.get_metadata(model_id).lineage["training_data"]["size_bytes"] == training.stat().st_size
