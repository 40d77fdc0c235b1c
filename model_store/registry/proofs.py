"""Proofs of registered versions: their golden rows, answered under the libraries that are installed now.

The way to update scikit-learn: prove every version under the new one before it serves. A version that was registered
before golden rows were gets some, made under the present libraries; they are kept beside its artifact.
"""

from dataclasses import asdict, dataclass
from typing import Any

from conventions.artifact_files import GOLDEN_FILE
from model_store.errors import InvalidInput, ModelStoreError
from model_store.persistence import SecureModelPersistence, library_versions
from model_store.registry.layout import now, place_of
from model_store.registry.manifest import ModelMetadata
from model_store.registry.registry import ModelRegistry
from model_store.serialization.formats import SerializationFormat


@dataclass(frozen=True)
class Proof:
    """What came of a proof."""

    model_id: str
    proven: bool
    rows: int
    largest_difference: float | None
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def prove_version(registry: ModelRegistry, model_id: str) -> Proof:
    """Answers a version's golden rows, and records in its state under which libraries.

    Raises:
        ModelNotFound, IntegrityError, KeyNotFound, UntrustedType: as for `ModelRegistry.load_model`.
    """
    metadata = registry.get_metadata(model_id)
    model, _ = registry.load_model(model_id)
    try:
        rows, largest, detail = _proven(registry, metadata, model)
        proof = Proof(model_id, True, rows, largest, detail)
    except InvalidInput as error:
        proof = Proof(model_id, False, 0, None, str(error))
    versions = library_versions()

    def record(state: dict[str, Any]) -> None:
        state.setdefault("proofs", []).append({"at": now(), "versions": versions, **proof.to_dict()})

    registry.require_right("status", model_id)
    registry.audit.append("prove", model_id, proof.detail, proven=proof.proven)
    registry._change_state(model_id, record)
    return proof


def _proven(registry: ModelRegistry, metadata: ModelMetadata, model: Any) -> tuple[int, float, str]:
    from model_store.contract.contract import Contract
    from model_store.contract.golden import GoldenRows
    from model_store.contract.proving import Claims, check_model, prove

    if metadata.contract is not None:
        contract = Contract.from_dict(metadata.contract, metadata.feature_schema)
        golden = GoldenRows.from_bytes(_read_golden(registry, metadata))
        largest = check_model(contract, golden, model)
        return len(golden.rows), largest, "its golden rows, as they were registered"
    proven = prove(model, Claims(features=metadata.feature_schema), form=False)
    return len(proven.golden.rows), 0.0, "golden rows made now; register the file again to keep them with a version"


def _read_golden(registry: ModelRegistry, metadata: ModelMetadata) -> bytes:
    digest, _ = metadata.attachments[GOLDEN_FILE]
    content, about = SecureModelPersistence(keys=registry.keys).load_model_secure(
        registry.storage.path(f"{place_of(metadata.model_id)}/{GOLDEN_FILE}"),
        expected_digest=digest,
        expected_context={"model_id": metadata.model_id, "model_name": metadata.model_name, "form": GOLDEN_FILE},
    )
    if about["format"] != SerializationFormat.DATA:
        raise ModelStoreError(f"{metadata.model_id}: the golden rows are in the format {about['format']}")
    return bytes(content)
