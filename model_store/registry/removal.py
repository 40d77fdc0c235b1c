"""Removes a version: nobody begins to use it meanwhile.

First the state says that the version is being removed, so that a deployment or an alias of the same moment is refused,
or the removal is; then the files go. A removal that was ended leaves the state so; the same command again finishes it.
The claim of its number stays, so that no later version gets its number or its id, see `taken`.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from conventions.artifact_files import MANIFEST_FILE
from model_store.errors import InUse, ModelStoreError
from model_store.registry.aliases import Aliases
from model_store.registry.files.layout import version_prefix
from model_store.registry.files.manifest import ModelMetadata
from model_store.registry.files.unfinished import begin_removal, end_removal
from model_store.registry.log.outcomes import recorded_failure
from model_store.registry.log.reserve import record_removal, with_room
from model_store.registry.registry import ModelRegistry
from model_store.registry.serving import read_serving


def remove_version(registry: ModelRegistry, metadata: ModelMetadata, reason: str) -> None:
    """Removes a version for good; its caller has asked for the right, and for reasons to keep it.

    Args:
        registry: the registry.
        metadata: of the version.
        reason: recorded.

    Raises:
        InUse: somebody deployed it or gave it an alias meanwhile.
        ModelNotFound: somebody else removed it meanwhile.
        VersionConflict: somebody else changed its state at the same moment.
        StorageFailed: it cannot be removed.
    """
    storage, model_id = registry.storage, metadata.model_id
    _require_no_alias(registry, metadata)  # also raises where nobody can read the aliases
    record_removal(registry.audit, storage, "delete", model_id, reason)
    # A removal that the disk does not confirm is done all the same.
    manifest = f"{version_prefix(model_id)}/{MANIFEST_FILE}"
    with recorded_failure(registry.audit, "delete", model_id, is_done=lambda: not storage.exists(manifest)):
        with_room(storage, lambda: registry.change_state(model_id, _begin(registry.actor, model_id), removing=True))
        try:
            _require_no_alias(registry, metadata)
            storage.remove(version_prefix(model_id))
        except BaseException:
            with suppress(ModelStoreError):
                registry.change_state(model_id, end_removal, removing=True)
            raise


def _begin(actor: str, model_id: str) -> Callable[[dict[str, Any]], None]:
    def begin(state: dict[str, Any]) -> None:
        if serving := read_serving(state):
            raise InUse(f"{model_id} is deployed in {', '.join(sorted(serving))}; it cannot be deleted")
        begin_removal(state, actor)

    return begin


def _require_no_alias(registry: ModelRegistry, metadata: ModelMetadata) -> None:
    for alias, model_id in Aliases(registry).of(metadata.model_name).items():
        if model_id == metadata.model_id:
            raise InUse(f"{model_id} has the alias {metadata.model_name}@{alias}; it cannot be deleted")
