"""The condition of each file of a registry: what is wrong with it, told from the file and its version's manifest."""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from conventions.artifact_files import (
    ARTIFACT_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    RUNTIME_FILE,
    SIGNATURE_FILE,
    STATE_FILE,
)
from conventions.regular_files import parse_json
from model_store.errors import ChecksumMismatch, InvalidInput, ModelNotFound, ModelStoreError, UnreadableModel
from model_store.registry.audit import parse_record
from model_store.registry.layout import context_of
from model_store.registry.manifest import ModelMetadata, ModelStatus, name_of, status_named
from model_store.registry.schema import require_aliases, require_manifest, require_state
from model_store.registry.signing import require_envelope_of
from model_store.registry.verification import measure_file
from model_store.storage.base import Storage


class Condition:
    """Looks at the files of one registry; reads each manifest once.

    Args:
        storage: the registry's.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._manifests: dict[str, ModelMetadata | str] = {}

    def problem_of(self, key: str) -> str:
        """What is wrong with a file, in one line; empty when it is intact.

        Args:
            key: of an object below `models`, `aliases` or `audit`.

        Raises:
            StorageFailed: the storage cannot be read.
        """
        try:
            self._look_of(key)(key)
        except ModelNotFound:
            return "it is missing"
        except (ModelStoreError, ValueError) as error:
            return " ".join(str(error).split())[:300]
        return ""

    def metadata(self, directory: str) -> ModelMetadata:
        """The metadata in a version's directory.

        Raises:
            UnreadableModel: the manifest is missing or damaged.
        """
        if directory not in self._manifests:
            try:
                self._manifests[directory] = self._read_manifest(directory)
            except (ModelStoreError, ValueError) as error:
                self._manifests[directory] = str(error)
        found = self._manifests[directory]
        if isinstance(found, str):
            raise UnreadableModel(found)
        return found

    def forget(self, directory: str) -> None:
        """Reads the manifest in a version's directory again at the next look, since it was changed."""
        self._manifests.pop(directory, None)

    def _read_manifest(self, directory: str) -> ModelMetadata:
        content = _json_object(self._storage.read(f"{directory}/{MANIFEST_FILE}"))
        metadata = ModelMetadata.from_manifest(require_manifest(content), ModelStatus.TRAINED)
        expected = PurePosixPath(directory)
        if metadata.model_id != expected.name or metadata.model_name != expected.parent.name:
            raise UnreadableModel(f"the manifest is of {metadata.model_id!r}")
        try:
            name_of(metadata.model_id)
        except InvalidInput as error:
            raise UnreadableModel(str(error)) from None
        return metadata

    def _look_of(self, key: str) -> Callable[[str], Any]:
        top, file = key.split("/", 1)[0], PurePosixPath(key).name
        if top == "aliases":
            return lambda key: require_aliases(_json_object(self._storage.read(key)))
        if top == "audit":
            return lambda key: parse_record(key, self._storage.read(key))
        looks: dict[str, Callable[[str], Any]] = {
            MANIFEST_FILE: lambda key: self.metadata(str(PurePosixPath(key).parent)),
            STATE_FILE: self._look_at_state,
            SIGNATURE_FILE: self._look_at_signature,
            ARTIFACT_FILE: self._look_at_artifact,
            RUNTIME_FILE: self._look_at_artifact,
            GOLDEN_FILE: self._look_at_artifact,
        }
        return looks.get(file, self._storage.read)

    def _look_at_state(self, key: str) -> None:
        status_named(require_state(_json_object(self._storage.read(key)))["status"])

    def _look_at_signature(self, key: str) -> None:
        metadata = self.metadata(str(PurePosixPath(key).parent))
        require_envelope_of(self._storage.read(key), metadata.manifest())

    def _look_at_artifact(self, key: str) -> None:
        directory, file = str(PurePosixPath(key).parent), PurePosixPath(key).name
        metadata = self.metadata(directory)
        files: dict[str, tuple[str, int | None]] = {
            ARTIFACT_FILE: (metadata.digest, metadata.payload_bytes),
            **metadata.attachments,
        }
        expected = files.get(file)
        if expected is None and file == GOLDEN_FILE:
            # Golden rows that a proof added later: the state has their digest.
            state = require_state(_json_object(self._storage.read(f"{directory}/{STATE_FILE}")))
            expected = (state["golden"]["digest"], None) if "golden" in state else None
        if expected is None:
            raise UnreadableModel("the version has no such file")
        digest, payload_bytes = expected
        measured, context = measure_file(self._storage.path(key), payload_bytes)
        if measured != digest:
            raise ChecksumMismatch(f"its digest is {measured}, the registered one is {digest}")
        if file == ARTIFACT_FILE and metadata.contract is not None and context != context_of(metadata):
            raise ChecksumMismatch("it was made for another version, contract or feature schema")


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        value = parse_json(content)
    except ValueError:
        raise UnreadableModel("it is not JSON") from None
    if not isinstance(value, dict):
        raise UnreadableModel("it is not a JSON object")
    return value
