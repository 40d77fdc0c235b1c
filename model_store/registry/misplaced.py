"""Finds what lies in the place of a directory of versions; without it, such a version would only be missing."""

from pathlib import Path

from model_store.registry.files.manifest import is_model_name
from model_store.registry.log.audit import HINT_FILE, is_record
from model_store.storage.base import Storage
from model_store.storage.s3 import S3Storage
from model_store.storage.sharing import file_in_the_way

_DIRECTORIES = ("aliases", "audit", ".locks", ".staging")


def misplaced(storage: Storage, name: str | None = None) -> dict[str, str]:
    """What lies where a model name's or a version's directory has to be and is none, each with the reason."""
    if isinstance(storage, S3Storage):
        return _odd_keys(storage)
    root, top = storage.path(""), storage.path("models")
    wanted_directories = [root / each for each in _DIRECTORIES] if name is None else []
    found = {each.name: why for each in wanted_directories if (why := file_in_the_way(root, each))}
    if top.exists() and not top.is_dir():
        return {**found, "models": f"{top}: a directory is expected here"}
    wanted = _entries(top) if name is None else [top / name]
    for directory in wanted:
        if not directory.exists() and not directory.is_symlink():
            continue
        if directory.is_symlink() or not directory.is_dir():
            found[directory.name] = f"{directory}: a directory is expected here"
            continue
        if not is_model_name(directory.name):
            found[directory.name] = f"{directory}: not the directory of a model name"
            continue
        if problem := file_in_the_way(root, directory / ".versions"):
            found[f"{directory.name}/.versions"] = problem
        for version in _entries(directory):
            if version.is_symlink() or not version.is_dir():
                found[version.name] = f"{version.name}: a directory is expected at {version}"
    return found


def misplaced_records(storage: Storage) -> dict[str, str]:
    """What lies in the directory of the audit log and is not a record, each with the reason; nothing reads it.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    found = [key for key in storage.keys("audit") if not is_record(key) and key != HINT_FILE]
    return {key: f"{key}: not a record of the audit log, which leaves it out; remove it" for key in found}


def _odd_keys(storage: S3Storage) -> dict[str, str]:
    bucket = storage.location.removeprefix("s3://").partition("/")[0]
    return {
        key: f"{key}: an object with an empty part, . or .. in its key, which the registry leaves out; remove it: aws "
        f"s3api delete-object --bucket {bucket} --key '{key}'"
        for key in sorted(storage.odd_keys)
    }


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except OSError:
        return []
