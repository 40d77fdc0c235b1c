"""Writes a model as a new version: all files go into a staging directory, which is then published in one step."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions.artifact_files import (
    ARTIFACT_FILE,
    BROUGHT_BY,
    GOLDEN_FILE,
    MANIFEST_FILE,
    RUNTIME_FILE,
    SIGNATURE_FILE,
    STATE_FILE,
)
from model_store.errors import VersionConflict
from model_store.persistence import SecureModelPersistence
from model_store.registry.files.layout import bound_contract, digest_of, now, rfc3339, version_prefix, write_json
from model_store.registry.files.manifest import ModelStatus, new_model_id, require_metrics, require_names
from model_store.registry.files.schema import require_manifest, require_state, require_writable
from model_store.registry.log.audit import AuditLog
from model_store.registry.log.outcomes import recorded_failure
from model_store.registry.request import COMPUTED_METRICS, REGISTERED_BY, RegistrationRequest
from model_store.registry.taken import Claims
from model_store.serialization.formats import SerializationFormat
from model_store.serialization.lineage import build_lineage, describe_source
from model_store.storage.base import Storage

REGISTERED = "registered"
"""Why a version has its first status, in the registry that it was registered in."""

if TYPE_CHECKING:
    from model_store.contract.preparing import Prepared
    from model_store.contract.proving import Proven


@dataclass(frozen=True)
class _Version:
    """A version while its files are written."""

    prepared: "Prepared"
    request: RegistrationRequest
    persistence: SecureModelPersistence
    fields: Mapping[str, Any]
    """Of its manifest, known before a file is written."""


class Registration:
    """Registers models in one registry.

    Args:
        storage: the registry's.
        audit: the registry's.
        actor: who registers.
        claims: of numbers and ids in this registry.
        encrypt: whether artifacts are encrypted.
    """

    def __init__(self, storage: Storage, audit: AuditLog, actor: str, claims: Claims, *, encrypt: bool) -> None:
        self._storage = storage
        self._audit = audit
        self._actor = actor
        self._encrypt = encrypt
        self._claims = claims

    def register(self, prepared: "Prepared", request: RegistrationRequest, persistence: SecureModelPersistence) -> str:
        """Registers a model as a new version and returns its id.

        Raises:
            InvalidInput: the name, the type, a tag or a metric is not allowed.
            KeyNotFound: artifacts are encrypted and there is no key.
            StorageFailed: the registry cannot be written.
        """
        candidate = _Version(prepared, request, persistence, self._fields(prepared, request))
        moment = datetime.now(UTC).replace(microsecond=0)
        name, kind = request.model_name, prepared.model_type
        number, claimed = self._claims.claim(name, kind, moment)
        # A version that came by a restore may have the id: the number, which no other version has, tells them apart.
        last = new_model_id(name, kind, moment, number)
        for model_id in dict.fromkeys((claimed, last)):
            if self._try_to_register(candidate, model_id, number, moment):
                return model_id
        raise VersionConflict(f"{last} exists already; register the model again")

    def _fields(self, prepared: "Prepared", request: RegistrationRequest) -> dict[str, Any]:
        require_names(request.model_name, prepared.model_type, request.tags)
        return {
            "model_name": request.model_name,
            "model_type": prepared.model_type,
            "description": request.description,
            "tags": list(request.tags),
            "author": request.author or self._actor,
            "performance_metrics": require_metrics({**request.performance_metrics, **prepared.metrics}),
            "feature_schema": [dict(each) for each in prepared.feature_schema],
            "source": request.source_description or _described(request.source),
            "lineage": {
                **build_lineage(
                    prepared.parameters,
                    request.training_data_description or _described(request.training_data),
                    request.source,
                ),
                **request.origin,
                REGISTERED_BY: self._actor,
                **({COMPUTED_METRICS: sorted(prepared.metrics)} if prepared.metrics else {}),
            },
        }

    def _try_to_register(self, candidate: _Version, model_id: str, version: int, moment: datetime) -> bool:
        prefix = version_prefix(model_id)
        if self._storage.parallel_reads == 1 and self._storage.exists(prefix):
            # A remote storage is not asked: publishing tells, and two versions of one second are rare.
            return False
        with self._storage.staged(model_id) as staging:
            if staging is None:
                return False
            manifest = self._write_version(candidate, model_id, version, moment, staging)
            if not self._storage.announce(staging, prefix):
                return False
            return self._publish(candidate.request, manifest, staging)

    def _publish(self, request: RegistrationRequest, manifest: dict[str, Any], staging: Path) -> bool:
        """Records the registration, signs the version and publishes it; false when another version has its id."""
        from model_store.registry.anchors import anchor_at
        from model_store.registry.signing import key_id, sign_manifest

        action, model_id, key = "import" if request.origin else "register", manifest["model_id"], request.signing_key
        told = {"digest": manifest["digest"], "version": manifest["version"]}
        told["manifest"] = digest_of((staging / MANIFEST_FILE).read_bytes())
        told["signed"] = [key_id(key.public_key())] if key is not None else []
        # A record may be there although its writing failed: then a second one says so.
        with recorded_failure(self._audit, action, model_id):
            head = self._audit.append(action, model_id, request.reason, **told)
            if key is not None:
                write_json(staging / SIGNATURE_FILE, sign_manifest(manifest, key, anchor_at(self._audit, head)))
            is_published = self._storage.publish(staging, version_prefix(model_id))
        if not is_published:
            self._audit.append(action, model_id, "another version has this id", outcome="failed")
        return is_published

    def _write_version(
        self, candidate: _Version, model_id: str, version: int, moment: datetime, staging: Path
    ) -> dict[str, Any]:
        version_context = {"model_id": model_id, "model_name": candidate.request.model_name}
        proven, features = candidate.prepared.proven, candidate.fields["feature_schema"]
        contract = self._write_golden(candidate, proven, version_context, staging) if proven else None
        saved = candidate.persistence.save_model_secure(
            candidate.prepared.model,
            staging / ARTIFACT_FILE,
            encrypt=self._encrypt,
            context={**version_context, **bound_contract(contract, features)},
        )
        manifest = {
            **candidate.fields,
            "model_id": model_id,
            "version": version,
            "created_at": rfc3339(moment),
            "digest": saved["digest"],
            "size_bytes": saved["final_size"],
            "payload_bytes": saved["compressed_size"],
            "serializer": saved["format"],
            "compression": saved["compression"],
            "encrypted": saved["encrypted"],
            # Keys rotate, and a manifest is signed: the state says which keys open the artifact.
            "key_fingerprints": [],
            "model_class": saved["model_class"],
            "library_versions": {**saved["library_versions"], **candidate.prepared.versions},
            "runtime": self._write_form(candidate, proven, version_context, staging) if proven else None,
        }
        if contract is not None:
            manifest["contract"] = contract
        key_ids = sorted(saved["key_fingerprints"])
        write_json(staging / MANIFEST_FILE, require_writable(manifest, require_manifest))
        state = first_state(staging / MANIFEST_FILE, key_ids)
        enter_status(state, ModelStatus.TRAINED, self._actor, REGISTERED)
        write_json(staging / STATE_FILE, require_writable(state, require_state))
        return manifest

    def _write_golden(
        self, candidate: _Version, proven: "Proven", context: Mapping[str, str], staging: Path
    ) -> dict[str, Any]:
        """Writes the golden rows; returns the contract with their digest."""
        written = self._write_data(candidate, proven.golden.to_bytes(), GOLDEN_FILE, context, staging)
        return replace(proven.contract, golden={**proven.golden.described(), **written}).to_dict()

    def _write_form(
        self, candidate: _Version, proven: "Proven", context: Mapping[str, str], staging: Path
    ) -> dict[str, Any]:
        """Writes the optimized form, where there is one; returns what the manifest says of it."""
        if proven.form is None:
            return {"format": "native", "reason": proven.reason}
        from model_store.contract.golden import TOLERANCE

        written = self._write_data(candidate, proven.form.to_bytes(), RUNTIME_FILE, context, staging)
        return {
            "format": proven.form.kind,
            "largest_difference": proven.largest_difference,
            "tolerance": TOLERANCE,
            **written,
        }

    def _write_data(
        self, candidate: _Version, content: bytes, name: str, context: Mapping[str, str], staging: Path
    ) -> dict[str, Any]:
        written = candidate.persistence.save_model_secure(
            content,
            staging / name,
            format_type=SerializationFormat.DATA,
            encrypt=self._encrypt,
            context={**context, "form": name},
        )
        return {
            "digest": written["digest"],
            "size_bytes": written["final_size"],
            "payload_bytes": written["compressed_size"],
        }


def _described(path: Path | None) -> dict[str, Any] | None:
    return describe_source(path) if path else None


def first_state(manifest: Path, key_ids: list[str]) -> dict[str, Any]:
    """The state of a new version, without a status.

    Args:
        manifest: the manifest's file; the state keeps its digest, so that a changed letter is found.
        key_ids: of the keys that open the artifact.
    """
    digest = digest_of(manifest.read_bytes())
    return {"status": "", "history": [], "deployments": [], "key_ids": key_ids, "manifest": digest, BROUGHT_BY: []}


def enter_status(state: dict[str, Any], status: ModelStatus, actor: str, reason: str) -> None:
    """Sets a state's status and adds it to its history."""
    state["status"] = str(status)
    state["history"].append({"status": str(status), "at": now(), "by": actor, "why": reason})
