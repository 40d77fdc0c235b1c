"""Copies the files of one registry to another, past damage: what is damaged is never copied, and named."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from conventions.artifact_files import ARTIFACT_FILE, GOLDEN_FILE, MANIFEST_FILE, RUNTIME_FILE, STATE_FILE
from conventions.exit_codes import CONFLICT, DONE, NOT_INTACT
from model_store.errors import ModelStoreError
from model_store.registry.audit import HINT_FILE
from model_store.registry.condition import Condition
from model_store.registry.layout import file_sha256
from model_store.registry.progress import Step, no_step
from model_store.storage.base import Storage

_WITH_SLOTS = (ARTIFACT_FILE, RUNTIME_FILE, GOLDEN_FILE)
"""Their key slots change when keys rotate; the digest, which both conditions have compared, does not."""


@dataclass
class Copied:
    """What a copy has done."""

    copied: int = 0
    present: int = 0
    brought_back: list[str] = field(default_factory=list)
    """Files that the target did not have."""
    repaired: list[str] = field(default_factory=list)
    """Files of the target that were damaged."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Files of the source that were not copied, each with the reason; what the target has of them stays."""
    conflicts: list[str] = field(default_factory=list)
    """Files that both have, intact and different; the target keeps its own."""

    @property
    def exit_code(self) -> int:
        """0 when everything could be copied."""
        return NOT_INTACT if self.damaged else CONFLICT if self.conflicts else DONE

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, without the names of all files that were copied."""
        return {name: value for name, value in self.__dict__.items() if name != "brought_back"}


def copy_registry(source: Storage, target: Storage, *, latest: bool, step: Step = no_step) -> Copied:
    """Copies versions, aliases, version numbers and, where the target has no log of its own, the audit log.

    Args:
        source: copied from.
        target: copied to.
        latest: whether states and aliases of the source replace intact ones of the target, as in a backup.
        step: told of progress.

    Raises:
        StorageFailed: one of the two cannot be read or written.
    """
    copied = Copied()
    # Two logs cannot be joined: a registry that has begun one keeps its own.
    tops = ("models", "aliases") if target.keys("audit") and not latest else ("models", "aliases", "audit")
    keys = [key for top in tops for key in source.keys(top) if key != HINT_FILE]
    pair = _Pair(source, target, copied, latest=latest)
    # A manifest makes a model version: it comes after the files it speaks of.
    for number, key in enumerate(sorted(keys, key=lambda key: key.endswith(MANIFEST_FILE))):
        step(number, len(keys), key)
        pair.copy(key)
    for key in _claims(source):
        # Numbers are never given twice, those of deleted versions neither.
        if not target.exists(key):
            target.put_if_absent(key, source.read(key))
    return copied


def copy_log(source: Storage, target: Storage) -> int:
    """Copies the audit log where the target has none, so that the target's own first record follows on it.

    Returns:
        How many records were copied.

    Raises:
        StorageFailed: one of the two cannot be read or written.
    """
    copied = Copied()
    pair = _Pair(source, target, copied, latest=False)
    for key in [] if target.keys("audit") else source.keys("audit"):
        if key != HINT_FILE:
            pair.copy(key)
    return copied.copied


def repair_version(source: Storage, target: Storage, directory: str) -> Copied:
    """Brings back what is damaged or missing of one model version; what is intact stays.

    Args:
        source: a backup, or another registry.
        target: the registry.
        directory: of the version, such as `models/fraud/fraud_XGBoost_20261009_140000`.

    Raises:
        StorageFailed: one of the two cannot be read or written.
    """
    copied = Copied()
    pair = _Pair(source, target, copied, latest=False)
    # Here the manifest is first: it tells which of the other files are intact.
    for key in sorted(source.keys(directory), key=lambda key: not key.endswith(MANIFEST_FILE)):
        pair.copy(key)
    return copied


def repair_aliases_of(source: Storage, target: Storage, model_name: str) -> Copied:
    """Brings back the aliases of a model where they are damaged; intact ones stay.

    Raises:
        StorageFailed: one of the two cannot be read or written.
    """
    copied = Copied()
    _Pair(source, target, copied, latest=False).copy(f"aliases/{model_name}.json")
    return copied


class _Pair:
    """A source and a target, and what was copied from one to the other."""

    def __init__(self, source: Storage, target: Storage, copied: Copied, *, latest: bool) -> None:
        self._source, self._target, self._copied, self._latest = source, target, copied, latest
        self._of_source, self._of_target = Condition(source), Condition(target)

    def copy(self, key: str) -> None:
        """Copies one file where it has to be."""
        if problem := self._of_source.problem_of(key):
            self._copied.damaged[key] = problem
            return
        if not self._target.exists(key):
            self._put(key)
            self._copied.copied += 1
            self._copied.brought_back.append(key)
            return
        if self._of_target.problem_of(key):
            self._put(key)
            self._copied.repaired.append(key)
            return
        path = self._source.path(key)
        if file_sha256(path) == file_sha256(self._target.path(key)):
            self._copied.present += 1
        elif key.startswith("aliases/") or PurePosixPath(key).name in (STATE_FILE, *_WITH_SLOTS):
            if self._latest:
                self._put(key)
                self._copied.copied += 1
            else:
                self._copied.present += 1
        else:
            self._copied.conflicts.append(key)

    def _put(self, key: str) -> None:
        self._target.replace_file(key, self._source.path(key))
        if key.endswith(f"/{MANIFEST_FILE}"):
            self._of_target.forget(str(PurePosixPath(key).parent))


def _claims(storage: Storage) -> Iterator[str]:
    """The keys of the version numbers that were given."""
    for name in storage.names("models"):
        try:
            yield from storage.keys(f"models/{name}/.versions")
        except ModelStoreError:
            continue
