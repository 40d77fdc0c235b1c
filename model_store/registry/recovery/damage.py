"""Finds what is damaged in a registry, file by file; needs no key."""

from conventions.artifact_files import ARTIFACT_FILE, MANIFEST_FILE, SIGNATURE_FILE, STATE_FILE
from model_store.errors import ChecksumMismatch, ContextMismatch, ModelStoreError, SignatureInvalid, UnreadableModel
from model_store.registry.files.evidence import evidence_damage
from model_store.registry.files.manifest import ModelMetadata, ModelStatus
from model_store.registry.files.schema import require_manifest
from model_store.registry.files.unfinished import is_unfinished
from model_store.registry.files.verification import expected_files, require_bound, require_file, require_manifest_of
from model_store.registry.reader import RegistryReader
from model_store.registry.signatures import require_own_signature
from model_store.storage.base import Storage


def version_ids(storage: Storage) -> list[str]:
    """Every model id that has files in a storage, damaged or not, without those that are unfinished."""
    return [model_id for model_id in _all_ids(storage) if not is_unfinished(storage, model_id)]


def unfinished_ids(storage: Storage) -> list[str]:
    """The model ids whose files an ended registration or removal left."""
    return [model_id for model_id in _all_ids(storage) if is_unfinished(storage, model_id)]


def _all_ids(storage: Storage) -> list[str]:
    return [model_id for name in storage.names("models") for model_id in storage.names(f"models/{name}")]


def read_manifest(storage: Storage, model_id: str) -> ModelMetadata:
    """A version's manifest, whatever the state of its other files; the status is not read.

    Raises:
        ModelNotFound: no model version has this id.
        UnreadableModel: the manifest is damaged.
    """
    manifest = require_manifest(RegistryReader(storage).read_json(model_id, MANIFEST_FILE))
    if manifest["model_id"] != model_id or not model_id.startswith(f"{manifest['model_name']}_"):
        raise UnreadableModel(f"{model_id}: the manifest is of {manifest['model_id']!r}")
    return ModelMetadata.from_manifest(manifest, ModelStatus.TRAINED)


def file_damage(storage: Storage, model_id: str) -> dict[str, str]:
    """The files of a version that are missing or damaged, each with the reason; empty when all are intact.

    Without a readable manifest nothing can be said of the files that it describes: only manifest and state are named.

    Raises:
        ModelNotFound: it is not a model id, or nothing is there.
        StorageFailed: the storage cannot be read.
    """
    reader = RegistryReader(storage)
    found: dict[str, str] = {}
    state = {}
    try:
        state = reader.state(model_id)
    except UnreadableModel as error:
        found[STATE_FILE] = str(error)
    try:
        metadata = read_manifest(storage, model_id)
        # Another manifest than the registered one says nothing of the other files.
        require_manifest_of(storage, model_id, state)
    except (UnreadableModel, ChecksumMismatch) as error:
        return {MANIFEST_FILE: str(error), **found}
    for name, (digest, payload_bytes) in expected_files(metadata, state).items():
        try:
            require_file(storage, model_id, name, digest, payload_bytes)
            if name == ARTIFACT_FILE:
                require_bound(storage, metadata)
        except ContextMismatch as error:
            # The artifact is the registered one, so it is the manifest that speaks of another contract.
            found[MANIFEST_FILE] = str(error)
        except ModelStoreError as error:
            found[name] = str(error)
    if reason := _signature_damage(storage, metadata):
        found[SIGNATURE_FILE] = reason
    found.update(evidence_damage(storage, model_id, state))
    return found


def _signature_damage(storage: Storage, metadata: ModelMetadata) -> str:
    try:
        require_own_signature(storage, metadata)
    except (UnreadableModel, SignatureInvalid) as error:
        return str(error)
    return ""
