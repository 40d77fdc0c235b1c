"""The registry of a checkout, with its key."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_store import ModelRegistry


def open_registry(checkout: Path) -> "ModelRegistry":
    """Opens the registry of a checkout with its key: what `ModelRegistry()` opens, of a checkout that is named."""
    from model_store import ModelRegistry
    from model_store.keys.defaults import default_keys, registry_location

    return ModelRegistry(registry_location(checkout), keys=lambda: default_keys(checkout))
