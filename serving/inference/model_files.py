"""The files of the model version to serve, as files of this machine for as long as they are read."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from conventions.artifact_files import ARTIFACT_FILE, GOLDEN_FILE, MANIFEST_FILE, RUNTIME_FILE
from model_store.errors import FileMissing, ModelNotFound
from model_store.storage.s3 import S3Storage


@contextmanager
def model_files(uri: str, *, runtime: bool) -> Iterator[Path]:
    """The directory with `manifest.json` and the files that the version is served from.

    Args:
        uri: a path, a `file://` URL, or `s3://bucket/prefix`, which is fetched into a directory that goes away again.
        runtime: whether the optimized form will be read.

    Raises:
        FileMissing: the bucket does not have them.
        StorageFailed: the bucket cannot be read; says what S3 said.
    """
    parts = urlsplit(uri) if "://" in uri else None
    if parts is None:
        yield Path(uri)
    elif parts.scheme == "file":
        yield Path(unquote(parts.path))
    else:
        with tempfile.TemporaryDirectory(prefix="model-") as directory:
            target = Path(directory)
            storage = S3Storage(parts.netloc, parts.path.strip("/"))
            _fetch(storage, (MANIFEST_FILE,), target)
            _fetch(storage, _needed(target / MANIFEST_FILE, runtime=runtime), target)
            yield target


def _needed(manifest: Path, *, runtime: bool) -> tuple[str, ...]:
    """The files that a version is served from, beside its manifest."""
    try:
        proven = bool(json.loads(manifest.read_text(encoding="utf-8")).get("contract"))
    except (ValueError, AttributeError):
        proven = False
    if not proven:
        return (RUNTIME_FILE,) if runtime else (ARTIFACT_FILE,)
    return (ARTIFACT_FILE, GOLDEN_FILE, RUNTIME_FILE) if runtime else (ARTIFACT_FILE, GOLDEN_FILE)


def _fetch(storage: S3Storage, files: tuple[str, ...], directory: Path) -> None:
    try:
        for name in files:
            storage.fetch(name, directory / name)
    except ModelNotFound:
        raise FileMissing(f"{storage.location}: there is no such model version") from None
