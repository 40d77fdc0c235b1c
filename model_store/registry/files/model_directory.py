"""Cleans up a directory of model files: the latest versions of each model stay.

A file's name says which model it is of: what is left without the suffixes and without versions and dates at the end.
`fraud_v1.joblib`, `fraud_v2.joblib`, `fraud_1.2.3-rc1.pkl` and `fraud_20241009_123456.pkl` are versions of `fraud`;
`fraud_tuned.joblib` is another model, and so is `fraud30.joblib`, where no separator begins a version. Files that are
only a version, such as `1.joblib` and `2024-10-09.joblib`, are versions of one model.
"""

import re
from collections import defaultdict
from pathlib import Path

from model_store.errors import FileMissing, StorageFailed

_FORMATS = (".joblib", ".pkl", ".pickle", ".skops", ".onnx", ".ubj")
"""Suffixes that only models have: a `.json` or `.txt` may be anything, and is never removed."""
_COMPRESSIONS = (".gz", ".bz2", ".xz", ".lzma", ".z", ".lz4")
_DATE = r"\d{4}-\d{2}-\d{2}|\d{8}"
_TIME = r"[T_-]?\d{2}[:-]?\d{2}(?:[:-]?\d{2})?Z?"
_NUMBER = r"v?\d+(?:\.\d+)*(?:[.-]?(?:alpha|beta|rc|dev|post)[.-]?\d*)?"
_VERSION_AT_THE_END = re.compile(rf"(?:^|[._-])(?:(?:{_DATE})(?:{_TIME})?|{_NUMBER})$", re.IGNORECASE)


def strip_version(path: Path) -> str:
    """The model that a model file is of; empty when its name is only a version."""
    name = _strip_suffixes(path)
    while (shorter := _VERSION_AT_THE_END.sub("", name)) != name:
        name = shorter
    return name


def cleanup_model_files(directory: Path, keep_latest: int, *, dry_run: bool) -> list[str]:
    """Keeps the latest versions of each model of a directory; removes the others with the descriptions beside them.

    Args:
        directory: holds the files; its sub-directories are not read.
        keep_latest: how many versions of each model stay, by the time of their last change; at least 1. Files whose
            names differ in their suffixes only, such as `fraud_v1.joblib` and `fraud_v1.onnx`, are one version.
        dry_run: whether to report without deleting.

    Returns:
        The deleted files (or those a dry run would delete), by model, oldest last.

    Raises:
        FileMissing: there is no such directory.
        StorageFailed: a file cannot be removed.
    """
    if not directory.is_dir():
        raise FileMissing(f"{directory}: there is no such directory")
    versions: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(directory.iterdir()):
        if _is_model_file(path):
            versions[strip_version(path)][_strip_suffixes(path)].append(path)
    going = [
        path
        for of_model in versions.values()
        for files in sorted(of_model.values(), key=_changed_at, reverse=True)[max(1, keep_latest) :]
        for path in files
    ]
    if not dry_run:
        for path in going:
            _remove(path)
    return [str(path) for path in going]


def _is_model_file(path: Path) -> bool:
    return path.is_file() and Path(_without_compression(path.name)).suffix.lower() in _FORMATS


def _strip_suffixes(path: Path) -> str:
    """A file's name without its suffixes."""
    return Path(_without_compression(path.name)).stem


def _without_compression(name: str) -> str:
    while Path(name).suffix.lower() in _COMPRESSIONS:
        name = Path(name).stem
    return name


def _changed_at(files: list[Path]) -> float:
    return max(path.stat().st_mtime for path in files)


def _remove(path: Path) -> None:
    try:
        path.unlink()
        path.with_name(f"{path.name}.metrics.json").unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be removed ({error.strerror})") from None
