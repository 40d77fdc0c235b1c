"""A key, and versions of what only a registry takes."""

import json
from typing import Any

from model_store import ModelRegistry
from model_store.keys.keyring import generate_key
from model_store.registry.files.layout import digest_of
from model_store.registry.upkeep.maintenance import verify_everything

KEY = generate_key()


def register(registry: ModelRegistry, value: Any = 1, name: str = "m", **arguments: Any) -> str:
    """Registers a plain value in a model's place."""
    return registry.register_model(model=value, model_name=name, model_type="T", registry_only=True, **arguments)


def intact(registry: ModelRegistry) -> bool:
    """Whether everything in the registry is what was registered."""
    return all(finding.intact for finding in verify_everything(registry))


def rewrite_manifest(registry: ModelRegistry, model_id: str, **fields: Any) -> None:
    """Changes a version's manifest in a directory, as if it had been registered so: the state keeps its digest."""
    manifest = registry.manifest_path(model_id)
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **fields}))
    state = manifest.with_name("state.json")
    state.write_text(json.dumps({**json.loads(state.read_text()), "manifest": digest_of(manifest.read_bytes())}))
