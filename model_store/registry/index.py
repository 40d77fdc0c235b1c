"""Finds model versions fast: a version is read again only after its files have changed.

The index is a cache of the registry's files, in memory and in one object of the storage that can be lost, old or
damaged without harm: an entry counts while the storage's change number is the one that it was read at, and is stored
only when that number is final. A checksum shows damage. It is written by compare-and-swap, so that no writer loses
another one's entries.
"""

import gc
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from conventions.artifact_files import MANIFEST_FILE
from model_store.errors import ModelNotFound, ModelStoreError, UnreadableModel, VersionConflict
from model_store.registry.layout import version_prefix
from model_store.registry.manifest import ModelMetadata, ModelStatus
from model_store.storage.base import Storage

CACHE_KEY = ".index"
_CACHE_VERSION = 5
_CHECKSUM_BYTES = 4
_SHARED = ("feature_schema", "library_versions", "lineage")
"""Fields that are large and mostly equal among the versions of a model: the cache holds each value once."""
_MANY_REMOTE = 10
"""So many changed versions of a remote storage are read again in place of writing the index."""
_MANY_LOCAL = 100
_PART_LOCAL = 20
_ATTEMPTS = 3
_STATUSES = {str(status): status for status in ModelStatus}


class _Entry(msgspec.Struct, array_like=True, gc=False):
    """One version as the cache holds it: what lists are ordered by, and the manifest, which is read when needed."""

    mark: int
    status: str
    key_ids: tuple[str, ...]
    serving: dict[str, str]
    ran: tuple[str, ...]
    name: str
    version: int
    created_at: str
    manifest: bytes


class _Cache(msgspec.Struct):
    version: int
    shared: list[bytes]
    models: dict[str, _Entry]


_decode = msgspec.msgpack.Decoder(_Cache).decode


class _Known(msgspec.Struct, gc=False):
    """One version as this process knows it; a structure is made in half the time of a dataclass."""

    mark: int
    metadata: ModelMetadata
    packed: bytes | None = None
    """The manifest as the stored index has it."""
    shared: "_Shared | None" = None
    """What `packed` refers to."""
    own: bool = False
    """Whether this process read it from the version's files."""


class _Shared:
    """The values that manifests share, by their position."""

    def __init__(self, values: list[bytes]) -> None:
        self.values = values
        self._positions = {value: position for position, value in enumerate(values)}
        self._decoded: list[Any] = []

    def position(self, value: Any) -> int:
        """The position of a value, which is added when it is new."""
        text = msgspec.json.encode(value, order="sorted")
        if text not in self._positions:
            self._positions[text] = len(self.values)
            self.values.append(text)
        return self._positions[text]

    def manifest(self, packed: bytes) -> dict[str, Any]:
        """The manifest of an entry."""
        if len(self._decoded) < len(self.values):
            self._decoded = [msgspec.json.decode(each) for each in self.values]
        manifest: dict[str, Any] = msgspec.json.decode(packed)
        manifest |= {name: self._decoded[manifest[name]] for name in _SHARED}
        if manifest["contract"] is not None:
            position, golden = manifest["contract"]
            manifest["contract"] = {**self._decoded[position], **golden}
        return manifest

    def packed(self, manifest: dict[str, Any]) -> bytes:
        """A manifest as an entry holds it."""
        packed = {**manifest, **{name: self.position(manifest[name]) for name in _SHARED}}
        contract = packed.get("contract")
        if contract is not None:
            # Only the golden rows are a version's own.
            golden = {name: value for name, value in contract.items() if name == "golden"}
            rest = {name: value for name, value in contract.items() if name not in golden}
            contract = [self.position(rest), golden]
        packed["contract"] = contract
        return msgspec.json.encode(packed)


