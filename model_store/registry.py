"""ModelRegistry: versioned models in a directory; what is registered never changes.

    registry = ModelRegistry("registry")
    model_id = registry.register_model(model=model, model_name="fraud_detector", performance_metrics={"accuracy": 0.96})
    registry.update_model_status(model_id, "validated", reason="passed the review")
    model = registry.load_model(model_id)

Layout: `models/<name>/<model id>/` holds `manifest.json` and `artifact`, both written once, and `state.json`, which is
changed by compare-and-swap only.
"""

import getpass
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from model_store.artifact_reader import measure_digest, open_artifact
from model_store.compression import CompressionType
from model_store.errors import (
    ChecksumMismatch,
    InvalidInput,
    ModelNotFound,
    ModelStoreError,
    TrailingData,
    Truncated,
    UnreadableModel,
)
from model_store.keys import Keyring
from model_store.lineage import describe_source, feature_schema_of, git_commit, model_type_of
from model_store.manifest import (
    ModelMetadata,
    ModelStatus,
    name_of,
    new_model_id,
    require_metrics,
    require_names,
)
from model_store.persistence import SecureModelPersistence
from model_store.serializers import SerializationFormat
from model_store.storage import DirectoryStorage

LOCATION_VARIABLE = "MODEL_REGISTRY_URL"
_DEFAULT_LOCATION = "registry"


