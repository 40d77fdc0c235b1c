"""The model that is served: verified, decrypted, loaded, and proven on its golden rows before the first request."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions.artifact_files import ARTIFACT_FILE, GOLDEN_FILE, MANIFEST_FILE, RUNTIME_FILE
from model_store import Keyring, ModelMetadata, ModelStatus, SecureModelPersistence
from model_store.errors import ChecksumMismatch, ContextMismatch, FileMissing, InvalidInput, UnreadableModel
from model_store.registry.files.layout import encryption_context
from model_store.registry.files.schema import require_manifest
from model_store.serialization.formats import SerializationFormat
from model_store.serialization.native_models import import_xgboost_alone
from serving.errors import ModelUnusable
from serving.inference.model_files import model_files
from serving.observability.logs import service_log
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from model_store.contract.contract import Contract
    from model_store.contract.golden import GoldenRows
    from serving.inference.runtimes import Runtime

_WARM_UP_ROUNDS = 50
_PICKLED = (SerializationFormat.JOBLIB, SerializationFormat.PICKLE)
_WITHOUT_SKLEARN = ("xgboost.sklearn.XGBClassifier", "xgboost.sklearn.XGBRFClassifier")
"""Unpickled and asked without scikit-learn; made again from XGBoost's own format, they need it."""


@dataclass(frozen=True)
class ServedModel:
    """A model that is ready to answer."""

    metadata: ModelMetadata
    contract: "Contract" = field(repr=False)
    threshold: float
    """Fraud from this score on."""
    runtime: "Runtime" = field(repr=False)
    loaded_at: str
    """RFC 3339, UTC."""
    load_seconds: float
    proven: bool
    """Whether it has answered golden rows as it did when it was registered."""
    answered_row: Sequence[Any] | None = field(repr=False)
    """A row that the model answers; None when none is known."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features' names, in the model's order."""
        return tuple(feature.name for feature in self.contract.features)


@dataclass(frozen=True)
class _Loaded:
    """What the files of a model version hold, verified."""

    metadata: ModelMetadata
    model: Any
    golden: "GoldenRows | None"
    form: bytes | None
    legacy_form: Any = None
    """The ONNX model that versions without a contract are served by."""


def load_served_model(settings: ServingSettings) -> ServedModel:
    """Loads the model that the settings name, and has it answer its golden rows.

    Raises:
        ModelStoreError: it is not there, not intact, not the one asked for, or no key opens it.
        ModelUnusable: it gives no scores, or others than when it was registered.
    """
    from serving.inference.runtimes import Runtime

    started = time.monotonic()
    loaded = _load(settings)
    contract = _contract(loaded)
    threshold = _threshold(settings, loaded.metadata, contract)
    golden = loaded.golden
    if settings.decision_threshold is not None:
        contract = replace(contract, decides="threshold")
        golden = golden.decided_by_threshold() if golden else None
    own = contract.own(loaded.legacy_form or loaded.model)
    runtime = Runtime(own, _form_runner(loaded, contract, threshold))
    rows = golden.for_model(contract.features) if golden else []
    answered = next(
        (row for row, score in zip(rows, golden.scores if golden else (), strict=True) if score is not None),
        None,
    )
    model = ServedModel(
        metadata=loaded.metadata,
        contract=contract,
        threshold=threshold,
        runtime=runtime,
        loaded_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        load_seconds=time.monotonic() - started,
        proven=golden is not None,
        answered_row=answered,
    )
    if golden is not None:
        _prove(model, golden, settings.max_batch)
        runtime.measure_pace(rows[:64])
    else:
        service_log.warning(
            "the model is unproven: it was registered without golden rows; python scripts/manage_models.py prove",
            extra={"fields": {"model_id": loaded.metadata.model_id}},
        )
    _warm_up(model)
    return model


def _load(settings: ServingSettings) -> _Loaded:
    second = settings.model_runtime_sha256
    with model_files(settings.model_uri, runtime=bool(second)) as directory:
        metadata = _read_manifest(directory / MANIFEST_FILE)
        _require_expected(metadata, settings)
        persistence = _persistence(settings)
        version = {"model_id": metadata.model_id, "model_name": metadata.model_name}

        def data(name: str, digest: str) -> bytes:
            content, _ = persistence.load_model_secure(
                directory / name,
                expected_digest=digest,
                expected_context={**version, "form": name},
                encrypted=metadata.encrypted,
            )
            return content  # type: ignore[no-any-return]

        if metadata.contract is None and second:
            return _Loaded(metadata, None, None, None, data(RUNTIME_FILE, second))
        if metadata.contract and metadata.serializer in _PICKLED and metadata.model_class in _WITHOUT_SKLEARN:
            import_xgboost_alone()
        model, _ = persistence.load_model_secure(
            directory / ARTIFACT_FILE,
            expected_digest=settings.model_sha256,
            expected_context=encryption_context(metadata),
            encrypted=metadata.encrypted,
            trusted=settings.trusted_types,
        )
        if metadata.contract is None:
            return _Loaded(metadata, model, None, None)
        from model_store.contract.attachments import read_golden
        from model_store.contract.contract import Contract

        contract = Contract.from_dict(metadata.contract, metadata.feature_schema)
        golden = read_golden(data(GOLDEN_FILE, metadata.attachments[GOLDEN_FILE][0]), contract)
        return _Loaded(metadata, model, golden, data(RUNTIME_FILE, second) if second else None)


def _read_manifest(path: Path) -> ModelMetadata:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileMissing(f"{path}: there is no such manifest") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableModel(f"{path}: the manifest cannot be read ({error})") from None
    return ModelMetadata.from_manifest(require_manifest(manifest), ModelStatus.TRAINED)