class Index:
    """The model versions of one registry.

    Args:
        storage: the registry's.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._entries: dict[str, _Known] | None = None
        self._shared = _Shared([])
        self._stored: bytes | None = None
        """The cache's content when it was read or written last; None: there was none."""
        self.damaged: dict[str, str] = {}
        """The versions that the last call of `models` could not read, each with the reason."""

    def models(self, name: str | None, read: Callable[[str], ModelMetadata]) -> list[ModelMetadata]:
        """The model versions of a model name, or of all, unordered.

        Args:
            name: of a model; None for all.
            read: reads one model version by its id.
        """
        with _without_collection():
            return self._models(name, read)

    def _models(self, name: str | None, read: Callable[[str], ModelMetadata]) -> list[ModelMetadata]:
        if self._entries is None:
            self._entries = self._load()
        entries = self._entries
        self.damaged = {}
        found: list[ModelMetadata] = []
        changed: list[tuple[str, int | None]] = []
        listed = self._storage.versions(name)
        if name is None and len(entries) > len(listed):
            # Some were deleted.
            present = {model_id for model_id, _, _ in listed}
            entries = self._entries = {each: known for each, known in entries.items() if each in present}
        for model_id, mark, settled in listed:
            known = entries.get(model_id)
            if known is not None and known.mark == mark:
                found.append(known.metadata)
            else:
                changed.append((model_id, mark if settled else None))
        is_many = len(changed) > self._many(len(found))
        for (model_id, final), metadata in zip(changed, self._read_all(changed, read), strict=True):
            if metadata is None:
                continue
            if final is None:
                found.append(metadata)
                continue
            known = entries[model_id] = self._known(final, metadata, is_many)
            found.append(known.metadata)
        if is_many:
            self._save()
        return found

    def _known(self, mark: int, metadata: ModelMetadata, is_many: bool) -> _Known:
        """A version that was read; many are kept as the index has them, in a fifth of the memory."""
        if not is_many:
            return _Known(mark, metadata, own=True)
        known = _known(metadata.model_id, _entry(_Known(mark, metadata), self._shared), self._shared)
        known.own = True
        return known

    def _many(self, count: int) -> int:
        """Of so many changed versions the index is written: that takes as long as reading some hundred local ones."""
        return _MANY_REMOTE if self._storage.parallel_reads > 1 else max(_MANY_LOCAL, count // _PART_LOCAL)

    def _read_all(
        self, changed: list[tuple[str, int | None]], read: Callable[[str], ModelMetadata]
    ) -> Iterator[ModelMetadata | None]:
        if self._storage.parallel_reads == 1 or len(changed) <= 1:
            yield from (self._read(model_id, read) for model_id, _ in changed)
            return
        with ThreadPoolExecutor(self._storage.parallel_reads) as threads:
            yield from threads.map(lambda item: self._read(item[0], read), changed)

    def _read(self, model_id: str, read: Callable[[str], ModelMetadata]) -> ModelMetadata | None:
        try:
            return read(model_id)
        except ModelNotFound:
            # The version was deleted after it was listed, or its manifest was.
            with suppress(ModelNotFound):
                if self._storage.exists(version_prefix(model_id)):
                    self.damaged[model_id] = f"{model_id}: its {MANIFEST_FILE} is missing"
        except UnreadableModel as error:
            self.damaged[model_id] = str(error)
        return None

    def _load(self) -> dict[str, _Known]:
        try:
            self._stored = self._storage.read(CACHE_KEY)
        except ModelStoreError:
            self._stored = None
        entries, self._shared = _parse_entries(self._stored or b"")
        return entries

    def _save(self) -> None:
        assert self._entries is not None  # noqa: S101 - the caller has loaded them
        for _ in range(_ATTEMPTS):
            content = _encode_entries(self._entries, self._shared)
            try:
                if self._put(content):
                    self._stored = content
                    return
            except ModelStoreError:
                # A reader may not write: the index stays as it is.
                return
            # Somebody else was first: of a version that both have, the one counts that this process read itself.
            own = {model_id: known for model_id, known in self._entries.items() if known.own}
            self._entries = {**self._entries, **self._load(), **own}

    def _put(self, content: bytes) -> bool:
        """Writes the index over the one that was read; false when somebody else wrote another one meanwhile."""
        if self._stored is None:
            return self._storage.put_if_absent(CACHE_KEY, content)
        try:
            self._storage.compare_and_swap(CACHE_KEY, content, self._stored)
        except (VersionConflict, ModelNotFound):
            return False
        return True


def _parse_entries(content: bytes) -> tuple[dict[str, _Known], _Shared]:
    """The entries of a cache, and what they share; none when it is damaged or of another version."""
    try:
        if content[:_CHECKSUM_BYTES] != _checksum(memoryview(content)[_CHECKSUM_BYTES:]):
            return {}, _Shared([])
        cache = _decode(memoryview(content)[_CHECKSUM_BYTES:])
        if cache.version == _CACHE_VERSION:
            shared = _Shared(cache.shared)
            known, statuses = _known, _STATUSES
            return {each: known(each, entry, shared, statuses) for each, entry in cache.models.items()}, shared
    except (msgspec.MsgspecError, ValueError, KeyError, RecursionError):
        pass
    return {}, _Shared([])


def _known(model_id: str, entry: _Entry, shared: _Shared, statuses: Mapping[str, ModelStatus] = _STATUSES) -> _Known:
    packed = entry.manifest
    fields = {
        "model_id": model_id,
        "model_name": entry.name,
        "version": entry.version,
        "created_at": entry.created_at,
        "status": statuses[entry.status],
        "key_ids": entry.key_ids,
        "serving": entry.serving,
        "ran": entry.ran,
    }
    return _Known(entry.mark, ModelMetadata.deferred(fields, (shared.manifest, packed)), packed, shared)


def _entry(known: _Known, shared: _Shared) -> _Entry:
    metadata = known.metadata
    is_stored = known.packed is not None and known.shared is shared
    return _Entry(
        known.mark,
        str(metadata.status),
        metadata.key_ids,
        dict(metadata.serving),
        metadata.ran,
        metadata.model_name,
        metadata.version,
        metadata.created_at,
        known.packed if is_stored and known.packed is not None else shared.packed(metadata.manifest()),
    )


def _encode_entries(entries: dict[str, _Known], shared: _Shared) -> bytes:
    """The cache with these entries; those that were not read in between are taken over as they are."""
    models = {model_id: _entry(known, shared) for model_id, known in list(entries.items())}
    content = msgspec.msgpack.encode(_Cache(_CACHE_VERSION, shared.values, models))
    return _checksum(content) + content


def _checksum(content: bytes | memoryview) -> bytes:
    """Shows damage that leaves an index readable."""
    return zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "big")


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pauses the cycle collector, which would walk ten thousand new objects that hold no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
