"""Proofs of registered versions: their golden rows, answered under the libraries that are installed now.

To update scikit-learn, prove every version under the new release before it serves. A version that was registered before
golden rows existed gets golden rows under the installed libraries; they are stored beside its artifact.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from conventions.artifact_files import GOLDEN_FILE, RUNTIME_FILE
from model_store.errors import InvalidInput, StorageFailed, StorageForbidden, UnsupportedFormat
from model_store.persistence import SecureModelPersistence, library_versions
from model_store.registry.files.layout import now, version_prefix
from model_store.registry.files.manifest import ModelMetadata
from model_store.registry.log.reserve import is_unwritable
from model_store.registry.registry import ModelRegistry
from model_store.serialization.formats import SerializationFormat

if TYPE_CHECKING:
    from model_store.contract.contract import Contract
    from model_store.contract.form import Form, FormRunner
    from model_store.contract.golden import GoldenRows


@dataclass(frozen=True)
class Proof:
    """Result of a proof."""

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

    Where this process may not write the registry, the answer is the same, and a warning says that it is not recorded.

    Raises:
        ModelNotFound, IntegrityError, KeyNotFound, UntrustedType: as for `ModelRegistry.load_model`.
    """
    registry.require_right("prove", model_id)
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

    if registry.record_reading("prove", model_id, proof.detail, proven=proof.proven) is not None:
        registry.change_state(model_id, record)
    return proof


def read_golden_rows(registry: ModelRegistry, model_id: str) -> "tuple[Contract, GoldenRows] | None":
    """A version's contract and golden rows; None for a version that has never been proven.

    Raises:
        ModelNotFound: there is no such version.
        IntegrityError, KeyNotFound, KeyUnwrap: the golden rows are not intact, or no key opens them.
    """
    from model_store.contract.contract import Contract

    metadata = registry.get_metadata(model_id)
    if metadata.contract is not None:
        contract = Contract.from_dict(metadata.contract, metadata.feature_schema)
        return contract, _read_golden(registry, metadata, contract, metadata.attachments[GOLDEN_FILE][0])
    kept = registry.state(model_id).get("golden")
    if kept is None:
        return None
    contract = Contract.from_dict(kept["contract"], kept["feature_schema"])
    return contract, _read_golden(registry, metadata, contract, kept["digest"])


def _proven(registry: ModelRegistry, metadata: ModelMetadata, model: Any) -> tuple[int, float, str]:
    from model_store.contract.proving import Claims, check_form, check_model, prove

    known = read_golden_rows(registry, metadata.model_id)
    if known is None:
        proven = prove(model, Claims(features=metadata.feature_schema), form=False)
        is_kept = _keep(registry, metadata, proven.contract, proven.golden)
        told = "kept: the next proof answers these" if is_kept else "not kept: this process may not write the registry"
        return len(proven.golden.rows), 0.0, f"golden rows made now and {told}"
    contract, golden = known
    largest = check_model(contract, golden, model)
    if metadata.contract is None:
        return len(golden.rows), largest, "its golden rows, as the first proof made them"
    if metadata.runtime_digest:
        largest = max(largest, check_form(_read_form(registry, metadata, contract), contract, model, golden))
    return len(golden.rows), largest, "its golden rows, as they were registered"


def _keep(registry: ModelRegistry, metadata: ModelMetadata, contract: "Contract", golden: "GoldenRows") -> bool:
    """Stores golden rows beside an artifact that has none; encrypted when the artifact is.

    Returns:
        Whether they are stored; false where this process may not write the registry.

    Raises:
        StorageFailed: they cannot be written, although this process may write the registry.
    """
    model_id = metadata.model_id
    with TemporaryDirectory() as directory:
        file = Path(directory) / GOLDEN_FILE
        written = SecureModelPersistence(keys=registry.keys).save_model_secure(
            golden.to_bytes(),
            file,
            format_type=SerializationFormat.DATA,
            encrypt=metadata.encrypted,
            context=_context(metadata, GOLDEN_FILE),
        )
        try:
            registry.storage.replace_file(f"{version_prefix(model_id)}/{GOLDEN_FILE}", file)
        except StorageFailed as error:
            if isinstance(error, StorageForbidden) or is_unwritable(registry.storage):
                return False
            raise

    def record(state: dict[str, Any]) -> None:
        state["golden"] = {
            "digest": written["digest"],
            "contract": contract.to_dict(),
            "feature_schema": [feature.to_dict() for feature in contract.features],
        }

    registry.change_state(model_id, record)
    return True


def _read_golden(registry: ModelRegistry, metadata: ModelMetadata, contract: "Contract", digest: str) -> "GoldenRows":
    from model_store.contract.attachments import read_golden

    return read_golden(_content(registry, metadata, GOLDEN_FILE, digest), contract)


def _read_form(registry: ModelRegistry, metadata: ModelMetadata, contract: "Contract") -> "Form":
    from model_store.contract.attachments import read_form

    return read_form(_content(registry, metadata, RUNTIME_FILE, metadata.runtime_digest), contract)


def read_form_runner(
    registry: ModelRegistry, metadata: ModelMetadata, contract: "Contract", threshold: float
) -> "FormRunner | None":
    """A version's optimized form, ready to answer; None when it has none.

    Args:
        registry: that holds the version.
        metadata: of the version.
        contract: of the version.
        threshold: near which the model's own library decides.

    Raises:
        IntegrityError, KeyNotFound, KeyUnwrap: the form is not intact, or no key opens it.
    """
    from model_store.contract.form import FormRunner

    return FormRunner(_read_form(registry, metadata, contract), threshold) if metadata.runtime_digest else None


def _content(registry: ModelRegistry, metadata: ModelMetadata, name: str, digest: str) -> bytes:
    """The bytes of a file beside a version's artifact, verified."""
    content, about = SecureModelPersistence(keys=registry.keys).load_model_secure(
        registry.storage.path(f"{version_prefix(metadata.model_id)}/{name}"),
        expected_digest=digest,
        expected_context=_context(metadata, name),
        encrypted=metadata.encrypted,
    )
    if about["format"] != SerializationFormat.DATA:
        raise UnsupportedFormat(f"{metadata.model_id}: the file {name} is in the format {about['format']}")
    return bytes(content)


def _context(metadata: ModelMetadata, name: str) -> dict[str, str]:
    return {"model_id": metadata.model_id, "model_name": metadata.model_name, "form": name}
