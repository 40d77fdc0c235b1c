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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from model_store.artifact.reader import open_artifact
from model_store.errors import ModelStoreError
from model_store.keys.defaults import default_checkout, default_keys
from model_store.keys.keyring import Keyring
from model_store.persistence import SecureModelPersistence
from model_store.registry.access import AccessPolicy
from model_store.registry.deciding import DecidingReader
from model_store.registry.files.layout import encryption_context, storage_at
from model_store.registry.files.manifest import ModelMetadata
from model_store.registry.files.unfinished import require_still_there
from model_store.registry.log.audit import REFUSED
from model_store.registry.log.outcomes import recorded_failure
from model_store.registry.log.reserve import keep_reserve
from model_store.registry.registration import Registration
from model_store.registry.request import RegistrationKeywords, RegistrationRequest
from model_store.registry.taken import Claims

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from model_store.contract.preparing import Prepared


class ModelRegistry(DecidingReader):
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
        self._claims = Claims(self.storage)

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
            tags=tags if isinstance(tags, str) or not isinstance(tags, Iterable) else tuple(tags),
            author=author,
            performance_metrics={} if performance_metrics is None else performance_metrics,
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
        registration = Registration(self.storage, self.audit, self.actor, self._claims, encrypt=self._encrypt)
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
                expected_context=encryption_context(metadata),
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
        name = key_id(key.public_key())
        head = self.audit.append("sign", model_id, key_id=name)
        with recorded_failure(self.audit, "sign", model_id, key_id=name):
            add_signature(self.storage, metadata, key, anchor_at(self.audit, head))
            require_still_there(self.storage, model_id)
        self.audit.append("sign", model_id, key_id=name, outcome="succeeded")
