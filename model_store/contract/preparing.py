"""Prepares a model for a registry: contract, golden rows, optimized form, metrics.

prepared = prepare(model, PreparationOptions(positive_class="fraud"))
prepared.proven.contract, prepared.serializer, prepared.parameters
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from model_store.contract.conversion import require_same, through
from model_store.contract.options import PreparationOptions
from model_store.contract.proving import Claims, Proven, prove, servable
from model_store.contract.sample import holdout_metrics, training_table
from model_store.serialization.formats import SerializationFormat, native_format, serializer_named
from model_store.serialization.lineage import detect_model_type, read_feature_schema, read_parameters


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


def prepare(model: Any, options: PreparationOptions) -> Prepared:
    """Prepares everything that a version of a model holds.

    Raises:
        InvalidInput: a claim contradicts the model, or it cannot be served or written in that format.
        FileMissing: there is no such sample or holdout.
    """
    options.require_consistent()
    asked_format = serializer_named(options.format_type)
    model_type, model = options.model_type or detect_model_type(model), servable(model)
    claims = Claims(
        options.positive_class,
        options.threshold,
        tuple(options.feature_schema or ()),
        options.sample or training_table(options.training_data),
        options.versions,
    )
    proven = None if options.registry_only else prove(model, claims, form=options.runtime)
    metrics: dict[str, float] = {}
    if options.holdout is not None and options.label is not None and proven is not None:
        metrics = holdout_metrics(proven.contract, model, options.holdout, options.label)
    serializer = native_format(model) or asked_format
    if proven is not None and serializer not in (SerializationFormat.JOBLIB, SerializationFormat.PICKLE):
        _, golden = require_same(proven.contract, proven.golden, through(model, serializer), serializer)
        proven = replace(proven, golden=golden)
    schema = (
        [each.to_dict() for each in proven.contract.features]
        if proven
        else [dict(item) for item in options.feature_schema or read_feature_schema(model)]
    )
    return Prepared(
        model, model_type, serializer, proven, metrics, schema, read_parameters(model), dict(options.versions)
    )