class ModelRegistry:
    """Registered model versions.

    Args:
        location: a directory or a `file://` URL; when not given, what `MODEL_REGISTRY_URL` says, else `registry`.
        keys: encrypt and decrypt artifacts; when not given, those of `MODEL_KEY_FILE` and `MODEL_KEY`.
        actor: who acts; when not given, the user's name.
        encrypt: whether artifacts are encrypted. The default is the safe one.

    Raises:
        InvalidInput: a location of another kind.
    """

    def __init__(
        self,
        location: str | Path | None = None,
        *,
        keys: Keyring | None = None,
        actor: str | None = None,
        encrypt: bool = True,
    ) -> None:
        self._storage = DirectoryStorage(_directory(location))
        self._given_keys = keys
        self._actor = actor or _user()
        self._encrypt = encrypt

    def register_model(
        self,
        model: Any,
        model_name: str,
        description: str = "",
        tags: Iterable[str] = (),
        author: str | None = None,
        performance_metrics: Mapping[str, float] | None = None,
        *,
        model_type: str | None = None,
        source: Path | None = None,
        feature_schema: Sequence[Mapping[str, Any]] | None = None,
        compression: CompressionType | str = CompressionType.ZSTD,
        format_type: SerializationFormat | str = SerializationFormat.JOBLIB,
    ) -> str:
        """Registers a model as a new version, whole or not at all.

        Args:
            model: any trained estimator.
            model_name: a letter, then letters, digits, `_` and `-`.
            description: for people.
            tags: short texts without commas.
            author: who made the model; the actor when not given.
            performance_metrics: finite numbers by name.
            model_type: such as `XGBoost`; told from the estimator when not given.
            source: the file that the model came from; its name and SHA-256 are recorded.
            feature_schema: one object a feature, in the model's order; told from the estimator when not given.
            compression: of the artifact.
            format_type: of the artifact.

        Returns:
            The model id, `<name>_<type>_<YYYYmmdd_HHMMSS>`; two in one second get different ones.

        Raises:
            InvalidInput: a name, tag, metric or the model is not what it may be.
            KeyNotFound: artifacts are encrypted and there is no key.
            StorageFailed: the registry cannot be written.
        """
        model_type = model_type or model_type_of(model)
        tags = tuple(tags)
        require_names(model_name, model_type, tags)
        metrics = require_metrics(performance_metrics or {})
        persistence = SecureModelPersistence(
            keys=self._keys(), default_compression=compression, default_format=format_type
        )
        known = {
            "model_name": model_name,
            "model_type": model_type,
            "description": description,
            "tags": list(tags),
            "author": author or self._actor,
            "performance_metrics": metrics,
            "feature_schema": [dict(item) for item in feature_schema or feature_schema_of(model)],
            "source": describe_source(source) if source else None,
            "git_commit": git_commit(),
        }
        moment = datetime.now(UTC).replace(microsecond=0)
        while True:
            model_id = new_model_id(model_name, model_type, moment)
            if self._try_to_register(model, model_id, moment, persistence, known):
                return model_id
            moment += timedelta(seconds=1)

    def list_models(self, status: ModelStatus | str | None = None, name: str | None = None) -> list[ModelMetadata]:
        """All model versions, or those of a status or a name, oldest first.

        Raises:
            InvalidInput: there is no such status.
        """
        wanted = _status(status) if status is not None else None
        names = [name] if name is not None else self._storage.names("models")
        found = [self.get_metadata(model_id) for each in names for model_id in self._storage.names(f"models/{each}")]
        found.sort(key=lambda item: (item.created_at, item.model_id))
        return [item for item in found if wanted is None or item.status is wanted]

    def get_metadata(self, model_id: str) -> ModelMetadata:
        """What is known of a model version.

        Raises:
            ModelNotFound: there is none of this id.
            UnreadableModel: its manifest or state is damaged.
        """
        manifest = self._read_json(model_id, "manifest.json")
        state = self._read_json(model_id, "state.json")
        if manifest.get("model_id") != model_id:
            raise UnreadableModel(f"{model_id}: the manifest is of {manifest.get('model_id')!r}")
        return ModelMetadata.from_manifest(manifest, _status(state["status"]))

    def load_model(self, model_id: str, trusted: Collection[str] = ()) -> Any:
        """Loads a model version, after its artifact was authenticated against its manifest.

        Args:
            model_id: the model version.
            trusted: full names of globals to allow beside the allow-list.

        Raises:
            ModelNotFound: there is none of this id.
            IntegrityError, KeyNotFound, KeyUnwrap, UntrustedType: as for `SecureModelPersistence.load_model_secure`.
        """
        metadata = self.get_metadata(model_id)
        persistence = SecureModelPersistence(keys=self._keys())
        model, _ = persistence.load_model_secure(
            self.artifact_path(model_id),
            expected_digest=metadata.digest,
            expected_context=context_of(metadata),
            trusted=trusted,
        )
        return model

    def verify_artifact(self, model_id: str) -> str:
        """Measures a model version's artifact and compares it with its manifest; needs no key.

        Returns:
            The digest.

        Raises:
            ModelNotFound: there is none of this id.
            IntegrityError: the artifact is not the registered one; names the model version.
        """
        metadata = self.get_metadata(model_id)
        path = self.artifact_path(model_id)
        try:
            _require_size(path, metadata)
            measured = measure_digest(path)
        except ModelStoreError as error:
            raise type(error)(f"{model_id}: the artifact is not intact: {error}") from None
        if measured != metadata.digest:
            raise ChecksumMismatch(
                f"{model_id}: the artifact is not the registered one: its digest is {measured}, "
                f"its manifest says {metadata.digest}"
            )
        return measured

    def require_key(self, model_id: str) -> None:
        """Does nothing when a key at hand opens a model version's artifact, or when it is not encrypted.

        Raises:
            ModelNotFound: there is none of this id.
            KeyNotFound, KeyUnwrap, KeyCommitment, HeaderAuthentication: no key opens it; names those that would.
        """
        with open_artifact(self.artifact_path(model_id)) as artifact:
            artifact.require_key(self._keys())

    def update_model_status(self, model_id: str, status: ModelStatus | str, reason: str = "") -> ModelMetadata:
        """Sets a model version's status.

        Args:
            model_id: the model version.
            status: the new status; the present one may be given again.
            reason: kept with it.

        Raises:
            ModelNotFound: there is none of this id.
            InvalidInput: there is no such status.
            IllegalTransition: the present status does not lead there.
            VersionConflict: somebody else changed it at the same time.
            StorageFailed: the registry cannot be written.
        """
        metadata, target = self.get_metadata(model_id), _status(status)
        if metadata.status is target:
            return metadata
        metadata.status.require_transition(target)

        def change(state: dict[str, Any]) -> None:
            state["status"] = str(target)
            state["history"].append({"status": str(target), "at": _now(), "by": self._actor, "why": reason})

        self._change_state(model_id, change)
        return replace(metadata, status=target)

    def record_deployment(self, model_id: str, *, environment: str, deployment_id: str) -> None:
        """Notes that a model version was deployed, and sets its status to `deployed` where that may follow.

        Raises:
            ModelNotFound: there is none of this id.
            VersionConflict: somebody else changed it at the same time.
            StorageFailed: the registry cannot be written.
        """

        def change(state: dict[str, Any]) -> None:
            state["deployments"].append({"environment": environment, "deployment_id": deployment_id, "at": _now()})
            if ModelStatus.DEPLOYED in _status(state["status"]).leads_to:
                state["status"] = str(ModelStatus.DEPLOYED)
                entry = {"status": state["status"], "at": _now(), "by": self._actor, "why": deployment_id}
                state["history"].append(entry)

        self._change_state(model_id, change)

    def artifact_path(self, model_id: str) -> Path:
        """The artifact's file."""
        return self._storage.path(f"{_place(model_id)}/artifact")

    def manifest_path(self, model_id: str) -> Path:
        """The manifest's file."""
        return self._storage.path(f"{_place(model_id)}/manifest.json")

    def state(self, model_id: str) -> dict[str, Any]:
        """A model version's state: `status`, `history`, `deployments`.

        Raises:
            ModelNotFound: there is none of this id.
        """
        return self._read_json(model_id, "state.json")

    def find_by_source(self, sha256: str) -> list[ModelMetadata]:
        """The model versions that were registered from a file with this SHA-256, oldest first."""
        return [item for item in self.list_models() if item.source is not None and item.source.sha256 == sha256]

    def _keys(self) -> Keyring:
        if not self._encrypt:
            return Keyring()
        return self._given_keys if self._given_keys is not None else Keyring.from_environment()

    def _try_to_register(
        self,
        model: Any,
        model_id: str,
        moment: datetime,
        persistence: SecureModelPersistence,
        known: Mapping[str, Any],
    ) -> bool:
        place = _place(model_id)
        if self._storage.path(place).exists():
            return False
        with self._storage.staged(model_id) as staging:
            if staging is None:
                return False
            context = {"model_id": model_id, "model_name": known["model_name"]}
            saved = persistence.save_model_secure(model, staging / "artifact", encrypt=self._encrypt, context=context)
            manifest = {
                **known,
                "model_id": model_id,
                "created_at": _rfc3339(moment),
                "digest": saved["digest"],
                "size_bytes": saved["final_size"],
                "serializer": saved["format"],
                "compression": saved["compression"],
                "encrypted": saved["encrypted"],
                "key_fingerprints": saved["key_fingerprints"],
                "model_class": saved["model_class"],
                "library_versions": saved["library_versions"],
            }
            first = {"status": str(ModelStatus.TRAINED), "at": _rfc3339(moment), "by": self._actor, "why": "registered"}
            state = {"status": first["status"], "history": [first], "deployments": []}
            _write_json(staging / "manifest.json", manifest)
            _write_json(staging / "state.json", state)
            return self._storage.publish(staging, place)

    def _change_state(self, model_id: str, change: Any) -> None:
        key = f"{_place(model_id)}/state.json"
        before = self._storage.read(key)
        state = json.loads(before)
        change(state)
        self._storage.compare_and_swap(key, _json_bytes(state), before)

    def _read_json(self, model_id: str, file: str) -> dict[str, Any]:
        try:
            content = self._storage.read(f"{_place(model_id)}/{file}")
        except ModelNotFound:
            raise ModelNotFound(f"there is no model version {model_id!r} in {self._storage.location}") from None
        try:
            value: dict[str, Any] = json.loads(content)
        except ValueError:
            raise UnreadableModel(f"{model_id}: {file} is not JSON") from None
        return value


