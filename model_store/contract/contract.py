"""A model's contract: what a service needs to know to answer as the model does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast, get_args

import numpy as np

from model_store.contract.decision import (
    DEFAULT_THRESHOLD,
    list_classes,
    own_threshold,
    positive_index,
    require_one_answer_a_class,
    require_threshold,
)
from model_store.contract.feature_reader import read_features
from model_store.contract.features import Feature, own_names, require_unique, takes_texts
from model_store.contract.own import AnomalyRanks, Output, OwnModel, choose_output
from model_store.errors import InvalidInput, UnreadableModel

Decides = Literal["threshold", "model"]
ANOMALY_CLASSES = ("usual", "anomaly")


@dataclass(frozen=True)
class Contract:
    """The contract of a model."""

    task: str
    """`binary`, `multiclass` or `anomaly`."""
    output: Output
    classes: tuple[Any, ...]
    positive_index: int
    threshold: float
    """Fraud from this score on, compared in 64 bits."""
    threshold_origin: str
    """`default`, `given` or `estimator`."""
    framed: bool
    """Whether the model takes a data frame."""
    features: tuple[Feature, ...]
    decides: Decides = "threshold"
    """`model` where no threshold on the score says what the model's own `predict` decides."""
    texts: bool = False
    """Whether the model takes a row of texts, one for each transaction, instead of a table."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Library versions as the model's file has them."""
    ranks: AnomalyRanks | None = None
    golden: Mapping[str, Any] | None = None
    """Of the golden rows: `digest`, `rows`, `refused`, `leaves`, `leaves_reached`; None for a version that has none."""

    @property
    def positive_class(self) -> Any:
        """The class that is fraud."""
        return self.classes[self.positive_index]

    def own(self, model: Any) -> OwnModel:
        """The model with this contract."""
        return OwnModel(
            model,
            self.features,
            framed=self.framed,
            output=self.output,
            positive_index=self.positive_index,
            ranks=self.ranks,
            decided_as=self.positive_class if self.decides == "model" else None,
            texts=self.texts,
        )

    def to_dict(self) -> dict[str, Any]:
        """As the manifest has it; the features are the manifest's feature schema."""
        return {
            "task": self.task,
            "output": self.output,
            "classes": list(self.classes),
            "positive_class": self.positive_class,
            "positive_index": self.positive_index,
            "threshold": self.threshold,
            "threshold_origin": self.threshold_origin,
            "decides": self.decides,
            "input": "texts" if self.texts else "frame" if self.framed else "array",
            "versions": dict(self.versions),
            "ranks": {"inside": list(self.ranks.inside), "outside": list(self.ranks.outside)} if self.ranks else None,
            "golden": dict(self.golden) if self.golden else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], features: Sequence[Mapping[str, Any]]) -> "Contract":
        """Reads a manifest's contract.

        Raises:
            UnreadableModel: a field is missing or of another kind.
        """
        try:
            ranks = values["ranks"]
            found = cls(
                task=str(values["task"]),
                output=values["output"],
                classes=tuple(values["classes"]),
                positive_index=int(values["positive_index"]),
                threshold=require_threshold(values["threshold"]),
                threshold_origin=str(values["threshold_origin"]),
                framed=values["input"] == "frame",
                texts=values["input"] == "texts",
                decides=values.get("decides", "threshold"),
                features=tuple(Feature.from_dict(each) for each in features),
                versions=dict(values["versions"]),
                ranks=AnomalyRanks(tuple(ranks["inside"]), tuple(ranks["outside"])) if ranks else None,
                golden=values["golden"],
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, InvalidInput) as error:
            raise UnreadableModel(f"the manifest's contract cannot be read ({error})") from None
        if not all(isinstance(each, str | int | float) for each in found.classes):
            raise UnreadableModel("the manifest's contract has a class that is not a text, a number or a truth value")
        if found.decides not in get_args(Decides):
            raise UnreadableModel("the manifest's contract has another way to decide than there are")
        if not 0 <= found.positive_index < len(found.classes) or found.output not in _OUTPUTS:
            raise UnreadableModel("the manifest's contract names a class or an output that there is not")
        return found


_OUTPUTS = ("predict_proba", "decision_function", "anomaly_score")


def build_contract(
    model: Any,
    *,
    positive_class: Any | None = None,
    threshold: float | None = None,
    described: Sequence[Mapping[str, Any]] = (),
    versions: Mapping[str, str] | None = None,
) -> Contract:
    """The contract of a fitted model, from the model first.

    Args:
        model: fitted.
        positive_class: the class that is fraud, where the classes do not say so.
        threshold: fraud from this score on; the model's own when not given, else 0.5.
        described: a description of the features; may add to the model's own, not contradict it.
        versions: library versions as the model's file has them.

    Raises:
        InvalidInput: an argument contradicts the model, or the model cannot be served; says why.
    """
    _require_probabilities(model)
    output = choose_output(model)
    if output == "anomaly_score":
        classes: list[Any] = list(ANOMALY_CLASSES)
        index = 1
        if positive_class is not None:
            raise InvalidInput(f"{type(model).__name__} tells anomalies; it has no positive class")
    else:
        classes = list_classes(model)
        index = positive_index(classes, positive_class)
        if output == "decision_function":
            require_one_answer_a_class(model, classes)
    own = None if output == "anomaly_score" else own_threshold(model, classes[index])
    given = None if threshold is None else require_threshold(threshold)
    decided, by_score = own if own is not None else (None, True)
    chosen = next((each for each in (given, decided) if each is not None), DEFAULT_THRESHOLD)
    if not 0 <= chosen <= 1:
        raise InvalidInput(f"the model's own threshold is {chosen:g}; a threshold lies between 0 and 1")
    features, framed = read_features(model)
    texts = takes_texts(model)
    return Contract(
        task="anomaly" if output == "anomaly_score" else "binary" if len(classes) == 2 else "multiclass",
        output=output,
        classes=tuple(classes),
        positive_index=index,
        threshold=chosen,
        threshold_origin="given" if given is not None else "estimator" if own is not None else "default",
        framed=framed,
        features=tuple(merged(features, described, **_naming_facts(model))),
        decides="threshold" if by_score or given is not None else "model",
        texts=texts,
        versions=dict(versions or {}),
    )


