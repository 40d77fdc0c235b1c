"""Writes a model as a new version: all files go into a staging directory, which is then published in one step."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions.artifact_files import (
    ARTIFACT_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    RUNTIME_FILE,
    SIGNATURE_FILE,
    STATE_FILE,
)
from model_store.errors import ModelStoreError, VersionConflict
from model_store.persistence import SecureModelPersistence
from model_store.registry.audit import AuditLog
from model_store.registry.layout import bound_contract, now, rfc3339, version_prefix, write_json
from model_store.registry.manifest import ModelStatus, new_model_id, require_metrics, require_names
from model_store.registry.request import RegistrationRequest
from model_store.serialization.formats import SerializationFormat
from model_store.serialization.lineage import build_lineage, describe_source
from model_store.storage.base import Storage

REGISTERED = "registered"
"""Why a version has its first status, in the registry that it was registered in."""
REGISTERED_BY = "registered_by"
"""In the lineage: the actor who registered the version, wherever it is imported."""
COMPUTED_METRICS = "computed_metrics"
"""In the lineage: the metrics that the registration computed itself, on a labelled holdout."""

if TYPE_CHECKING:
    from model_store.contract.preparing import Prepared
    from model_store.contract.proving import Proven


_LAST = ".last"
"""A hint: the number that was claimed last. Its name begins with a dot, so that it does not count as a claim."""
_REMEMBERED = 1000


@dataclass(frozen=True)
class _Version:
    """A version while its files are written."""

    prepared: "Prepared"
    request: RegistrationRequest
    persistence: SecureModelPersistence
    fields: Mapping[str, Any]
    """Of its manifest, known before a file is written."""


@dataclass
class Given:
    """Ids and numbers that this process gave out last in one registry: the next registration need not ask for them."""

    ids: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    numbers: dict[str, int] = field(default_factory=dict)


class Registration:
    """Registers models in one registry.

    Args:
        storage: the registry's.
        audit: the registry's.
        actor: who registers.
        given: what this process has given out in this registry.
        encrypt: whether artifacts are encrypted.
    """

    def __init__(self, storage: Storage, audit: AuditLog, actor: str, given: "Given", *, encrypt: bool) -> None:
        self._storage = storage
        self._audit = audit
        self._actor = actor
        self._encrypt = encrypt
        self._given = given

    def register(self, prepared: "Prepared", request: RegistrationRequest, persistence: SecureModelPersistence) -> str:
        """Registers a model as a new version and returns its id.

        Raises:
            InvalidInput: the name, the type, a tag or a metric is not allowed.
            KeyNotFound: artifacts are encrypted and there is no key.
            StorageFailed: the registry cannot be written.
        """
        candidate = _Version(prepared, request, persistence, self._fields(prepared, request))
        number = self._claim_version(request.model_name)
        moment = datetime.now(UTC).replace(microsecond=0)
        name, kind = request.model_name, prepared.model_type
        # Two versions of one second: the number, which no other version has, tells them apart.
        for model_id in (new_model_id(name, kind, moment), new_model_id(name, kind, moment, number)):
            if model_id not in self._given.ids and self._try_to_register(candidate, model_id, number, moment):
                self._given.ids.append(model_id)
                return model_id
        raise VersionConflict(f"{new_model_id(name, kind, moment, number)} exists already; register the model again")

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
            action, reason = "import" if candidate.request.origin else "register", candidate.request.reason
            head = self._audit.append(action, model_id, reason, digest=manifest["digest"], version=manifest["version"])
            if candidate.request.signing_key is not None:
                from model_store.registry.anchors import anchor_at
                from model_store.registry.signing import sign_manifest

                envelope = sign_manifest(manifest, candidate.request.signing_key, anchor_at(self._audit, head))
                write_json(staging / SIGNATURE_FILE, envelope)
            return self._storage.publish(staging, prefix)

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
        state: dict[str, Any] = {"status": "", "history": [], "deployments": [], "key_ids": key_ids}
        enter_status(state, ModelStatus.TRAINED, self._actor, REGISTERED)
        write_json(staging / MANIFEST_FILE, manifest)
        write_json(staging / STATE_FILE, state)
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

    def _claim_version(self, model_name: str) -> int:
        """Claims the next version number of a name; a failed registration does not release it."""
        claims = f"models/{model_name}/.versions"
        number = (self._given.numbers.get(model_name) or self._last_claimed(claims)) + 1
        while not self._storage.put_if_absent(f"{claims}/{number}", now().encode()):
            number += 1
        self._given.numbers[model_name] = number
        self._storage.put_best_effort(f"{claims}/{_LAST}", str(number).encode())
        return number

    def _last_claimed(self, claims: str) -> int:
        """The number that was claimed last, as a file beside the claims says; without it they are counted."""
        try:
            return int(self._storage.read(f"{claims}/{_LAST}"))
        except (ModelStoreError, ValueError):
            return self._storage.count(claims)


def _described(path: Path | None) -> dict[str, Any] | None:
    return describe_source(path) if path else None


def enter_status(state: dict[str, Any], status: ModelStatus, actor: str, reason: str) -> None:
    """Sets a state's status and adds it to its history."""
    state["status"] = str(status)
    state["history"].append({"status": str(status), "at": now(), "by": actor, "why": reason})
