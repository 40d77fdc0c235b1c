"""Lists model versions fast: a version is read again only after its manifest or its state has changed.

The index is a cache of the registry's files, in memory and in one object of the storage that can be lost, old or
damaged without harm: an entry counts while the storage's change number is the one that it was read at, and is stored
only when that number is final. It is written by compare-and-swap, so that no writer loses another one's entries.

Nothing tells an index that somebody made up from a true one. Lists and statistics use it; what decides about versions
reads their own files, see `own_files`.
"""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from conventions.artifact_files import MANIFEST_FILE
from conventions.regular_files import parse_json
from model_store.errors import ModelNotFound, ModelStoreError, UnreadableModel, VersionConflict
from model_store.registry.files import index_file
from model_store.registry.files.index_file import (
    LISTED,
    NOT_A_BLOCK,
    Blocks,
    Known,
    ReadManifest,
    Values,
    encode_index,
    parse_index,
)
from model_store.registry.files.layout import version_prefix
from model_store.registry.files.manifest import ModelMetadata
from model_store.registry.files.own_files import read_each
from model_store.registry.files.schema import require_manifest
from model_store.storage.base import Storage

CACHE_KEY = ".index"
_MANY_REMOTE = 10
"""So many changed versions of a remote storage are read again in place of writing the index."""
_MANY_LOCAL = 100
_PART_LOCAL = 20
_ATTEMPTS = 3


class Index:
    """The model versions of one registry.

    Args:
        storage: the registry's.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._entries: dict[str, Known] | None = None
        self._blocks = Blocks([], [])
        self._values = Values()
        self._stored: bytes | None = None
        """The cache's content when it was read or written last; None: there was none."""
        self.damaged: dict[str, str] = {}
        """The versions that the last call of `models` could not read, each with the reason."""

    def models(self, name: str | None, read: Callable[[str], ModelMetadata]) -> list[ModelMetadata]:
        """The model versions of a model name, or of all; those of the stored index by name and number.

        Args:
            name: of a model; None for all.
            read: reads one model version by its id.
        """
        with _without_collection():
            return self._models(name, read)

    def _models(self, name: str | None, read: Callable[[str], ModelMetadata]) -> list[ModelMetadata]:
        if self._entries is None:
            self._entries = self._load()
        self.damaged = {}
        listed = self._storage.versions(name)
        found, changed = self._unchanged(listed, name is None)
        entries = self._entries
        is_many = len(changed) > self._many(len(found))
        pending: list[Known] = []
        each_read = read_each(self._storage, [model_id for model_id, _ in changed], lambda each: self._read(each, read))
        for (model_id, final), metadata in zip(changed, each_read, strict=True):
            if metadata is None:
                continue
            if final is None:
                found.append(metadata)
                continue
            known = entries[model_id] = Known(final, metadata, own=True)
            if not is_many:
                found.append(metadata)
                continue
            pending.append(known)
            if len(pending) == index_file.ROWS:
                found += self._pack(pending)
        found += self._pack(pending)
        if is_many:
            self._save()
        return found

    def _pack(self, pending: list[Known]) -> list[ModelMetadata]:
        """Keeps versions that were read as the index has them, in a fifth of the memory; empties the list."""
        if not pending:
            return []
        first = self._blocks.add([self._values.pack(each.metadata.manifest()) for each in pending])
        read = _reader(self._storage, self._values, self._blocks)
        for place, known in enumerate(pending, first):
            known.metadata = ModelMetadata.deferred({n: getattr(known.metadata, n) for n in LISTED}, read, place)
            known.place, known.blocks = place, self._blocks
        packed = [known.metadata for known in pending]
        pending.clear()
        return packed

    def _unchanged(
        self, listed: list[tuple[str, int, bool]], is_whole: bool
    ) -> tuple[list[ModelMetadata], list[tuple[str, int | None]]]:
        """The versions that are unchanged, and those that are not, each with its final change number."""
        assert self._entries is not None  # noqa: S101 - the caller has loaded them
        entries = self._entries
        if not is_whole:
            same = [
                settled and (known := entries.get(model_id)) is not None and known.mark == mark
                for model_id, mark, settled in listed
            ]
            found = [entries[each[0]].metadata for each, is_same in zip(listed, same, strict=True) if is_same]
        else:
            # In the index's own order, which lists need; of those that were deleted none is kept.
            marks = {model_id: mark for model_id, mark, settled in listed if settled}
            if len(entries) > len(marks):
                entries = self._entries = {each: known for each, known in entries.items() if each in marks}
            found = [known.metadata for each, known in entries.items() if marks.get(each) == known.mark]
        if len(found) == len(listed):
            return found, []
        changed: list[tuple[str, int | None]] = []
        for model_id, mark, settled in listed:
            known = entries.get(model_id)
            if known is None or known.mark != mark or not settled:
                changed.append((model_id, mark if settled else None))
        return found, changed

    def _many(self, count: int) -> int:
        """Of so many changed versions the index is written: that takes as long as reading some hundred local ones."""
        return _MANY_REMOTE if self._storage.parallel_reads > 1 else max(_MANY_LOCAL, count // _PART_LOCAL)

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

    def _load(self) -> dict[str, Known]:
        try:
            self._stored = self._storage.read(CACHE_KEY)
        except ModelStoreError:
            self._stored = None
        entries, self._blocks = parse_index(self._stored or b"", partial(_reader, self._storage, self._values))
        return entries

    def _save(self) -> None:
        assert self._entries is not None  # noqa: S101 - the caller has loaded them
        for _ in range(_ATTEMPTS):
            try:
                content = encode_index(self._entries, self._blocks, self._values)
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


def _reader(storage: Storage, values: Values, blocks: Blocks) -> ReadManifest:
    """Reads manifests in blocks, and without them where they cannot be read; refers to no index, which holds it."""

    def read(model_id: str, place: int) -> Mapping[str, Any]:
        try:
            return values.unpack(model_id, blocks.row(place))
        except NOT_A_BLOCK:
            return _stored_manifest(storage, model_id)

    return read


def _stored_manifest(storage: Storage, model_id: str) -> Mapping[str, Any]:
    """A version's manifest from its own file, where the index has none."""
    content = storage.read(f"{version_prefix(model_id)}/{MANIFEST_FILE}")
    try:
        return require_manifest(parse_json(content))
    except ValueError:
        raise UnreadableModel(f"{model_id}: {MANIFEST_FILE} is not JSON") from None


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
