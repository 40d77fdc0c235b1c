"""Versions in S3 that have no state yet: their publisher may not write one, and no promoter has decided about them."""

from collections.abc import Mapping
from typing import Any

from conventions.artifact_files import STATE_FILE
from model_store.registry.layout import version_prefix
from model_store.registry.manifest import ModelStatus
from model_store.storage.base import Storage

_UNDECIDED = "no promoter has decided about it yet"


def has_no_state_yet(storage: Storage, model_id: str) -> bool:
    """Whether a version was published without a state; a state that was removed is damage.

    Args:
        storage: of the registry.
        model_id: which.

    Raises:
        ModelNotFound: it is not a model id.
        StorageFailed: the storage cannot be read.
    """
    if not storage.location.startswith("s3://"):
        return False
    from model_store.storage.s3 import version_claim

    prefix = version_prefix(model_id)
    return storage.exists(version_claim(prefix)) and not storage.exists(f"{prefix}/{STATE_FILE}")


def state_before_decisions(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a version that nobody has decided about.

    Args:
        manifest: of the version; it tells who registered it, and when.
    """
    actor = str(manifest.get("lineage", {}).get("registered_by") or manifest.get("author", ""))
    status = str(ModelStatus.TRAINED)
    entry = {"status": status, "at": manifest["created_at"], "by": actor, "why": _UNDECIDED}
    return {"status": status, "history": [entry], "deployments": []}