def context_of(metadata: ModelMetadata) -> dict[str, str]:
    """What a registered artifact is bound to."""
    return {"model_id": metadata.model_id, "model_name": metadata.model_name}


def _directory(location: str | Path | None) -> Path:
    text = str(location) if location is not None else os.environ.get(LOCATION_VARIABLE) or _DEFAULT_LOCATION
    if "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise InvalidInput(f"registry location {text!r} is not allowed; allowed: a directory or a file:// URL")
    return Path(unquote(parts.path))


def _place(model_id: str) -> str:
    try:
        return f"models/{name_of(model_id)}/{model_id}"
    except InvalidInput as error:
        raise ModelNotFound(str(error)) from None


def _status(value: ModelStatus | str) -> ModelStatus:
    try:
        return ModelStatus(value)
    except ValueError:
        raise InvalidInput(f"status {value!r} is not allowed; allowed: {', '.join(ModelStatus)}") from None


def _require_size(path: Path, metadata: ModelMetadata) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise Truncated("the file is missing") from None
    if size < metadata.size_bytes:
        raise Truncated(f"the file has {size} bytes, its manifest says {metadata.size_bytes}")
    if size > metadata.size_bytes:
        raise TrailingData(f"the file has {size} bytes, its manifest says {metadata.size_bytes}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def _write_json(path: Path, value: object) -> None:
    with path.open("xb") as file:
        file.write(_json_bytes(value))
        file.flush()
        os.fsync(file.fileno())


def _json_bytes(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _now() -> str:
    return _rfc3339(datetime.now(UTC))


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
