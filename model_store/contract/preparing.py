"""A model on its way into a registry: what is asked of it, and everything that its version will hold.

prepared = prepare(model, Wanted(positive_class="fraud"))
prepared.proven.contract, prepared.serializer, prepared.parameters
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from model_store.contract.conversion import require_same, through
from model_store.contract.proving import Claims, Proven, prove, servable
from model_store.contract.sample import holdout_metrics, training_table
from model_store.errors import InvalidInput
from model_store.serialization.formats import SerializationFormat, native_format, serializer_named
from model_store.serialization.lineage import feature_schema_of, model_type_of, parameters_of


@dataclass(frozen=True)
class Wanted:
    """What is asked of a model, and said of it, when it is registered.

    Attributes:
        model_type: such as `XGBoost`; told from the estimator when not given.
        feature_schema: one object a feature; adds to what the estimator tells.
        format_type: of the artifact.
        runtime: whether an optimized form is made where there is one that provably answers as the model does.
        positive_class: the class that is fraud.
        threshold: fraud from this score on, 0 to 1.
        sample: CSV or Parquet file with some training rows.
        training_data: a file of what it was trained on; a table serves as a sample.
        holdout: labelled rows that metrics are calculated from.
        label: the column of `holdout` that holds the class.
        versions: library versions as the model's file has them.
        registry_only: keep a model that no service can serve.
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


@dataclass(frozen=True)
class Prepared:
    """A model that can be registered as it is.

    Attributes:
        model: an estimator, or a `SerializedModel` of one that another process has read.
        model_type: its type.
        serializer: the format of its artifact.
        proven: contract, golden rows and optimized form; None for one that is kept without being served.
        metrics: calculated from the holdout.
        feature_schema: one object a feature.
        parameters: those that the estimator was made with.
        versions: library versions as the model's file has them.
    """

    model: Any
    model_type: str
    serializer: SerializationFormat
    proven: Proven | None
    metrics: Mapping[str, float]
    feature_schema: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any]
    versions: Mapping[str, str]


def prepare(model: Any, wanted: Wanted) -> Prepared:
    """Everything that a version of this model will hold.

    Raises:
        InvalidInput: a claim contradicts the model, or it cannot be served or written in that format.
        FileMissing: there is no such sample or holdout.
    """
    asked_format = serializer_named(wanted.format_type)
    model_type, model = wanted.model_type or model_type_of(model), servable(model)
    claims = Claims(
        wanted.positive_class,
        wanted.threshold,
        tuple(wanted.feature_schema or ()),
        wanted.sample or training_table(wanted.training_data),
        wanted.versions,
    )
    if wanted.label and not wanted.holdout:
        raise InvalidInput("--label names a column of --holdout FILE, which is missing")
    proven = None if wanted.registry_only else prove(model, claims, form=wanted.runtime)
    metrics: dict[str, float] = {}
    if wanted.holdout is not None and proven is not None:
        if wanted.label is None:
            raise InvalidInput("a holdout needs the name of the column that holds the class: --label COLUMN")
        metrics = holdout_metrics(proven.contract, model, wanted.holdout, wanted.label)
    serializer = native_format(model) or asked_format
    if proven is not None and serializer not in (SerializationFormat.JOBLIB, SerializationFormat.PICKLE):
        _, golden = require_same(proven.contract, proven.golden, through(model, serializer), serializer)
        proven = replace(proven, golden=golden)
    schema = (
        [each.to_dict() for each in proven.contract.features]
        if proven
        else [dict(item) for item in wanted.feature_schema or feature_schema_of(model)]
    )
    return Prepared(model, model_type, serializer, proven, metrics, schema, parameters_of(model), dict(wanted.versions))
