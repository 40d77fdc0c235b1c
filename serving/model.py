"""The model that is served: verified, decrypted, loaded and warmed up before the first request."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from model_store import Keyring, ModelMetadata, ModelStatus, SecureModelPersistence
from model_store.errors import ChecksumMismatch, ContextMismatch, FileMissing, UnreadableModel
from model_store.runtime_form import FILE as RUNTIME_FILE
from serving.errors import ModelUnusable
from serving.model_files import model_files
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from serving.runtimes import Runtime

_DEFAULT_THRESHOLD = 0.5
_WARM_UP_ROUNDS = 50


@dataclass(frozen=True)
class ServedModel:
    """A model that is ready to answer."""

    metadata: ModelMetadata
    threshold: float
    """Fraud from this probability on."""
    runtime: "Runtime" = field(repr=False)
    feature_names: tuple[str, ...]
    loaded_at: str
    """RFC 3339, UTC."""
    load_seconds: float

    def probabilities(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """The probability of fraud for each row.

        Args:
            rows: values in the order of `feature_names`, shape (n, number of features).

        Returns:
            n numbers from 0 to 1.
        """
        return self.runtime.compute(rows)


def load_served_model(settings: ServingSettings) -> ServedModel:
    """Loads the model that the settings name and asks it once.

    Raises:
        ModelStoreError: it is not there, not intact, not the one asked for, or no key opens it.
        ModelUnusable: it gives no probabilities.
    """
    started = time.monotonic()
    second = settings.model_runtime_sha256
    with model_files(settings.model_uri, runtime=bool(second)) as directory:
        metadata = _read_manifest(directory / "manifest.json")
        _require_expected(metadata, settings)
        context = {"model_id": metadata.model_id, "model_name": metadata.model_name}
        loaded, _ = _persistence(settings).load_model_secure(
            directory / (RUNTIME_FILE if second else "artifact"),
            expected_digest=second or settings.model_sha256,
            expected_context={**context, "form": RUNTIME_FILE} if second else context,
            trusted=settings.trusted_types,
        )
    model = ServedModel(
        metadata=metadata,
        threshold=_threshold(settings, metadata),
        runtime=_runtime(loaded, metadata),
        feature_names=metadata.feature_names,
        loaded_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        load_seconds=time.monotonic() - started,
    )
    _warm_up(model)
    return model


def _read_manifest(path: Path) -> ModelMetadata:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileMissing(f"{path}: there is no such manifest") from None
    except (OSError, ValueError) as error:
        raise UnreadableModel(f"{path}: the manifest cannot be read ({error})") from None
    return ModelMetadata.from_manifest(manifest, ModelStatus.TRAINED)


def _require_expected(metadata: ModelMetadata, settings: ServingSettings) -> None:
    if metadata.model_id != settings.model_id:
        raise ContextMismatch(f"the manifest is of {metadata.model_id}, MODEL_ID says {settings.model_id}")
    if metadata.digest != settings.model_sha256:
        raise ChecksumMismatch(f"the manifest's digest is {metadata.digest}, MODEL_SHA256 says {settings.model_sha256}")
    if settings.model_runtime_sha256 and metadata.runtime_digest != settings.model_runtime_sha256:
        raise ChecksumMismatch(
            f"the manifest's second form is {metadata.runtime_digest or 'none'}, MODEL_RUNTIME_SHA256 says "
            f"{settings.model_runtime_sha256}"
        )


def _persistence(settings: ServingSettings) -> SecureModelPersistence:
    keys = Keyring.from_files(settings.model_key_file) if settings.model_key_file else Keyring.from_environment()
    return SecureModelPersistence(keys=keys)


def _threshold(settings: ServingSettings, metadata: ModelMetadata) -> float:
    if settings.decision_threshold is not None:
        return settings.decision_threshold
    return float(metadata.performance_metrics.get("threshold", _DEFAULT_THRESHOLD))


def _runtime(loaded: object, metadata: ModelMetadata) -> "Runtime":
    from serving.runtimes import runtime_for

    if not metadata.feature_names:
        raise ModelUnusable(f"{metadata.model_id} does not say which features it takes; register it with a schema")
    try:
        return runtime_for(loaded, len(metadata.feature_names))
    except Exception as error:
        raise _no_probabilities(metadata.model_id, error) from None


def _no_probabilities(model_id: str, error: Exception) -> ModelUnusable:
    return ModelUnusable(f"{model_id} gives no probabilities ({type(error).__name__}: {error})")


def _warm_up(model: ServedModel) -> None:
    model_id = model.metadata.model_id
    row = [0.0] * len(model.feature_names)
    try:
        for _ in range(_WARM_UP_ROUNDS):
            model.runtime.now([row])
        (probability,) = model.probabilities([row])
    except Exception as error:
        raise _no_probabilities(model_id, error) from None
    if not (math.isfinite(probability) and 0 <= probability <= 1):
        raise ModelUnusable(f"{model_id} gives {probability}, which is no probability")
