"""Searches model versions by tag and metric, and sorts them."""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model_store.errors import InvalidInput
from model_store.registry.files.manifest import ModelMetadata

_NUMBER = r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_CONDITION = re.compile(rf"\s*([A-Za-z_][\w.-]*)\s*(>=|<=|==|!=|>|<|=)\s*({_NUMBER})\s*")
_COMPARE: dict[str, Any] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
_FIELDS = ("created_at", "model_id", "model_name", "size_bytes", "status", "version")


@dataclass(frozen=True)
class Condition:
    """A condition on one metric, such as `accuracy>0.95`."""

    metric: str
    comparison: str
    number: float

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Reads a condition.

        Raises:
            InvalidInput: it is not one; says what is allowed.
        """
        parts = _CONDITION.fullmatch(text)
        if parts is None:
            raise InvalidInput(f"condition {text!r} is not allowed; allowed: a metric, one of > >= < <= = !=, a number")
        return cls(parts[1], parts[2], float(parts[3]))

    def is_met(self, metrics: Mapping[str, float]) -> bool:
        """Whether metrics meet it; those without the metric do not."""
        value = metrics.get(self.metric)
        return value is not None and bool(_COMPARE[self.comparison](value, self.number))


def search(
    models: Iterable[ModelMetadata],
    *,
    tags: Sequence[str] = (),
    metrics: Sequence[str] = (),
    sort: str = "created_at",
    limit: int | None = None,
) -> list[ModelMetadata]:
    """The model versions that meet every condition.

    Args:
        models: to search among.
        tags: a version must have all of them.
        metrics: conditions such as `accuracy>0.95`; a version without the metric does not meet one.
        sort: a field or a metric, `-` before it for descending; versions without the metric come last.
        limit: how many at most.

    Raises:
        InvalidInput: a condition or a sort order is not allowed; says what is allowed.
    """
    conditions = [Condition.parse(text) for text in metrics]
    found = [
        model
        for model in models
        if set(tags) <= set(model.tags) and all(each.is_met(model.performance_metrics) for each in conditions)
    ]
    return _sorted(found, sort)[:limit]


def _sorted(models: list[ModelMetadata], order: str) -> list[ModelMetadata]:
    name, descending = order.removeprefix("-"), order.startswith("-")
    if name in _FIELDS:
        return sorted(models, key=lambda model: (getattr(model, name), model.model_id), reverse=descending)
    having = [model for model in models if name in model.performance_metrics]
    if models and not having:
        raise InvalidInput(f"order {order!r} is not allowed; allowed: {', '.join(_FIELDS)}, or a metric that is there")
    having.sort(key=lambda model: model.performance_metrics[name], reverse=descending)
    return having + [model for model in models if name not in model.performance_metrics]
