"""Finds model versions fast: a version is read again only after its directory has changed.

The index is a cache of the registry's files, in memory and in a file that can be lost, old or damaged without harm: an
entry is valid while the storage's change number is the one it was read at, and is stored only when that number is
final.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from conventions.artifact_files import MANIFEST_FILE
from model_store.errors import ModelNotFound, UnreadableModel
from model_store.registry.layout import version_prefix
from model_store.registry.manifest import ModelMetadata, ModelStatus
from model_store.storage.base import Storage

CACHE_KEY = ".index.json"
_CACHE_VERSION = 2
_SHARED = ("feature_schema", "library_versions", "lineage")
"""Fields that are large and mostly equal among the versions of a model: the cache file holds each value once."""


class Index:
    """The model versions of one registry.

    Args:
        storage: the registry's.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._entries: dict[str, tuple[int, ModelMetadata]] | None = None
        self.damaged: dict[str, str] = {}
        """The versions that the last call of `models` could not read, each with the reason."""

    def models(self, names: list[str], read: Any) -> list[ModelMetadata]:
        """The model versions of some model names, unordered.

        Args:
            names: model names.
            read: reads one model version by its id.
        """
        if self._entries is None:
            self._entries = self._load()
        found: list[ModelMetadata] = []
        changed = 0
        self.damaged = {}
        for name in names:
            for model_id, mark, settled in self._storage.changes(f"models/{name}"):
                known = self._entries.get(model_id)
                if known is not None and known[0] == mark:
                    found.append(known[1])
                    continue
                if (metadata := self._read(model_id, mark if settled else None, read)) is not None:
                    found.append(metadata)
                    changed += 1
        # Writing the file takes as long as reading some hundred versions, so a few changes are not written.
        if changed > max(100, len(found) // 20):
            self._save()
        return found

    def _read(self, model_id: str, mark: int | None, read: Any) -> ModelMetadata | None:
        assert self._entries is not None  # noqa: S101 - the caller has loaded them
        try:
            metadata: ModelMetadata = read(model_id)
        except ModelNotFound:
            # The version was deleted after it was listed, or its manifest was.
            if self._storage.exists(version_prefix(model_id)):
                self.damaged[model_id] = f"{model_id}: its {MANIFEST_FILE} is missing"
            return None
        except UnreadableModel as error:
            self.damaged[model_id] = str(error)
            return None
        if mark is not None:
            self._entries[model_id] = (mark, metadata)
        return metadata

    def _load(self) -> dict[str, tuple[int, ModelMetadata]]:
        try:
            with _without_collection():
                content = msgspec.json.decode(self._storage.read(CACHE_KEY))
                if content["version"] != _CACHE_VERSION:
                    return {}
                shared = content["shared"]
                return {
                    model_id: (changed_ns, _unpacked(manifest, status, key_ids, shared))
                    for model_id, (changed_ns, status, key_ids, manifest) in content["models"].items()
                }
        except Exception:
            return {}

    def _save(self) -> None:
        assert self._entries is not None  # noqa: S101 - the caller has loaded them
        positions: dict[bytes, int] = {}
        shared: list[Any] = []
        models = {
            model_id: [
                changed_ns,
                str(metadata.status),
                metadata.key_ids,
                _packed(metadata.manifest(), positions, shared),
            ]
            for model_id, (changed_ns, metadata) in self._entries.items()
        }
        content = {"version": _CACHE_VERSION, "shared": shared, "models": models}
        self._storage.put_best_effort(CACHE_KEY, msgspec.json.encode(content))


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


def _packed(manifest: dict[str, Any], positions: dict[bytes, int], shared: list[Any]) -> dict[str, Any]:
    for name in _SHARED:
        text = msgspec.json.encode(manifest[name], order="sorted")
        if text not in positions:
            positions[text] = len(shared)
            shared.append(manifest[name])
        manifest[name] = positions[text]
    return manifest


def _unpacked(manifest: dict[str, Any], status: str, key_ids: list[str], shared: list[Any]) -> ModelMetadata:
    for name in _SHARED:
        manifest[name] = shared[manifest[name]]
    return ModelMetadata.from_manifest(manifest, ModelStatus(status), key_ids)
