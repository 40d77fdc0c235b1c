"""Rotates the keys of artifacts; a version that cannot be rotated is named, and keeps none of the others back."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from model_store.artifact.reader import open_artifact
from model_store.artifact.rotation import rotate_artifact
from model_store.errors import IntegrityError, KeyNotFound, KeyUnwrap, ModelNotFound, ModelStoreError, UnreadableModel
from model_store.keys.slot import KeyProvider
from model_store.registry.files.layout import version_prefix
from model_store.registry.files.manifest import ModelMetadata
from model_store.registry.files.progress import Step, no_step
from model_store.registry.files.verification import expected_files
from model_store.registry.registry import ModelRegistry


def rotate_keys(
    registry: ModelRegistry, model_ids: Sequence[str], new_keys: Sequence[KeyProvider], step: Step = no_step
) -> list[str]:
    """Rotates the keys of model versions' artifacts; digests do not change.

    Args:
        registry: its keys open the artifacts.
        model_ids: versions to rotate, all when empty; versions that are not encrypted are skipped.
        new_keys: each gets a slot.
        step: gets the progress.

    Returns:
        The model versions whose keys were rotated.

    Raises:
        AccessDenied: the actor's role does not allow it.
        ModelNotFound, IntegrityError, KeyNotFound, KeyUnwrap: names each version that keeps its keys; all others are
            rotated.
        StorageFailed: those before it are rotated.
    """
    registry.require_right("rotate-key", ", ".join(model_ids))
    failed: dict[str, ModelStoreError] = {}
    if model_ids:
        models = [registry.get_metadata(each) for each in model_ids]
    else:
        own = registry.own_files()
        models = own.models
        failed = {each: UnreadableModel(f"{why}; it keeps its keys") for each, why in own.damaged.items()}
    names = sorted(key.key_id for key in new_keys)
    rotated = []
    for number, model in enumerate(models):
        step(number, len(models), model.model_id)
        if not model.encrypted:
            continue
        try:
            if _rotate_version(registry, model, names, new_keys):
                rotated.append(model.model_id)
        except (IntegrityError, ModelNotFound, KeyNotFound, KeyUnwrap) as error:
            named = model.model_id in str(error)
            failed[model.model_id] = error if named else type(error)(f"{model.model_id}: {error}")
    _require_all(failed, len(rotated))
    return rotated


def _require_all(failed: Mapping[str, ModelStoreError], rotated: int) -> None:
    """Raises the first failure, with the ids of the others."""
    for error in failed.values():
        others = list(failed)[1:]
        more = f"; {len(others)} more keep their keys, too: {', '.join(others)}" if others else ""
        raise type(error)(f"{error}{more}; {rotated} rotated. Keep the keys of before until every version is rotated")


def _rotate_version(
    registry: ModelRegistry, model: ModelMetadata, names: list[str], new_keys: Sequence[KeyProvider]
) -> bool:
    """Rotates the files of a version that do not have exactly the new slots yet; false when all of them have."""
    prefix = version_prefix(model.model_id)
    state = registry.state(model.model_id)
    keys = [f"{prefix}/{name}" for name in expected_files(model, state)]
    left = [key for key in keys if _slots(registry.storage.path(key)) != names]
    if left:
        registry.audit.append("rotate-key", model.model_id, keys=names)
    for key in left:
        path = registry.storage.path(key)
        try:
            rotate_artifact(path, registry.keys, new_keys)
        except KeyNotFound as error:
            raise KeyNotFound(
                f"{model.model_id}: still encrypted for {', '.join(_slots(path))} only; give that key as now "
                f"(MODEL_KEY_FILE=OLD_KEY_FILE) and the new one as --new-key, and run the same command again; versions "
                f"that have the new key already are skipped ({error})"
            ) from None
        registry.storage.replace_file(key, path)
    if left or state.get("key_ids", names) != names:
        registry.change_state(model.model_id, lambda present: present.update(key_ids=names))
    return bool(left)


def _slots(path: Path) -> list[str]:
    with open_artifact(path) as artifact:
        return sorted(slot.key_id for slot in artifact.header.slots)