def _require_expected(metadata: ModelMetadata, settings: ServingSettings) -> None:
    if metadata.model_id != settings.model_id:
        raise ContextMismatch(f"the manifest is of {metadata.model_id}, MODEL_ID says {settings.model_id}")
    if metadata.digest != settings.model_sha256:
        raise ChecksumMismatch(f"the manifest's digest is {metadata.digest}, MODEL_SHA256 says {settings.model_sha256}")
    if settings.model_runtime_sha256 and metadata.runtime_digest != settings.model_runtime_sha256:
        raise ChecksumMismatch(
            f"the manifest's optimized form is {metadata.runtime_digest or 'none'}, MODEL_RUNTIME_SHA256 says "
            f"{settings.model_runtime_sha256}"
        )
    if metadata.runtime_digest and not settings.model_runtime_sha256:
        service_log.warning(
            "MODEL_RUNTIME_SHA256 is not set, so the model's own library answers: the manifest has a faster form",
            extra={"fields": {"model_id": metadata.model_id, "runtime_digest": metadata.runtime_digest}},
        )


def _persistence(settings: ServingSettings) -> SecureModelPersistence:
    keys = Keyring.from_files(settings.model_key_file) if settings.model_key_file else Keyring.from_environment()
    return SecureModelPersistence(keys=keys)


def _contract(loaded: _Loaded) -> "Contract":
    """The version's contract; of one that was registered without, what the model itself tells."""
    from model_store.contract.contract import Contract, build_contract
    from model_store.contract.features import Feature

    metadata = loaded.metadata
    if metadata.contract is not None:
        return Contract.from_dict(metadata.contract, metadata.feature_schema)
    if not metadata.feature_names:
        raise ModelUnusable(f"{metadata.model_id} does not say which features it takes; register it with a schema")
    if loaded.legacy_form is not None:
        features = tuple(Feature(name=name) for name in metadata.feature_names)
        return Contract("binary", "predict_proba", (0, 1), -1, 0.5, "default", False, features)
    try:
        return build_contract(loaded.model, described=metadata.feature_schema)
    except InvalidInput as error:
        raise ModelUnusable(f"{metadata.model_id}: {error}; register its file again") from None


def _threshold(settings: ServingSettings, metadata: ModelMetadata, contract: "Contract") -> float:
    if settings.decision_threshold is not None:
        return settings.decision_threshold
    if metadata.contract is None:
        # Versions without a contract are decided as they were when they were registered.
        told = float(metadata.performance_metrics.get("threshold", contract.threshold))
        return told if 0 <= told <= 1 else contract.threshold
    return contract.threshold


def _form_runner(loaded: _Loaded, contract: "Contract", threshold: float) -> Any:
    if loaded.form is None:
        return None
    from model_store.contract.attachments import read_form
    from model_store.contract.form import FormRunner

    return FormRunner(read_form(loaded.form, contract), threshold)


def _prove(model: ServedModel, golden: "GoldenRows", max_batch: int) -> None:
    """Answers the golden rows as requests are answered: from JSON, in batches and one by one."""
    from model_store.contract.golden import difference
    from model_store.contract.own import RowRefused
    from serving.inference.transactions import InvalidRequest, TransactionReader

    reader = TransactionReader(model.contract.features, max_batch)
    names = model.feature_names
    answers: list[float | None] = [None] * len(golden.rows)
    readable: list[tuple[int, Any]] = []
    for number, row in enumerate(golden.rows):
        body = json.dumps({"transaction": dict(zip(names, row, strict=True))}).encode()
        try:
            readable.append((number, reader.rows(body)[0]))
        except InvalidRequest:
            continue
    for start in range(0, len(readable), max_batch):
        part = readable[start : start + max_batch]
        for (number, _), score in zip(part, model.runtime.compute_each([row for _, row in part]), strict=True):
            answers[number] = None if isinstance(score, RowRefused) else score
    for number, row in readable[:: max(1, len(readable) // 200)]:
        alone = model.runtime.one(row)
        if alone is not None and alone != answers[number]:
            together = answers[number]
            if together is None or abs(alone - together) > 1e-9:
                raise _unproven(model, f"golden row {number} has another answer alone than among others")
    # A row that the contract refuses before the model sees it is refused as it should be.
    known = {number for number, _ in readable}
    kept = [number for number in range(len(answers)) if number in known]
    chosen = type(golden)(tuple(golden.rows[each] for each in kept), tuple(golden.scores[each] for each in kept))
    _, wrong = difference(chosen, [answers[each] for each in kept], model.threshold)
    if wrong:
        raise _unproven(model, wrong)
    model.runtime.by_form = model.runtime.by_own = 0


def _unproven(model: ServedModel, wrong: str) -> ModelUnusable:
    return ModelUnusable(
        f"{model.metadata.model_id} does not answer as it did when it was registered: {wrong}; libraries then: "
        + ", ".join(f"{name} {version}" for name, version in sorted(model.metadata.library_versions.items()))
    )


def _warm_up(model: ServedModel) -> None:
    row = model.answered_row
    if row is None:
        row = [0.0 if feature.is_numeric else None for feature in model.contract.features]
        if not all(feature.is_numeric for feature in model.contract.features):
            return
    model_id = model.metadata.model_id
    try:
        for _ in range(_WARM_UP_ROUNDS):
            model.runtime.predict_inline([row])
        (score,) = model.runtime.compute([row])
    except Exception as error:
        raise ModelUnusable(f"{model_id} gives no probabilities ({type(error).__name__}: {error})") from None
    if not (math.isfinite(score) and 0 <= score <= 1):
        raise ModelUnusable(f"{model_id} returned {score}; a probability lies between 0 and 1")
    model.runtime.by_form = model.runtime.by_own = 0
