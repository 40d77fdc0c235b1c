"""ModelRegistry: versioned models in a directory; what is registered never changes.

    registry = ModelRegistry()
    model_id = registry.register_model(model=model, model_name="fraud_detector", performance_metrics={"accuracy": 0.96})
    registry.update_model_status(model_id, "validated", reason="passed the review")
    model, metadata = registry.load_model(model_id)

Layout: `models/<name>/<model id>/` holds `manifest.json` and `artifact`, both written once, `state.json`, which is
changed by compare-and-swap only, and `signature.json` when the version is signed. What is done to many versions at once
is in `maintenance`, what leaves or enters a registry in `bundles`, movable names in `aliases`.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions.artifact_files import ARTIFACT_FILE, GOLDEN_FILE, MANIFEST_FILE, SIGNATURE_FILE, STATE_FILE
from model_store.artifact.reader import open_artifact
from model_store.errors import (
    AccessDenied,
    ChecksumMismatch,
    ContextMismatch,
    ModelNotFound,
    ModelStoreError,
    SignatureInvalid,
    TrailingData,
    Truncated,
    UnreadableModel,
)
from model_store.keys.defaults import default_checkout, default_keys
from model_store.keys.keyring import Keyring
from model_store.persistence import SecureModelPersistence
from model_store.registry.access import AccessPolicy
from model_store.registry.audit import AuditLog
from model_store.registry.index import Index
from model_store.registry.layout import context_of, json_bytes, now, storage_at, user_name, version_prefix
from model_store.registry.manifest import (
    ModelMetadata,
    ModelStatus,
    is_model_name,
    require_metrics,
    require_names,
    status_named,
)
from model_store.registry.registration import Candidate, Registration, enter_status
from model_store.serialization.compression import CompressionType
from model_store.serialization.formats import SerializationFormat
from model_store.serialization.lineage import describe_source, lineage_of
from model_store.storage.base import Storage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from model_store.contract.preparing import Prepared


class ModelRegistry:
    """Registered model versions.

    Args:
        location: a directory, a `file://` URL or `s3://bucket/prefix`; when not given, what `MODEL_REGISTRY_URL`
            names, else `registry/` in the checkout.
        keys: encrypt and decrypt artifacts; when not given, those that `MODEL_KMS_KEY`, `MODEL_KEY_FILE` and
            `MODEL_KEY` name, else `.secrets/model.key` in the checkout, made on first use.
        actor: who acts; when not given, the user's name.
        encrypt: whether artifacts are encrypted. The default is the safe one.
        policy: who may do what; when not given, the file that `MODEL_ACCESS_POLICY` names.

    Raises:
        InvalidInput: a location of another kind, or a file that is not a policy.
    """

    def __init__(
        self,
        location: str | Path | None = None,
        *,
        keys: Keyring | None = None,
        actor: str | None = None,
        encrypt: bool = True,
        policy: AccessPolicy | None = None,
    ) -> None:
        self.storage: Storage = storage_at(location)
        self.actor = actor or user_name()
        self.audit = AuditLog(self.storage, self.actor)
        self._index = Index(self.storage)
        self._given_keys = keys
        self._encrypt = encrypt
        self._rights = (policy or AccessPolicy.from_environment()).rights_of(self.actor)

    @property
    def keys(self) -> Keyring:
        """The keys at hand; none when artifacts are not encrypted."""
        if not self._encrypt:
            return Keyring()
        return self._given_keys if self._given_keys is not None else default_keys(default_checkout())

    @property
    def encrypts(self) -> bool:
        """Whether what is registered here is encrypted."""
        return self._encrypt

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
        training_data: Path | None = None,
        feature_schema: Sequence[Mapping[str, Any]] | None = None,
        signing_key: "Ed25519PrivateKey | None" = None,
        compression: CompressionType | str = CompressionType.ZSTD,
        format_type: SerializationFormat | str = SerializationFormat.JOBLIB,
        runtime: bool = True,
        positive_class: Any | None = None,
        threshold: float | None = None,
        sample: Path | None = None,
        holdout: Path | None = None,
        label: str | None = None,
        versions: Mapping[str, str] | None = None,
        registry_only: bool = False,
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
            training_data: a file of what it was trained on; its name and SHA-256 are recorded.
            feature_schema: one object a feature, in the model's order; adds to what the estimator tells (`name`,
                `type`, `gaps`, `minimum`, `maximum`, `bins`) and may not contradict it.
            signing_key: signs the manifest.
            compression: of the artifact.
            format_type: of the artifact.
            runtime: whether an optimized form is made where there is one that provably answers as the model does.
            positive_class: the class that is fraud; needed where the classes do not say so.
            threshold: fraud from this score on, 0 to 1; the estimator's own when not given, else 0.5.
            sample: CSV or Parquet file with some training rows: fills what an estimator does not know. No row is kept.
            holdout: the same with labelled rows that the model was not trained on: metrics are calculated from it.
            label: the column of `holdout` that holds the class.
            versions: library versions as the model's file has them.
            registry_only: keep a model that no service can serve; it has no contract.

        Returns:
            The model id, `<name>_<type>_<YYYYmmdd_HHMMSS>`; two in one second get different ones.

        Raises:
            AccessDenied: the actor's role does not allow it.
            InvalidInput: a name, tag, metric or the model is not what it may be, a claim contradicts the model, or the
                model cannot be served.
            FileMissing: there is no such sample or holdout.
            KeyNotFound: artifacts are encrypted and there is no key.
            StorageFailed: the registry cannot be written.
        """
        from model_store.contract.preparing import Wanted, prepare

        require_names(model_name, model_type or "Model", tags := tuple(tags))
        metrics = require_metrics(performance_metrics or {})
        self.require_right("register", model_name)
        prepared = prepare(
            model,
            Wanted(
                model_type=model_type, feature_schema=feature_schema, format_type=format_type, runtime=runtime,
                positive_class=positive_class, threshold=threshold, sample=sample, training_data=training_data,
                holdout=holdout, label=label, versions=versions or {}, registry_only=registry_only,
            ),
        )  # fmt: skip
        return self.enter(
            prepared,
            model_name,
            {
                "description": description,
                "tags": list(tags),
                "author": author or self.actor,
                "performance_metrics": metrics,
            },
            source=source,
            training_data=training_data,
            signing_key=signing_key,
            compression=compression,
        )

    def enter(
        self,
        prepared: "Prepared",
        model_name: str,
        fields: Mapping[str, Any],
        *,
        source: Path | None,
        training_data: Path | None,
        signing_key: "Ed25519PrivateKey | None",
        compression: CompressionType | str,
    ) -> str:
        """Registers a model that is prepared; `register_model` and `register_file` do both.

        Args:
            prepared: as `prepare` made it.
            model_name: its name.
            fields: `description`, `tags`, `author` and `performance_metrics`.
            source: the file that the model came from.
            training_data: a file of what it was trained on.
            signing_key: signs the manifest.
            compression: of the artifact.

        Returns:
            The model id.

        Raises:
            InvalidInput: a name is not what it may be.
            KeyNotFound: artifacts are encrypted and there is no key.
            StorageFailed: the registry cannot be written.
        """
        require_names(model_name, prepared.model_type, fields["tags"])
        known = {
            "model_name": model_name,
            "model_type": prepared.model_type,
            **fields,
            "performance_metrics": require_metrics({**fields["performance_metrics"], **prepared.metrics}),
            "feature_schema": [dict(each) for each in prepared.feature_schema],
            "source": describe_source(source) if source else None,
            "lineage": lineage_of(prepared.parameters, training_data, source),
        }
        persistence = SecureModelPersistence(
            keys=self.keys, default_compression=compression, default_format=prepared.serializer
        )
        registration = Registration(self.storage, self.audit, self.actor, encrypt=self._encrypt)
        return registration.register(Candidate(prepared, persistence, known, signing_key))

    def list_models(self, status: ModelStatus | str | None = None, name: str | None = None) -> list[ModelMetadata]:
        """All model versions, or those of a status or a name, oldest first.

        Raises:
            InvalidInput: there is no such status.
        """
        wanted = status_named(status) if status is not None else None
        names = self.storage.names("models") if name is None else [name] if is_model_name(name) else []
        found = self._index.models(names, self.get_metadata)
        found.sort(key=lambda item: (item.created_at, item.model_id))
        return [item for item in found if wanted is None or item.status is wanted]

    def get_metadata(self, model_id: str) -> ModelMetadata:
        """What is known of a model version.

        Raises:
            ModelNotFound: no model version has this id.
            UnreadableModel: its manifest or state is damaged.
        """
        manifest = self.read_json(model_id, MANIFEST_FILE)
        state = self.read_json(model_id, STATE_FILE)
        if manifest.get("model_id") != model_id:
            raise UnreadableModel(f"{model_id}: the manifest is of {manifest.get('model_id')!r}")
        return ModelMetadata.from_manifest(manifest, status_named(state["status"]))

    def load_model(self, model_id: str, trusted: Collection[str] = ()) -> tuple[Any, ModelMetadata]:
        """Loads a model version, after its artifact was authenticated against its manifest.

        Args:
            model_id: the model version.
            trusted: full names of globals to allow beside the allow-list.

        Returns:
            The model, and what its manifest says of it.

        Raises:
            AccessDenied: the actor's role does not allow it.
            ModelNotFound: no model version has this id.
            IntegrityError, KeyNotFound, KeyUnwrap, UntrustedType: as for `SecureModelPersistence.load_model_secure`.
        """
        metadata = self.get_metadata(model_id)
        self.require_right("load", model_id)
        self.audit.append("load", model_id)
        persistence = SecureModelPersistence(keys=self.keys)
        try:
            model, _ = persistence.load_model_secure(
                self.artifact_path(model_id),
                expected_digest=metadata.digest,
                expected_context=context_of(metadata),
                encrypted=metadata.encrypted or self._encrypt,
                trusted=trusted,
            )
        except ModelStoreError as error:
            self.audit.append("refused", model_id, reason=f"{type(error).__name__}: {error}")
            raise
        return model, metadata

    def verify_artifact(self, model_id: str) -> str:
        """Measures a model version's artifact and compares it with its manifest; needs no key.

        Returns:
            The digest.

        Raises:
            ModelNotFound: no model version has this id.
            IntegrityError: the artifact is not the registered one; names the model version.
        """
        metadata = self.get_metadata(model_id)
        files: dict[str, tuple[str, int | None]] = {
            ARTIFACT_FILE: (metadata.digest, metadata.payload_bytes),
            **metadata.attachments,
        }
        if kept := self.state(model_id).get("golden"):
            files[GOLDEN_FILE] = (kept["digest"], None)
        for name, (expected, payload_bytes) in files.items():
            try:
                measured = _measure(self.storage.path(f"{version_prefix(model_id)}/{name}"), payload_bytes)
            except ModelStoreError as error:
                raise type(error)(f"{model_id}: the {name} is not intact: {error}") from None
            if measured != expected:
                raise ChecksumMismatch(
                    f"{model_id}: the {name} is not the registered one: its digest is {measured}, "
                    f"its manifest says {expected}"
                )
        with open_artifact(self.artifact_path(model_id)) as artifact:
            if metadata.contract is not None and artifact.header.context != context_of(metadata):
                raise ContextMismatch(
                    f"{model_id}: the manifest's contract is not the one that the artifact was registered with"
                )
        return metadata.digest

    def key_ids(self, model_id: str) -> tuple[str, ...]:
        """The keys that open a model version's artifact now: fingerprints and ARNs, sorted; none when not encrypted.

        Raises:
            ModelNotFound: no model version has this id.
        """
        with open_artifact(self.artifact_path(model_id)) as artifact:
            return tuple(sorted(slot.key_id for slot in artifact.header.slots))

    def require_key(self, model_id: str) -> None:
        """Raises unless a key at hand opens a model version's artifact, or it is not encrypted.

        Raises:
            ModelNotFound: no model version has this id.
            KeyNotFound, KeyUnwrap, KeyCommitment, HeaderAuthentication: no key opens it; names those that would.
        """
        with open_artifact(self.artifact_path(model_id)) as artifact:
            artifact.require_key(self.keys)

    def sign_model(self, model_id: str, key: "Ed25519PrivateKey") -> None:
        """Adds a signature to a model version.

        Raises:
            AccessDenied: the actor's role does not allow it.
            ModelNotFound: no model version has this id.
            VersionConflict: somebody else signed at the same time.
            StorageFailed: the registry cannot be written.
        """
        from model_store.registry.signing import key_id, merged, parse_envelope, sign_manifest

        metadata = self.get_metadata(model_id)
        self.require_right("sign", model_id)
        self.audit.append("sign", model_id, key_id=key_id(key.public_key()))
        file = f"{version_prefix(model_id)}/{SIGNATURE_FILE}"
        envelope = sign_manifest(metadata.manifest(), key)
        if not self.storage.put_if_absent(file, json_bytes(envelope)):
            before = self.storage.read(file)
            self.storage.compare_and_swap(file, json_bytes(merged([parse_envelope(before), envelope])), before)

    def verify_signature(self, model_id: str, public_keys: Sequence["Ed25519PublicKey"]) -> str:
        """Raises unless one of the keys signed a model version.

        Returns:
            The name of the key that did.

        Raises:
            ModelNotFound: no model version has this id.
            SignatureInvalid: none did.
        """
        from model_store.registry.signing import parse_envelope, verify_envelope

        metadata = self.get_metadata(model_id)
        try:
            content = self.storage.read(f"{version_prefix(model_id)}/{SIGNATURE_FILE}")
        except ModelNotFound:
            raise SignatureInvalid(f"{model_id} is not signed") from None
        try:
            return verify_envelope(parse_envelope(content), metadata.manifest(), public_keys)
        except SignatureInvalid as error:
            raise SignatureInvalid(f"{model_id}: {error}") from None

    def update_model_status(self, model_id: str, status: ModelStatus | str, reason: str = "") -> ModelMetadata:
        """Sets a model version's status.

        Args:
            model_id: the model version.
            status: the new status; the present one may be given again.
            reason: kept with it.

        Raises:
            AccessDenied: the actor's role does not allow it.
            ModelNotFound: no model version has this id.
            InvalidInput: there is no such status.
            IllegalTransition: the present status does not lead there.
            VersionConflict: somebody else changed it at the same time.
            StorageFailed: the registry cannot be written.
        """
        metadata, target = self.get_metadata(model_id), status_named(status)
        if metadata.status is target:
            return metadata
        metadata.status.require_transition(target)
        self.require_right("status", model_id)
        self.audit.append("status", model_id, reason, **{"from": str(metadata.status), "to": str(target)})
        self._change_state(model_id, lambda state: enter_status(state, target, self.actor, reason))
        return replace(metadata, status=target)

    def record_deployment(self, model_id: str, *, environment: str, deployment_id: str) -> None:
        """Notes that a model version was deployed, and sets its status to `deployed` where that may follow.

        Raises:
            AccessDenied: the actor's role does not allow it.
            ModelNotFound: no model version has this id.
            VersionConflict: somebody else changed it at the same time.
            StorageFailed: the registry cannot be written.
        """
        self.get_metadata(model_id)
        self.require_right("deploy", model_id)
        self.audit.append("deploy", model_id, environment=environment, deployment_id=deployment_id)

        def change(state: dict[str, Any]) -> None:
            state["deployments"].append({"environment": environment, "deployment_id": deployment_id, "at": now()})
            if ModelStatus.DEPLOYED in status_named(state["status"]).leads_to:
                enter_status(state, ModelStatus.DEPLOYED, self.actor, deployment_id)

        self._change_state(model_id, change)

    def artifact_path(self, model_id: str) -> Path:
        """The artifact's file."""
        return self.storage.path(f"{version_prefix(model_id)}/{ARTIFACT_FILE}")

    def manifest_path(self, model_id: str) -> Path:
        """The manifest's file."""
        return self.storage.path(f"{version_prefix(model_id)}/{MANIFEST_FILE}")

    def state(self, model_id: str) -> dict[str, Any]:
        """A model version's state: `status`, `history`, `deployments`.

        Raises:
            ModelNotFound: no model version has this id.
        """
        return self.read_json(model_id, STATE_FILE)

    def find_by_source(self, sha256: str) -> list[ModelMetadata]:
        """The model versions that were registered from a file with this SHA-256, oldest first."""
        return [item for item in self.list_models() if item.source is not None and item.source.sha256 == sha256]

    def require_right(self, action: str, subject: str, alias: str | None = None) -> None:
        """Raises unless the actor may do something; a refusal is recorded.

        Raises:
            AccessDenied: the actor may not.
        """
        try:
            self._rights.require(self.actor, action, alias)
        except AccessDenied as error:
            self.audit.append("refused", subject, reason=str(error))
            raise

    def read_json(self, model_id: str, file: str) -> dict[str, Any]:
        """One of a model version's JSON files.

        Raises:
            ModelNotFound: there is no such model version.
            UnreadableModel: the file is not JSON.
        """
        try:
            content = self.storage.read(f"{version_prefix(model_id)}/{file}")
        except ModelNotFound:
            raise ModelNotFound(f"no model version {model_id!r} exists in {self.storage.location}") from None
        try:
            value: dict[str, Any] = json.loads(content)
        except ValueError:
            raise UnreadableModel(f"{model_id}: {file} is not JSON") from None
        return value

    def _change_state(self, model_id: str, change: Callable[[dict[str, Any]], None]) -> None:
        key = f"{version_prefix(model_id)}/{STATE_FILE}"
        before = self.storage.read(key)
        state = json.loads(before)
        change(state)
        self.storage.compare_and_swap(key, json_bytes(state), before)


def _measure(path: Path, payload_bytes: int | None) -> str:
    if not path.exists():
        raise Truncated("the file is missing")
    with open_artifact(path) as artifact:
        if payload_bytes is None:
            return artifact.measure()
        if artifact.payload_bytes < payload_bytes:
            raise Truncated(f"its payload has {artifact.payload_bytes} bytes, not {payload_bytes}")
        if artifact.payload_bytes > payload_bytes:
            raise TrailingData(f"its payload has {artifact.payload_bytes} bytes, not {payload_bytes}")
        return artifact.measure()
