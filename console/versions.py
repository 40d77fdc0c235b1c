"""The registry's versions for lists: what a manifest says is read once, since a registered version never changes."""

import copy
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.acting import open_registry_as
from console.processes import WorkerFailed, run_worker

if TYPE_CHECKING:
    from model_store import ModelMetadata, ModelRegistry

_FRESH_SECONDS = 2.0
_DAMAGE_SECONDS = 30.0
_MANY = 500
"""So many versions of which nothing is known yet are read in a process of its own."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Of a manifest, what lists show and search."""

    model_type: str
    description: str
    author: str
    tags: tuple[str, ...]
    metrics: Mapping[str, float]
    size_bytes: int

    @classmethod
    def of(cls, model: "ModelMetadata") -> "Facts":
        """The facts of a version."""
        return cls(
            model.model_type,
            model.description,
            model.author,
            model.tags,
            dict(model.performance_metrics),
            model.size_bytes,
        )

    def to_list(self) -> list[Any]:
        """The fields in order."""
        return [self.model_type, self.description, self.author, list(self.tags), dict(self.metrics), self.size_bytes]


@dataclass(frozen=True, slots=True)
class Version:
    """A version as lists show it."""

    model_id: str
    model_name: str
    version: int
    status: str
    created_at: str
    serving: Mapping[str, str]
    facts: Facts

    def to_dict(self) -> dict[str, Any]:
        """The version as plain JSON values; each metric is a field."""
        facts = self.facts
        return {
            "model_id": self.model_id,
            "model_name": self.model_name,
            "version": self.version,
            "model_type": facts.model_type,
            "status": self.status,
            "created_at": self.created_at,
            "author": facts.author,
            "serving": dict(self.serving),
            "tags": list(facts.tags),
            "description": facts.description,
            "metrics": dict(facts.metrics),
            "size_bytes": facts.size_bytes,
        }


class Versions:
    """Reads the registry of a checkout; every method may be called from any thread.

    Args:
        checkout: the project's root.
    """

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout
        self._lock = threading.Lock()
        self._registry: ModelRegistry | None = None
        self._facts: dict[str, Facts] = {}
        self._known: tuple[Version, ...] = ()
        self._damaged: Mapping[str, str] = {}
        self._read_at = self._damaged_at = float("-inf")

    @property
    def registry(self) -> "ModelRegistry":
        """The registry, for reading alone."""
        if self._registry is None:
            self._registry = open_registry_as(self._checkout, "")
        return self._registry

    def all(self) -> tuple[Version, ...]:
        """Every version, oldest first; read two seconds ago at most.

        Raises:
            ModelStoreError: the registry cannot be read.
        """
        with self._lock:
            if time.monotonic() - self._read_at > _FRESH_SECONDS:
                self._read()
            return self._known

    def damaged(self) -> Mapping[str, str]:
        """The versions that a list finds damaged, each with the reason; read half a minute ago at most."""
        with self._lock:
            if time.monotonic() - self._damaged_at > _DAMAGE_SECONDS:
                self._damaged = self.registry.listed_damage()
                self._damaged_at = time.monotonic()
            return self._damaged

    def forget(self) -> None:
        """Reads again at the next question: something was changed."""
        with self._lock:
            self._read_at = float("-inf")

    def find(self, model_id: str) -> Version | None:
        """A version by its id."""
        return next((each for each in self.all() if each.model_id == model_id), None)

    def _read(self) -> None:
        models = self.registry.list_models()
        if len(models) - len(self._facts) > _MANY:
            self._read_many()
        self._known = tuple(self._version(each) for each in models)
        if len(self._facts) > len(models):
            present = {each.model_id for each in models}
            self._facts = {name: facts for name, facts in self._facts.items() if name in present}
        self._read_at = time.monotonic()

    def _version(self, model: "ModelMetadata") -> Version:
        facts = self._facts.get(model.model_id)
        if facts is None:
            # A copy: the registry's own stays as small as its index has it.
            facts = self._facts[model.model_id] = Facts.of(copy.copy(model))
        return Version(
            model.model_id,
            model.model_name,
            model.version,
            str(model.status),
            model.created_at,
            dict(model.serving),
            facts,
        )

    def _read_many(self) -> None:
        """Reads the facts of every version in a process of its own: a manifest is fifty times what is kept of it."""
        try:
            found = run_worker(self._checkout, "facts", "", {})
        except WorkerFailed:
            return  # each is read here then, which tells what is wrong
        for model_id, (model_type, description, author, tags, metrics, size) in found.items():
            self._facts[model_id] = Facts(model_type, description, author, tuple(tags), metrics, size)
