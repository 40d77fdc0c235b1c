"""What a data scientist can say of a model when it is registered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_store.errors import InvalidInput
from model_store.serialization.formats import SerializationFormat, serializer_named


@dataclass(frozen=True, kw_only=True)
class PreparationOptions:
    """How a model is prepared for its registration.

    Attributes:
        model_type: such as `XGBoost`; None: the estimator's own.
        feature_schema: one object a feature, in the model's order. Each adds to what the estimator knows (`name`,
            `type`, `gaps`, `minimum`, `maximum`, `bins`) and may not contradict it.
        format_type: of the artifact.
        runtime: whether to make an optimized form, where one provably answers as the model does.
        positive_class: the class that is fraud; required where the classes do not show it.
        threshold: lowest score that is fraud, 0 to 1; None: the estimator's own, else 0.5.
        sample: CSV or Parquet file with some training rows; fills what an estimator does not know. No row is stored.
        training_data: file that the model was trained on, recorded by name and SHA-256; a table also serves as sample.
        holdout: CSV or Parquet file with labelled rows outside the training data; metrics are calculated from it.
        label: column of `holdout` that holds the class.
        versions: library versions that the model's file names.
        registry_only: whether to store a model that no service can serve; it has no contract.
    """

    model_type: str | None = None
    feature_schema: Sequence[Mapping[str, Any]] | None = None
    format_type: SerializationFormat | str = SerializationFormat.JOBLIB
    runtime: bool = True
    positive_class: Any | None = None
    threshold: float | None = None
    sample: Path | None = None
    training_data: Path | None = None
    holdout: Path | None = None
    label: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    registry_only: bool = False

    def require_consistent(self) -> None:
        """Raises InvalidInput unless the options are allowed together, for every model.

        Raises:
            InvalidInput: the format or the threshold is none, or only one of holdout and label is given.
        """
        serializer_named(self.format_type)
        if self.threshold is not None:
            from model_store.contract.decision import require_threshold

            require_threshold(self.threshold)
        if self.label and not self.holdout:
            raise InvalidInput("--label names a column of --holdout FILE, which is missing")
        if self.holdout is not None and not self.label:
            raise InvalidInput("a holdout needs the name of the column that holds the class: --label COLUMN")
