"""What a change of a version's state needs of its registry; `DecidingReader` implements it."""

from collections.abc import Callable
from typing import Any, Protocol

from model_store.registry.files.manifest import ModelMetadata
from model_store.registry.log.audit import AuditLog
from model_store.storage.base import Storage


class Stored(Protocol):
    """Versions that can be read."""

    storage: Storage

    def get_metadata(self, model_id: str) -> ModelMetadata:
        """Metadata of a model version."""

    def state(self, model_id: str) -> dict[str, Any]:
        """A model version's state."""


class Changing(Stored, Protocol):
    """Versions whose states somebody changes."""

    audit: AuditLog

    @property
    def actor(self) -> str:
        """Who changes them."""

    def stored_models(self, name: str | None = None) -> list[ModelMetadata]:
        """All model versions, unordered."""

    def require_right(self, action: str, subject: str, alias: str | None = None, **details: Any) -> None:
        """Raises AccessDenied, and records it, unless the actor may do something."""

    def change_state(self, model_id: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Changes a model version's state by compare-and-swap."""
