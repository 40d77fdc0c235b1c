"""A run of MLflow's file store: the metrics, parameters and tags that it recorded of a model.

<experiment>/<run>/meta.yaml  metrics/  params/  tags/  outputs/<model>/  artifacts/   MLflow 2 and 3
<experiment>/models/<model>/meta.yaml  metrics/  params/  tags/  artifacts/           MLflow 3
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from model_store.errors import SizeLimit, UnreadableModel
from model_store.registry.exchange.folder import Folder
from model_store.registry.exchange.mlmodel import read_reason

META = "meta.yaml"
_ARTIFACTS = "artifacts"
_MOST_LEVELS = 8
_MOST_NAME = 250
_MOST_VALUES = 1000
_MOST_TEXT_BYTES = 256 << 10
"""Of all parameters together, and of all tags: they stand in the manifest, which every list reads."""
_MOST_METRIC_BYTES = 16 << 20
"""Of all metrics together."""
_MOST_META_BYTES = 1 << 20
_READ_TAGS = ("mlflow.runName", "mlflow.user", "mlflow.note.content", "mlflow.source.git.commit")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_Word = Annotated[str, Meta(max_length=1024)]
Documents = Callable[[Mapping[str, bytes]], Mapping[str, Any]]
"""Reads YAML documents in a confined child: contents by name in, values by name out."""


class _RunMeta(Struct):
    run_id: _Word | None = None
    run_name: _Word | None = None
    experiment_id: _Word | int | None = None
    model_id: _Word | None = None
    name: _Word | None = None
    source_run_id: _Word | None = None


@dataclass(frozen=True)
class Run:
    """What MLflow recorded of a model's run."""

    run_id: str = ""
    run_name: str = ""
    model_name: str = ""
    """The name that the model was logged by (MLflow 3)."""
    experiment_id: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    """Metrics without a finite number."""


@dataclass(frozen=True)
class _Place:
    """The directory of an experiment, and in it the run and the logged model that are recorded."""

    experiment: Path
    run: str = ""
    model: str = ""


def read_run(directory: Path, run_id: str | None, read_documents: Documents) -> Run:
    """The run that a model belongs to, as the directories above the model record it.

    Args:
        directory: the model's, with every link resolved.
        run_id: as the model's `MLmodel` says.
        read_documents: reads YAML.

    Returns:
        An empty run where the directories above are none of MLflow's file store, or belong to another run.

    Raises:
        UnreadableModel, SizeLimit, InvalidInput: a file of the run is not what MLflow writes; names it.
    """
    place = _find_run(directory)
    if place is None:
        return Run()
    folder = Folder(place.experiment)
    try:
        return _read(folder, place, run_id, read_documents)
    finally:
        folder.close()


def _find_run(directory: Path) -> _Place | None:
    for above in [directory, *directory.parents][:_MOST_LEVELS]:
        recorded = above.parent
        if above.name != _ARTIFACTS or not (recorded / META).is_file():
            continue
        if recorded.parent.name == "models" and _MODEL_ID.fullmatch(recorded.name):
            return _Place(recorded.parent.parent, model=f"models/{recorded.name}")
        if _RUN_ID.fullmatch(recorded.name):
            return _Place(recorded.parent, run=recorded.name)
    return None


def _read(folder: Folder, place: _Place, run_id: str | None, read_documents: Documents) -> Run:
    model = _meta(folder, place.model, read_documents) if place.model else _RunMeta()
    run = place.run or (model.source_run_id or "")
    if place.model and not _RUN_ID.fullmatch(run):
        run = ""
    recorded = _meta(folder, run, read_documents) if run and folder.has(f"{run}/{META}") else _RunMeta()
    if run_id and recorded.run_id and recorded.run_id != run_id:
        return Run()
    metrics: dict[str, float] = {}
    parameters: dict[str, str] = {}
    tags: dict[str, str] = {}
    # Metrics and parameters that the model itself recorded take precedence over its run's; tags are the run's first.
    for below in (run if recorded.run_id else "", place.model):
        if below:
            metrics |= _metrics(folder, below)
            parameters |= _read_texts(folder, f"{below}/params")
            tags = {**_read_texts(folder, f"{below}/tags"), **tags}
    return Run(
        run_id=recorded.run_id or "",
        run_name=recorded.run_name or tags.get("mlflow.runName", "")[:_MOST_NAME],
        model_name=model.name or "",
        experiment_id="" if recorded.experiment_id is None else str(recorded.experiment_id),
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
        parameters=parameters,
        tags=tags,
        left_out=tuple(sorted(name for name, value in metrics.items() if not math.isfinite(value))),
    )


def _meta(folder: Folder, below: str, read_documents: Documents) -> _RunMeta:
    path = f"{below}/{META}"
    document = read_documents({path: folder.read(path, _MOST_META_BYTES)})[path]
    try:
        return msgspec.convert(document, _RunMeta)
    except msgspec.MsgspecError as error:
        raise UnreadableModel(f"{folder.root / path} cannot be read: {read_reason(error)}") from None


def list_outputs(run: Path) -> list[Path]:
    """The directories of the models that a run of MLflow 3 has logged.

    Args:
        run: the run's directory, with every link resolved.
    """
    folder = Folder(run)
    try:
        names = sorted({path.split("/")[1] for path in folder.files("outputs", depth=1)})
    finally:
        folder.close()
    found = [run.parent / "models" / name / _ARTIFACTS for name in names if _MODEL_ID.fullmatch(name)]
    # A link would lead to some other model of this machine.
    return [each for each in found if each.resolve() == each]


def _files(folder: Folder, below: str) -> dict[str, str]:
    """Path by name; a name with slashes is a file in directories."""
    found = {path[len(below) + 1 :]: path for path in folder.files(below)}
    if len(found) > _MOST_VALUES:
        raise SizeLimit(f"{folder.root / below} holds more than {_MOST_VALUES} files")
    return found


def _read_texts(folder: Folder, below: str) -> dict[str, str]:
    found = {}
    left = _MOST_TEXT_BYTES
    for name, path in _files(folder, below).items():
        if name.startswith("mlflow.") and name not in _READ_TAGS:
            continue
        try:
            content = folder.read(path, left)
            left -= len(content)
            found[name] = content.decode("utf-8")
        except UnicodeDecodeError:
            raise UnreadableModel(f"{folder.root / path} is not UTF-8") from None
    return found


def _metrics(folder: Folder, below: str) -> dict[str, float]:
    """The last value of each metric; those of the machine (`system/…`) say nothing of the model."""
    found, left = {}, _MOST_METRIC_BYTES
    for name, path in _files(folder, f"{below}/metrics").items():
        if not name.startswith("system/"):
            content = folder.read(path, left)
            left -= len(content)
            found[name] = _last(content, f"{folder.root / path}")
    return found


def _last(content: bytes, path: str) -> float:
    """The value of the highest step; of several, the latest one, as MLflow has it."""
    values = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        parts = line.split()
        try:
            value = float(parts[1])
            values.append((int(parts[2]) if len(parts) > 2 else 0, int(parts[0]), value))
        except (ValueError, IndexError):
            raise UnreadableModel(f"{path}, line {number}: not a metric of MLflow's") from None
    if not values:
        raise UnreadableModel(f"{path} holds no value")
    return max(values, key=lambda each: (each[0], each[1], -math.inf if math.isnan(each[2]) else each[2]))[2]
