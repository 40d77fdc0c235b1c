"""The registry of a checkout, with its key."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_store import ModelRegistry


def open_registry(checkout: Path) -> "ModelRegistry":
    """Opens the registry that `MODEL_REGISTRY_URL` names, or the checkout's own in `registry/`."""
    from model_store import ModelRegistry

    return ModelRegistry(os.environ.get("MODEL_REGISTRY_URL") or checkout / "registry")
