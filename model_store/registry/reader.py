"""Reads and verifies registered versions; changes nothing and needs no key."""

from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from conventions.artifact_files import ARTIFACT_FILE, MANIFEST_FILE, STATE_FILE
from conventions.regular_files import parse_json
from model_store.artifact.reader import open_artifact
from model_store.errors import InvalidInput, ModelNotFound, UnreadableModel
from model_store.registry.files.layout import digest_of, version_prefix
from model_store.registry.files.manifest import (
    ModelMetadata,
    ModelStatus,
    is_model_name,
    parse_model_name,
    status_named,
)
from model_store.registry.files.own_files import OwnFiles, VersionFiles, read_own_files
from model_store.registry.files.schema import require_manifest, require_state
from model_store.registry.files.undecided import has_no_state_yet, state_before_decisions
from model_store.registry.index import Index
from model_store.registry.misplaced import misplaced
from model_store.registry.serving import latest_only, read_serving
from model_store.storage.base import Storage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class RegistryReader:
    """The versions in a storage.

    Args:
        storage: of the registry.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._index = Index(storage)

    def list_models(self, status: ModelStatus | str | None = None, name: str | None = None) -> list[ModelMetadata]:
        """All model versions, or those of a status or a name, oldest first; damaged ones are left out.

        The versions of a model are in the order of their numbers, also where a clock was set back. The list comes from
        the index: for people and statistics. What decides about versions asks `own_files`.

        Raises:
            InvalidInput: there is no such status.
        """
        wanted = status_named(status) if status is not None else None
        if name is not None and not is_model_name(name):
            return []
        found = latest_only(_in_order(self.stored_models(name)))
        return [item for item in found if wanted is None or item.status is wanted]

    def stored_models(self, name: str | None = None) -> list[ModelMetadata]:
        """As `list_models`, unordered, and each with what its own state says."""
        return self._index.models(name, self.get_metadata)

    def own_files(self, name: str | None = None) -> OwnFiles:
        """What the files of all model versions say, or of those of a name; reads each one, and never the index.

        The models are those of `list_models`, in its order.
        """
        found = read_own_files(self, name) if name is None or is_model_name(name) else OwnFiles()
        found.models = latest_only(_in_order(found.models))
        return found

    def damaged_models(self, name: str | None = None) -> dict[str, str]:
        """The model versions whose manifest or state cannot be read, each with the reason; all or those of a name.

        Also names a manifest that is not the one of its state, and what lies in the place of a directory of versions
        and is none. Reads every manifest and state.
        """
        if name is not None and not is_model_name(name):
            return {}
        return dict(sorted({**self.own_files(name).damaged, **misplaced(self.storage, name)}.items()))

    def listed_damage(self, name: str | None = None) -> dict[str, str]:
        """As `damaged_models`, as far as a list sees it: reads only what the index does not know as intact."""
        if name is not None and not is_model_name(name):
            return {}
        self._index.models(name, self.get_metadata)
        return dict(sorted({**self._index.damaged, **misplaced(self.storage, name)}.items()))

    def get_metadata(self, model_id: str) -> ModelMetadata:
        """Metadata of a model version.

        Raises:
            ModelNotFound: no model version has this id.
            UnreadableModel: its manifest or state is damaged.
        """
        return self.get_version(model_id).metadata

    def get_version(self, model_id: str) -> VersionFiles:
        """Metadata and state of a model version; the digest of its manifest is not compared.

        Raises:
            ModelNotFound: no model version has this id.
            UnreadableModel: its manifest or state is damaged.
        """
        content = self._content(model_id, MANIFEST_FILE)
        digest = digest_of(content)
        try:
            state = self.state(model_id)
            # What was registered was checked then: it is read in a fifth of the time.
            is_registered = state.get("manifest") == digest
            manifest = msgspec.json.decode(content) if is_registered else _parsed(model_id, MANIFEST_FILE, content)
            require_manifest(manifest)
            serving = {environment: entry["since"] for environment, entry in read_serving(state).items()}
            ran = sorted({entry["environment"] for entry in state["deployments"]})
            status = status_named(state["status"])
            metadata = ModelMetadata.from_manifest(manifest, status, state.get("key_ids", ()), serving, ran)
        except ModelNotFound:
            raise UnreadableModel(f"{model_id}: its {STATE_FILE} is missing") from None
        except (UnreadableModel, InvalidInput, msgspec.DecodeError, RecursionError) as error:
            raise UnreadableModel(f"{model_id}: {str(error).removeprefix(f'{model_id}: ')}") from None
        if metadata.model_id != model_id or metadata.model_name != parse_model_name(model_id):
            raise UnreadableModel(f"{model_id}: the manifest is of {metadata.model_id!r} ({metadata.model_name!r})")
        return VersionFiles(metadata, state, digest)

    def find_by_source(self, sha256: str) -> list[ModelMetadata]:
        """The model versions that were registered from a file with this SHA-256, oldest first."""
        found = [item for item in self.list_models() if item.source is not None and item.source.sha256 == sha256]
        # The index proposes, and the versions' own files decide.
        own = [self.get_metadata(item.model_id) for item in found]
        return [item for item in own if item.source is not None and item.source.sha256 == sha256]

    def artifact_path(self, model_id: str) -> Path:
        """Local path of the artifact."""
        return self.storage.path(f"{version_prefix(model_id)}/{ARTIFACT_FILE}")

    def manifest_path(self, model_id: str) -> Path:
        """Local path of the manifest."""
        return self.storage.path(f"{version_prefix(model_id)}/{MANIFEST_FILE}")

    def state(self, model_id: str) -> dict[str, Any]:
        """A model version's state: `status`, `history`, `deployments`.

        In S3 a version that a publisher registered has none until a promoter decides about it; it is `trained`.

        Raises:
            ModelNotFound: no model version has this id.
            UnreadableModel: the state is missing or damaged.
        """
        try:
            return require_state(self.read_json(model_id, STATE_FILE))
        except UnreadableModel as error:
            if has_no_state_yet(self.storage, model_id):
                manifest = require_manifest(self.read_json(model_id, MANIFEST_FILE))
                return state_before_decisions(self.storage, model_id, manifest)
            raise UnreadableModel(f"{model_id}: {str(error).removeprefix(f'{model_id}: ')}") from None

    def read_json(self, model_id: str, file: str) -> dict[str, Any]:
        """One of a model version's JSON files.

        Raises:
            ModelNotFound: there is no such model version.
            UnreadableModel: the file is missing, or is not a JSON object.
        """
        return _parsed(model_id, file, self._content(model_id, file))

    def _content(self, model_id: str, file: str) -> bytes:
        prefix = version_prefix(model_id)
        try:
            return self.storage.read(f"{prefix}/{file}")
        except UnreadableModel as error:
            raise UnreadableModel(f"{model_id}: {error}") from None
        except ModelNotFound:
            if self.storage.exists(prefix):
                raise UnreadableModel(f"{model_id}: {file} is missing") from None
            raise ModelNotFound(f"no model version {model_id!r} exists in {self.storage.location}") from None

    def verify_artifact(self, model_id: str) -> str:
        """Compares a model version's files with its manifest and returns the artifact's digest; needs no key.

        Raises:
            ModelNotFound: no model version has this id.
            IntegrityError: a file is not the registered one; names the model version and the file.
        """
        from model_store.registry.files.verification import verify_artifact

        return verify_artifact(self.storage, self.get_metadata(model_id), self.state(model_id))

    def verify_signature(self, model_id: str, public_keys: Sequence["Ed25519PublicKey"]) -> str:
        """Raises SignatureInvalid unless one of the keys signed a model version; returns the name of that key.

        Raises:
            ModelNotFound: no model version has this id.
            SignatureInvalid: none of the keys signed it.
        """
        from model_store.registry.signatures import verify_signature

        return verify_signature(self.storage, self.get_metadata(model_id), public_keys)

    def key_ids(self, model_id: str) -> tuple[str, ...]:
        """The keys that open a model version's artifact: fingerprints and ARNs, sorted; none when not encrypted.

        Raises:
            ModelNotFound: no model version has this id.
        """
        with open_artifact(self.artifact_path(model_id)) as artifact:
            return tuple(sorted(slot.key_id for slot in artifact.header.slots))


def _parsed(model_id: str, file: str, content: bytes) -> dict[str, Any]:
    try:
        value = parse_json(content)
    except ValueError:
        raise UnreadableModel(f"{model_id}: {file} is not JSON") from None
    if not isinstance(value, dict):
        raise UnreadableModel(f"{model_id}: {file} is not a JSON object")
    return value


def _in_order(versions: list[ModelMetadata]) -> list[ModelMetadata]:
    """Versions by time; those of one model by number: a clock that was set back does not make a version older."""
    by_number = sorted(versions, key=attrgetter("model_name", "version", "created_at"))
    if not by_number or by_number[0].model_name == by_number[-1].model_name:
        return by_number
    name, latest = "", ""
    by_time = []
    for at, item in enumerate(by_number):
        model_name, created_at = item.model_name, item.created_at
        latest = created_at if model_name != name or created_at > latest else latest
        name = model_name
        by_time.append((latest, model_name, at))
    by_time.sort()
    return [by_number[at] for _, _, at in by_time]
