"""Reads many versions from their own files: what decides, names or counts versions never asks the index.

The index can be old, damaged or written by somebody else without that anybody sees it. A manifest is compared with the
digest that its state keeps, too, so that a changed letter is found.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from model_store.errors import ChecksumMismatch, ModelNotFound, UnreadableModel
from model_store.registry.files.index_file import LISTED
from model_store.registry.files.manifest import ModelMetadata, is_model_id
from model_store.registry.files.unfinished import is_unfinished
from model_store.registry.files.verification import require_manifest_digest
from model_store.storage.base import Storage

_Read = TypeVar("_Read")


class VersionFiles(NamedTuple):
    """What the two files of a version say that every reader needs."""

    metadata: ModelMetadata
    state: dict[str, Any]
    digest: str
    """Of the manifest's bytes, `sha256:<hex>`."""


class ReadsVersions(Protocol):
    """Reads versions one by one; `RegistryReader` implements it."""

    storage: Storage

    def get_version(self, model_id: str) -> VersionFiles:
        """A version's manifest and state."""


@dataclass
class OwnFiles:
    """What the files of versions say."""

    models: list[ModelMetadata] = field(default_factory=list)
    """The versions whose manifest and state are intact, unordered; the other fields are read when they are needed."""
    deployments: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    """Of each of them the deployments."""
    damaged: dict[str, str] = field(default_factory=dict)
    """The others, each with the reason."""


def read_own_files(reader: ReadsVersions, name: str | None = None) -> OwnFiles:
    """Reads the manifest and the state of every version, or of those of a model name.

    Args:
        reader: of the registry.
        name: of a model; None for all.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    found = OwnFiles()
    ids = _ids(reader.storage, name)
    for model_id, version in zip(ids, read_each(reader.storage, ids, partial(read_version, reader)), strict=True):
        if isinstance(version, str):
            found.damaged |= {model_id: version} if version else {}
        else:
            found.models.append(_slim(reader, version.metadata))
            found.deployments[model_id] = version.state["deployments"]
    return found


def _ids(storage: Storage, name: str | None) -> list[str]:
    """The ids of all versions, in S3 also of those without a manifest; a link is none, and `misplaced` names it."""
    listed = [model_id for model_id, _, _ in storage.versions(name)]
    if storage.parallel_reads == 1:
        return sorted(listed)
    names = storage.names("models") if name is None else [name]
    return sorted({*listed, *(each for top in names for each in storage.names(f"models/{top}") if is_model_id(each))})


def read_each(storage: Storage, ids: Sequence[str], read: Callable[[str], _Read]) -> Iterator[_Read]:
    """Calls a function for each id, in their order; as many at once as the storage answers fastest.

    Args:
        storage: where it reads.
        ids: of versions.
        read: called for each.
    """
    if storage.parallel_reads == 1 or len(ids) <= 1:
        yield from map(read, ids)
        return
    with ThreadPoolExecutor(storage.parallel_reads) as threads:
        yield from threads.map(read, ids)


def read_version(reader: ReadsVersions, model_id: str) -> VersionFiles | str:
    """A version, or why it is damaged; an empty text where it is gone, or only what an ended process left.

    Args:
        reader: of the registry.
        model_id: of the version.
    """
    try:
        version = reader.get_version(model_id)
        require_manifest_digest(model_id, version.digest, version.state)
    except ModelNotFound:
        return ""
    except ChecksumMismatch as error:
        return str(error)
    except UnreadableModel as error:
        return "" if is_unfinished(reader.storage, model_id) else str(error)
    return version


def _slim(reader: ReadsVersions, metadata: ModelMetadata) -> ModelMetadata:
    """Metadata with what lists are ordered by; ten thousand whole manifests would fill the memory."""

    def read(model_id: str, _place: object) -> Mapping[str, Any]:
        return reader.get_version(model_id).metadata.manifest()

    return ModelMetadata.deferred({each: getattr(metadata, each) for each in LISTED}, read, None)
