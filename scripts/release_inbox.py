"""Copies a release out of its inbox, a directory or a bucket: `release.yaml` and the files that it names."""

import shutil
from pathlib import Path

from model_store.errors import FileMissing, InvalidInput
from model_store.registry.files.layout import storage_at
from model_store.storage.base import Storage
from model_store.storage.directory import DirectoryStorage
from scripts.release_description import DESCRIPTION_FILE, files_of, read_description, read_release

_SCHEMA_OF_COLUMNS = "{}.metrics.json"
"""What the training wrote beside the model's file: its features and threshold."""


def fetch_release(inbox: str, directory: Path) -> list[str]:
    """Copies a release into a new directory.

    Args:
        inbox: a directory, or `s3://bucket/prefix`.
        directory: made by this; it may not hold anything.

    Returns:
        The names of the files.

    Raises:
        InvalidInput: the directory is not empty, or the description does not fit.
        FileMissing: the inbox lacks the description or a file that it names.
        StorageFailed: the inbox cannot be read.
    """
    if directory.exists() and any(directory.iterdir()):
        raise InvalidInput(f"{directory}: is not empty; name a new directory")
    storage = storage_at(inbox)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        return _fetched(storage, inbox, directory)
    except BaseException:
        # The same command can be given again once the inbox has what was missing.
        for path in directory.iterdir():
            path.unlink()
        raise


def _fetched(storage: Storage, inbox: str, directory: Path) -> list[str]:
    """Copies description and files into an empty directory; returns their names."""
    _copy(storage, inbox, DESCRIPTION_FILE, directory)
    release = read_description(directory / DESCRIPTION_FILE)
    names = [*files_of(release).values()]
    for name in names:
        _copy(storage, inbox, name, directory)
    beside = _SCHEMA_OF_COLUMNS.format(release.file)
    if storage.exists(beside):
        names.append(beside)
        _copy(storage, inbox, beside, directory)
    read_release(directory)
    return [DESCRIPTION_FILE, *names]


def _copy(storage: Storage, inbox: str, name: str, directory: Path) -> None:
    if not storage.exists(name):
        raise FileMissing(f"{inbox}: there is no {name}; a release has {DESCRIPTION_FILE} and the files that it names")
    if isinstance(storage, DirectoryStorage):
        shutil.copyfile(storage.path(name), directory / name)
    else:
        shutil.move(storage.path(name), directory / name)
