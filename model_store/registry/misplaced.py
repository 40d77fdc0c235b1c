"""Finds what lies in the place of a directory of versions; without it, such a version would only be missing."""

from pathlib import Path

from model_store.registry.manifest import is_model_name
from model_store.storage.base import Storage


def misplaced(storage: Storage, name: str | None = None) -> dict[str, str]:
    """What lies where a model name's or a version's directory has to be and is none, each with the reason."""
    if storage.location.startswith("s3://"):
        return {}
    found = {}
    top = storage.path("models")
    if top.exists() and not top.is_dir():
        return {"models": f"{top}: a directory is expected here"}
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
        for version in _entries(directory):
            if version.is_symlink() or not version.is_dir():
                found[version.name] = f"{version.name}: a directory is expected at {version}"
    return found


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except OSError:
        return []
