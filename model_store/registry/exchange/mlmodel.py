"""The `MLmodel` file of an MLflow model: its fields, and which file of which flavour holds the model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO

import msgspec
from msgspec import Meta, Struct

from model_store.errors import InvalidInput, UnreadableModel
from model_store.registry.exchange.folder import require_inside

MLMODEL = "MLmodel"
FLAVOURS = ("xgboost", "lightgbm", "sklearn")
_Word = Annotated[str, Meta(max_length=1024)]
_PICKLES = ("pickle", "cloudpickle")
_FACTS = ("_version", "_format", "_class")
"""How the fields of a flavour end that the manifest keeps."""
_MOST_METADATA_BYTES = 64 << 10
_DEEPEST_METADATA = 16


class MLmodel(Struct):
    """What is read of an `MLmodel` file; other fields are allowed."""

    flavors: dict[_Word, dict[_Word, Any]]
    run_id: _Word | None = None
    model_id: _Word | None = None
    model_uuid: _Word | None = None
    artifact_path: _Word | None = None
    utc_time_created: _Word | None = None
    mlflow_version: _Word | int | float | None = None
    signature: dict[_Word, Any] | None = None
    saved_input_example_info: dict[_Word, Any] | None = None
    metadata: dict[_Word, Any] | None = None


class _Flavour(Struct):
    """What is read of a flavour; other fields are allowed."""

    data: _Word | None = None
    pickled_model: _Word | None = None
    serialization_format: _Word | None = None
    model_class: _Word | None = None


@dataclass(frozen=True)
class ModelFile:
    """The file that holds a model."""

    path: str
    """Below the directory of `MLmodel`."""
    suffix: str
    """What a file of this format ends with; `.xgb` where the file's beginning has to tell."""
    flavour: str
    model_type: str | None
    """Of the model's id; None where the estimator tells it."""
    facts: Mapping[str, Any]


def parse_mlmodel(document: Any) -> MLmodel:
    """Reads the content of an `MLmodel` file.

    Raises:
        UnreadableModel: a field is of another kind, or the metadata is too large; names it.
    """
    try:
        found = msgspec.convert(document, MLmodel)
    except msgspec.MsgspecError as error:
        raise UnreadableModel(f"{MLMODEL} cannot be read: {read_reason(error)}") from None
    for name in ("metadata", "saved_input_example_info"):
        require_plain(getattr(found, name), f"{MLMODEL}: {name}")
    return found


def read_reason(error: Exception) -> str:
    """A library's message with the place first: `flavors`: Expected `object`, got `str`."""
    reason, _, place = str(error).rpartition(" - at `$.")
    return f"`{place.rstrip('`')[:200]}`: {reason}" if reason else str(error)[:300]


def require_plain(value: Any, name: str) -> None:
    """Raises UnreadableModel unless a value can be kept in a manifest: small, shallow, numbers that JSON has.

    Raises:
        UnreadableModel: it cannot; says why.
    """
    level = [value]
    for _ in range(_DEEPEST_METADATA):
        if any(isinstance(each, float) and not math.isfinite(each) for each in level):
            raise UnreadableModel(f"{name} has a number that is not finite")
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    if level or len(msgspec.json.encode(value)) > _MOST_METADATA_BYTES:
        raise UnreadableModel(
            f"{name} is larger than {_MOST_METADATA_BYTES >> 10} KiB, or nested more than {_DEEPEST_METADATA} levels "
            "deep; remove it from the file"
        )


def model_file(mlmodel: MLmodel) -> ModelFile:
    """The file that holds the model, by the first flavour that this program reads.

    Raises:
        InvalidInput: there is no such flavour, or the path leads out of the directory.
        UnreadableModel: the flavour names no file, or a format that MLflow does not have.
    """
    name = next((each for each in FLAVOURS if each in mlmodel.flavors), None)
    if name is None:
        there = ", ".join(sorted(mlmodel.flavors)) or "none"
        raise InvalidInput(
            f"{MLMODEL} has the flavours: {there[:300]}; allowed: {', '.join(sorted(FLAVOURS))}. Log the model with "
            "one of them, or register its file with `register`"
        )
    try:
        flavour = msgspec.convert(mlmodel.flavors[name], _Flavour)
    except msgspec.MsgspecError as error:
        raise UnreadableModel(f"{MLMODEL}: the flavour {name} cannot be read: {read_reason(error)}") from None
    path = flavour.pickled_model if name == "sklearn" else flavour.data
    if path is None:
        field = "pickled_model" if name == "sklearn" else "data"
        raise UnreadableModel(f"{MLMODEL}: the flavour {name} has no {field}")
    told = {key: value for key, value in mlmodel.flavors[name].items() if key.endswith(_FACTS)}
    return ModelFile(
        path="/".join(require_inside(path, MLMODEL)),
        suffix=_file_suffix(name, flavour),
        flavour=name,
        model_type={"xgboost": "XGBoost", "lightgbm": "LightGBM"}.get(name),
        facts={key: value for key, value in told.items() if isinstance(value, str | int | float)},
    )


def _file_suffix(name: str, flavour: _Flavour) -> str:
    """The suffix of a file in the flavour's format, whatever the file is called."""
    if name == "xgboost":
        return ".xgb"
    if name == "lightgbm" and flavour.model_class in (None, "lightgbm.basic.Booster"):
        return ".txt"
    usual = "pickle" if name == "sklearn" else "cloudpickle"
    written = flavour.serialization_format or usual
    if written == "skops":
        return ".skops"
    if written not in _PICKLES:
        raise UnreadableModel(
            f"{MLMODEL}: the flavour {name} has the serialization_format {written[:100]!r}; "
            f"allowed: {', '.join((*_PICKLES, 'skops'))}"
        )
    return ".pkl"


def xgboost_suffix(file: BinaryIO) -> str:
    """How a file of XGBoost's is written; the flavour's `model_format` and its suffix do not tell.

    Raises:
        InvalidInput: neither in JSON nor in UBJSON, such as XGBoost's former binary format.
    """
    beginning = file.read(64)
    file.seek(0)
    if not beginning.lstrip().startswith(b"{"):
        raise InvalidInput(
            "the model's file is neither JSON nor UBJSON. If it is in XGBoost's old binary format, load it with the "
            "version of XGBoost that wrote it, and log it again with model_format='ubj'"
        )
    rest = beginning.lstrip()[1:].lstrip(b" \t\r\n")
    return ".json" if rest[:1] in (b'"', b"}") else ".ubj"
