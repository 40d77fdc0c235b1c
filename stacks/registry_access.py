"""The registry of a checkout, with its key."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_store import ModelRegistry


def open_registry(checkout: Path) -> "ModelRegistry":
    """Opens the registry that `MODEL_REGISTRY_URL` names, or the checkout's own in `registry/`.

    The key is the one that `MODEL_KEY_FILE` or `MODEL_KEY` gives, or the checkout's own, made on first use.
    """
    from model_store import Keyring, ModelRegistry
    from model_store.keys import ensure_key_file

    keys = Keyring.from_environment()
    if not keys.providers:
        keys = Keyring.from_files(ensure_key_file(checkout / ".secrets" / "model.key"))
    return ModelRegistry(os.environ.get("MODEL_REGISTRY_URL") or checkout / "registry", keys=keys)
