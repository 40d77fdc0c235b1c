"""The description of a release, `release.yaml` beside the model's file: data with a schema, never commands."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from conventions.regular_files import open_regular
from model_store.errors import InvalidInput, SizeLimit, UnreadableModel
from model_store.serialization.plain_yaml import MOST_YAML_BYTES, read_yaml

DESCRIPTION_FILE = "release.yaml"
_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z"

FileName = Annotated[str, Meta(pattern=_PATTERN, description="a file beside release.yaml, by its name alone")]
Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\Z")]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]


class Holdout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Labelled rows outside the training data, and the least that the model has to reach on them."""

    file: FileName
    label: Annotated[str, Meta(min_length=1, max_length=200)]
    accept: Annotated[dict[Word, Share], Meta(min_length=1)]
    """The least value by metric: accuracy, precision, recall, f1, roc_auc, average_precision."""


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A release as `release.yaml` describes it."""

    file: FileName
    """The model's file."""
    name: Word
    """The model name."""
    type: Word
    holdout: Holdout
    description: Annotated[str, Meta(max_length=2000)] = ""
    author: Annotated[str, Meta(max_length=200)] | None = None
    tags: list[Word] = []
    metrics: dict[str, float] = {}
    sample: FileName | None = None
    positive_class: Annotated[str, Meta(max_length=200)] | None = None
    threshold: Share | None = None


def read_release(directory: Path) -> Release:
    """Reads the description of a release, and looks for the files that it names.

    Args:
        directory: holds `release.yaml`, the model's file and the holdout.

    Raises:
        InvalidInput: the description is missing or does not fit, or a file that it names is not there; names the key,
            the value and what is allowed.
    """
    path = directory / DESCRIPTION_FILE
    release = read_description(path)
    for key, name in files_of(release).items():
        if not (directory / name).is_file() or (directory / name).is_symlink():
            raise InvalidInput(f"{path}: {key}: {name!r} is missing; it belongs beside this file")
    return release


def read_description(path: Path) -> Release:
    """Reads the description of a release; errors as for `read_release`."""
    try:
        with open_regular(path) as file:
            content = file.read(MOST_YAML_BYTES + 1)
    except OSError as error:
        raise InvalidInput(
            f"{path}: cannot be read ({error.strerror}); a release is a directory with {DESCRIPTION_FILE}, the model's "
            "file and the holdout"
        ) from None
    try:
        return _converted(read_yaml(content, DESCRIPTION_FILE), path)
    except (SizeLimit, UnreadableModel) as error:
        # The reader's sentence goes on about the files that it was made for.
        raise InvalidInput(f"{path.parent}: {str(error).partition(', which MLflow')[0]}") from None


def files_of(release: Release) -> dict[str, str]:
    """The files that a description names, by its key."""
    found = {"file": release.file, "holdout.file": release.holdout.file, "sample": release.sample}
    return {key: name for key, name in found.items() if name is not None}


def _converted(value: Any, path: Path) -> Release:
    if not isinstance(value, dict):
        raise InvalidInput(f"{path}: not an object; allowed: an object with {', '.join(_keys())}")
    try:
        return msgspec.convert(value, Release, strict=True)
    except msgspec.ValidationError as error:
        sentence, _, place = str(error).partition(" - at `")
        key = place.rstrip("`").removeprefix("$").removeprefix(".")
        known = f"; allowed: {', '.join(_keys())}" if "unknown field" in sentence else ""
        raise InvalidInput(f"{path}: {f'{key}: ' if key else ''}{sentence[:1].lower()}{sentence[1:]}{known}") from None


def _keys() -> list[str]:
    return [field.name for field in msgspec.structs.fields(Release)]
