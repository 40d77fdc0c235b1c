"""Finds what is damaged in a registry, file by file; needs no key."""

from conventions.artifact_files import ARTIFACT_FILE, MANIFEST_FILE, SIGNATURE_FILE, STATE_FILE
from model_store.errors import ChecksumMismatch, ContextMismatch, ModelNotFound, ModelStoreError, UnreadableModel
from model_store.registry.evidence import evidence_damage
from model_store.registry.layout import version_prefix
from model_store.registry.manifest import ModelMetadata, ModelStatus
from model_store.registry.reader import RegistryReader
from model_store.registry.schema import require_manifest
from model_store.registry.signing import require_envelope
from model_store.registry.verification import expected_files, require_bound, require_file
from model_store.storage.base import Storage


def version_ids(storage: Storage) -> list[str]:
    """Every model id that has files in a storage, damaged or not."""
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
    except UnreadableModel as error:
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
        require_envelope(storage.read(f"{version_prefix(metadata.model_id)}/{SIGNATURE_FILE}"), metadata.manifest())
    except ModelNotFound:
        return ""
    except (UnreadableModel, ChecksumMismatch) as error:
        return f"{metadata.model_id}: {error}"
    except ModelStoreError as error:
        return f"{metadata.model_id}: the {SIGNATURE_FILE} is not intact: {error}"
    return ""
