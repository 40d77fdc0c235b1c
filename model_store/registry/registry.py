"""ModelRegistry: versioned models in a directory or a bucket; a registered version never changes.

    registry = ModelRegistry()
    model_id = registry.register_model(model=model, model_name="fraud_detector", performance_metrics={"accuracy": 0.96})
    registry.update_model_status(model_id, "validated", reason="passed the review")
    model, metadata = registry.load_model(model_id)

Layout: `models/<name>/<model id>/` holds `manifest.json` and `artifact`, both written once, `state.json`, which changes
by compare-and-swap only, and `signature.json` when the version is signed. `maintenance` works on many versions at once,
`bundles` exports and imports versions, `aliases` holds movable names.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from conventions.artifact_files import STATE_FILE
from conventions.regular_files import parse_json
from model_store.artifact.reader import open_artifact
from model_store.errors import ModelStoreError, UnreadableModel
from model_store.keys.defaults import default_checkout, default_keys
from model_store.keys.keyring import Keyring
from model_store.persistence import SecureModelPersistence
from model_store.registry.access import AccessPolicy
from model_store.registry.acting import ActingReader
from model_store.registry.audit import REFUSED
from model_store.registry.layout import context_of, json_bytes, now, storage_at, version_prefix
from model_store.registry.manifest import ModelMetadata, ModelStatus, status_named
from model_store.registry.registration import Given, Registration, enter_status
from model_store.registry.request import RegistrationKeywords, RegistrationRequest
from model_store.registry.reserve import keep_reserve
from model_store.registry.schema import require_state

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from model_store.contract.preparing import Prepared


class ModelRegistry(ActingReader):
    """Registered model versions.

    Args:
        location: a directory, a `file://` URL or `s3://bucket/prefix`; None: what `MODEL_REGISTRY_URL` names, else
            `registry/` in the checkout.
        keys: encrypt and decrypt artifacts; None: those that `MODEL_KMS_KEY`, `MODEL_KEY_FILE` and `MODEL_KEY` name,
            else `.secrets/model.key` in the checkout, generated on first use. A function is called at the first need.
        actor: who acts, where a Python program knows; None: who the system says acts, see `identity`.
        encrypt: whether artifacts are encrypted. The default is the safe one.
        policy: who may do what; None: the registry's own policy, narrowed by the file that `MODEL_ACCESS_POLICY` names.

    Raises:
        InvalidInput: the location is of another kind, or the policy's file is not a policy.
    """

    def __init__(
        self,
        location: str | Path | None = None,
        *,
        keys: Keyring | Callable[[], Keyring] | None = None,
        actor: str | None = None,
        encrypt: bool = True,
        policy: AccessPolicy | None = None,
    ) -> None:
        super().__init__(storage_at(location), actor, policy)
        self._given_keys = keys
        self._encrypt = encrypt
        self._given = Given()

    @property
    def keys(self) -> Keyring:
        """The keys of this registry; none when artifacts are not encrypted."""
        if not self._encrypt:
            return Keyring()
        if callable(self._given_keys):
            self._given_keys = self._given_keys()
        return self._given_keys if self._given_keys is not None else default_keys(default_checkout())

    @property
    def encrypts(self) -> bool:
        """Whether this registry encrypts artifacts."""
        return self._encrypt

    def register_model(
        self,
        model: Any,
        model_name: str,
        description: str = "",
        tags: Iterable[str] = (),
        author: str | None = None,
        performance_metrics: Mapping[str, float] | None = None,
        **options: Unpack[RegistrationKeywords],
    ) -> str:
        """Registers a model as a new version, whole or not at all.

        Args:
            model: any trained estimator.
            model_name: a letter, then letters, digits, `_` and `-`.
            description: free text.
            tags: short texts without commas.
            author: who trained the model; None: the actor.
            performance_metrics: finite numbers by name.
            options: other fields of `RegistrationRequest`, which documents them.

        Returns:
            The model id, `<name>_<type>_<YYYYmmdd_HHMMSS>`; two versions of one second get different ids.

        Raises:
            AccessDenied: the actor's role does not allow it.
            InvalidInput: a name, tag, metric or the model is not allowed, a claim contradicts the model, or no
                service can serve the model.
            FileMissing: the sample or holdout does not exist.
            KeyNotFound: artifacts are encrypted and there is no key.
            StorageFailed: the registry cannot be written.
        """
        from model_store.contract.preparing import prepare

        request = RegistrationRequest(
            model_name=model_name,
            description=description,
            tags=tags if isinstance(tags, str) else tuple(tags),
            author=author,
            performance_metrics=performance_metrics or {},
            **options,
        )
        self.require_right("register", model_name)
        request.require_valid()
        return self.register_prepared(prepare(model, request), request)

    def register_prepared(self, prepared: "Prepared", request: RegistrationRequest) -> str:
        """Registers a prepared model; `register_model` and `register_file` prepare one first.

        Args:
            prepared: as `prepare` returns it.
            request: name, description and keys of the version.

        Returns:
            The model id.

        Raises:
            InvalidInput: the name, the type, a tag or a metric is not allowed.
            KeyNotFound: artifacts are encrypted and there is no key.
            StorageFailed: the registry cannot be written.
        """
        persistence = SecureModelPersistence(
            keys=self.keys, default_compression=request.compression, default_format=prepared.serializer
        )
        registration = Registration(self.storage, self.audit, self.actor, self._given, encrypt=self._encrypt)
        model_id = registration.register(prepared, request, persistence)
        keep_reserve(self.storage)
        return model_id

    def load_model(self, model_id: str, trusted: Collection[str] = ()) -> tuple[Any, ModelMetadata]:
        """Loads a model version after authenticating its artifact against its manifest.

        Args:
            model_id: the model version.
            trusted: full names of globals to allow beside the rules.

        Returns:
            The model and its metadata.

        Raises:
            AccessDenied: the actor's role does not allow it.
            ModelNotFound: no model version has this id.
            IntegrityError, KeyNotFound, KeyUnwrap, UntrustedType: as for `SecureModelPersistence.load_model_secure`.
        """
        self.require_right("load", model_id)
        metadata = self.get_metadata(model_id)
        self.record_reading("load", model_id)
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
            self.record_reading(REFUSED, model_id, f"{type(error).__name__}: {error}", attempted="load")
            raise
        return model, metadata

    def require_key(self, model_id: str) -> None:
        """Raises KeyNotFound unless a key opens a model version's artifact, or it is not encrypted.

        Raises:
            ModelNotFound, KeyNotFound, KeyUnwrap, KeyCommitment, HeaderAuthentication: names the keys that would.
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
        from model_store.registry.anchors import anchor_at
        from model_store.registry.signatures import add_signature
        from model_store.registry.signing import key_id

        self.require_right("sign", model_id)
        metadata = self.get_metadata(model_id)
        head = self.audit.append("sign", model_id, key_id=key_id(key.public_key()))
        add_signature(self.storage, metadata, key, anchor_at(self.audit, head))

    def update_model_status(self, model_id: str, status: ModelStatus | str, reason: str = "") -> ModelMetadata:
        """Sets a model version's status.

        Args:
            model_id: the model version.
            status: the new status; the present one is allowed.
            reason: stored with the status.

        Raises:
            AccessDenied: the actor's role does not allow it.
            ModelNotFound: no model version has this id.
            InvalidInput: no such status exists.
            IllegalTransition: the present status does not lead there.
            VersionConflict: somebody else changed the status at the same time.
            StorageFailed: the registry cannot be written.
        """
        self.require_right("status", model_id)
        metadata, target = self.get_metadata(model_id), status_named(status)
        if metadata.status is target:
            return metadata
        metadata.status.require_transition(target)
        self.audit.append("status", model_id, reason, **{"from": str(metadata.status), "to": str(target)})

        def change(state: dict[str, Any]) -> None:
            present = status_named(state["status"])  # somebody else may have changed it
            if present is not target:
                present.require_transition(target)
                enter_status(state, target, self.actor, reason)

        self.change_state(model_id, change)
        return replace(metadata, status=target)

    def record_deployment(
        self, model_id: str, *, environment: str, deployment_id: str, action: str = "deploy", intent: str = ""
    ) -> None:
        """Records a deployment of a model version, and sets its status to `deployed` where the status leads there.

        Args:
            model_id: the model version that serves now.
            environment: where.
            deployment_id: of the deployment.
            action: `deploy`, `rollback`, `promote` and so on.
            intent: what the deployment was for, in the words of the stack's history.

        Raises:
            AccessDenied: the actor's role does not allow it.
            ModelNotFound: no model version has this id.
            VersionConflict: somebody else changed the state at the same time.
            StorageFailed: the registry cannot be written.
        """
        self.require_right(action, model_id, environment=environment)
        self.get_metadata(model_id)
        told = {"environment": environment, "deployment_id": deployment_id, "outcome": "succeeded"}
        self.audit.append(action, model_id, **told, **({"intent": intent} if intent else {}))

        def change(state: dict[str, Any]) -> None:
            state["deployments"].append({"environment": environment, "deployment_id": deployment_id, "at": now()})
            if ModelStatus.DEPLOYED in status_named(state["status"]).leads_to:
                enter_status(state, ModelStatus.DEPLOYED, self.actor, deployment_id)

        self.change_state(model_id, change)

    def change_state(self, model_id: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Changes a model version's state by compare-and-swap.

        Raises:
            ModelNotFound: no model version has this id.
            UnreadableModel: the state is damaged.
            VersionConflict: somebody else changed the state at the same time.
        """
        key = f"{version_prefix(model_id)}/{STATE_FILE}"
        before = self.storage.read(key)
        try:
            state = require_state(parse_json(before))
        except ValueError:
            raise UnreadableModel(f"{model_id}: {STATE_FILE} is not JSON") from None
        change(state)
        self.storage.compare_and_swap(key, json_bytes(state), before)