def _require_probabilities(model: Any) -> None:
    """Raises InvalidInput for a booster whose `predict_proba` returns something else."""
    objective = getattr(model, "objective", None)
    if type(model).__module__.startswith("xgboost.") and objective == "binary:logitraw":
        raise InvalidInput(
            "XGBoost's objective binary:logitraw returns margins, not probabilities; use binary:logistic"
        )


def _names_itself(model: Any) -> bool:
    names = own_names(model)
    return names is not None and [str(each) for each in names] != [f"Column_{n}" for n in range(len(names))]


def _naming_facts(model: Any) -> dict[str, bool]:
    """What `merged` has to know of a model."""
    return {
        "named": _names_itself(model),
        "gap_is_known": hasattr(model, "missing"),
        "underscored": type(model).__module__.startswith("lightgbm."),
    }


def merged(
    features: Sequence[Feature],
    described: Sequence[Mapping[str, Any]],
    *,
    named: bool,
    gap_is_known: bool = False,
    underscored: bool = False,
) -> list[Feature]:
    """The model's features with what a description adds.

    Args:
        features: as the model tells them.
        described: from a description.
        named: whether the model names its features.
        gap_is_known: whether the model tells what it takes for a gap.
        underscored: whether the model has written underscores for spaces in its names, as LightGBM does.

    Raises:
        InvalidInput: the description has other features, another order, or a type that the model contradicts.
    """
    if not described:
        return list(features)
    given = [Feature.from_dict(each) for each in described]
    names, own = [each.name for each in given], [each.name for each in features]
    require_unique(names)
    if len(names) != len(own):
        raise InvalidInput(f"the description has {len(names)} features, the model takes {len(own)}")
    if named and names != own and not (underscored and [each.replace(" ", "_") for each in names] == own):
        if sorted(names) != sorted(own):
            odd = sorted(set(names) ^ set(own))
            raise InvalidInput(f"the description and the model do not name the same features: {', '.join(odd)}")
        position = next(number for number, (a, b) in enumerate(zip(names, own, strict=True)) if a != b)
        raise InvalidInput(
            f"the description has the features in another order than the model: number {position + 1} is "
            f"{names[position]!r} there and {own[position]!r} in the model"
        )
    if gap_is_known:
        for known, told in zip(features, given, strict=True):
            if told.written is not None and told.written != known.written:
                raise InvalidInput(
                    f"feature {told.name!r} writes a gap as {told.written!r} in the description; the model takes "
                    f"{'NaN' if known.written is None else known.written!r} for one"
                )
    return [_with_description(known, told) for known, told in zip(features, given, strict=True)]


def _with_description(known: Feature, told: Feature) -> Feature:
    kind = known.kind
    if told.kind == "boolean" and known.kind == "number" and any(not 0 <= each <= 1 for each in known.usual):
        raise InvalidInput(f"feature {told.name!r} is a boolean in the description; the model compares it with others")
    if told.kind != "number" and told.kind != known.kind:
        if known.kind != "number" and not (known.kind == "category" and told.kind in ("text", "integer")):
            raise InvalidInput(
                f"feature {told.name!r} is a {told.kind} in the description and a {known.kind} in the model"
            )
        kind = told.kind if known.kind == "number" else known.kind
    if told.categories and known.categories and set(told.categories) - set(known.categories):
        odd = sorted(set(told.categories) - set(known.categories), key=str)[0]
        raise InvalidInput(f"feature {told.name!r}: the model does not know the category {odd!r}")
    low, high = told.minimum, told.maximum
    if low is not None and high is not None and low > high:
        raise InvalidInput(f"feature {told.name!r}: minimum {low:g} is above maximum {high:g}")
    usual = known.usual or _between(told)
    return replace(
        known, name=told.name, kind=kind, gaps=told.gaps if told.gaps is not None else known.gaps,
        written=told.written if told.written is not None else known.written,
        categories=known.categories or told.categories, minimum=known.minimum if low is None else low,
        maximum=known.maximum if high is None else high, bins=told.bins, usual=usual,
        dtype=known.dtype or told.dtype,
    )  # fmt: skip


def _between(told: Feature) -> tuple[float, ...]:
    edges = cast("Sequence[float]", (told.bins or {}).get("edges") or ())
    ends = [each for each in (told.minimum, told.maximum) if each is not None]
    return tuple(sorted({*(float(each) for each in edges), *(float(each) for each in ends)}))


def with_ranks(contract: Contract, model: Any, rows: Sequence[Sequence[Any]]) -> Contract:
    """An anomaly detector's contract with the ranks of its scores among those of reference rows."""
    if contract.output != "anomaly_score":
        return contract
    # Made-up rows hold gaps and extremes that a detector can refuse, so ranks are not taken from them.
    scores = np.asarray(contract.own(model).raw_scores(rows), dtype=np.float64)
    return replace(contract, ranks=AnomalyRanks.of(scores[np.isfinite(scores)]))
