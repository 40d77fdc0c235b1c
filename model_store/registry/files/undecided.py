"""Versions in S3 that have no state yet: their publisher may not write one, and no promoter has decided about them."""

from collections.abc import Mapping
from typing import Any

from conventions.artifact_files import BROUGHT_BY, STATE_FILE
from conventions.regular_files import parse_json
from model_store.errors import ModelNotFound, UnreadableModel
from model_store.registry.files.layout import version_prefix
from model_store.registry.files.manifest import ModelStatus
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


def state_before_decisions(storage: Storage, model_id: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a version that nobody has decided about.

    Args:
        storage: of the registry; the claim of the version tells who brought it.
        model_id: which.
        manifest: of the version; it tells who registered it, and when.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    actor = str(manifest.get("lineage", {}).get("registered_by") or manifest.get("author", ""))
    status = str(ModelStatus.TRAINED)
    entry = {"status": status, "at": manifest["created_at"], "by": actor, "why": _UNDECIDED}
    return {"status": status, "history": [entry], "deployments": [], **_claimed(storage, model_id)}


def _claimed(storage: Storage, model_id: str) -> dict[str, Any]:
    """Who brought a version, as its claim says; claims of earlier programs say nothing."""
    from model_store.storage.s3 import version_claim

    try:
        claim = parse_json(storage.read(version_claim(version_prefix(model_id))))
        brought = claim[BROUGHT_BY]
    except (ModelNotFound, UnreadableModel, ValueError, KeyError, TypeError):
        return {}
    return {BROUGHT_BY: [str(each) for each in brought]} if isinstance(brought, list) else {}
