"""A key, and versions of what only a registry takes."""

from typing import Any

from model_store import ModelRegistry
from model_store.keys.keyring import generate_key
from model_store.registry.maintenance import verify_everything

KEY = generate_key()


def register(registry: ModelRegistry, value: Any = 1, name: str = "m", **arguments: Any) -> str:
    """Registers a plain value in a model's place."""
    return registry.register_model(model=value, model_name=name, model_type="T", registry_only=True, **arguments)


def intact(registry: ModelRegistry) -> bool:
    """Whether everything in the registry is what was registered."""
    return all(finding.intact for finding in verify_everything(registry))
