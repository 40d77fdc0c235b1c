"""Makes contract, golden rows and optimized form of a fitted model, and checks them against its answers.

proven = prove(model, Claims(positive_class="fraud"))
proven.contract, proven.golden, proven.form
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from model_store.contract.asking import base_row, with_gap_types, with_known_gaps
from model_store.contract.contract import Contract, build_contract, with_ranks
from model_store.contract.form import Form, FormRunner, build_form
from model_store.contract.golden import GoldenRows, difference, golden_rows
from model_store.contract.made_rows import made_rows
from model_store.contract.own import RowRefused, is_gap, one_line
from model_store.contract.structure import read_structure
from model_store.errors import InvalidInput, ModelStoreError

_ASKED_ALONE = 24
"""Golden rows that are asked about one by one, too."""
_REFERENCE_ROWS = 5000


@dataclass(frozen=True)
class Claims:
    """What a data scientist claims about a model."""

    positive_class: Any | None = None
    threshold: float | None = None
    features: Sequence[Mapping[str, Any]] = ()
    sample: Path | None = None
    """CSV or Parquet file with some training rows."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Library versions as the model's file has them."""


@dataclass(frozen=True)
class Proven:
    """A model with its proof."""

    contract: Contract
    golden: GoldenRows
    form: Form | None
    reason: str
    """Why there is no optimized form; empty when there is one."""
    largest_difference: float
    """Of the optimized form from the model's own answers to the golden rows."""


def servable(model: Any) -> Any:
    """The model as this project keeps it: boosters get the interface of their library's classifiers.

    Raises:
        InvalidInput: a booster that gives no probabilities; names its objective.
    """
    module, name = type(model).__module__, type(model).__name__
    if module.startswith("xgboost.") and name == "Booster":
        return _wrap_booster(model)
    if module.startswith("xgboost.") and name in ("XGBRanker", "XGBRegressor", "XGBRFRegressor"):
        return _wrap_booster(model.get_booster(), model.missing)
    if module.startswith("lightgbm.") and name == "Booster":
        from model_store.serialization.native_models import LightGBMModel

        return LightGBMModel(str(model.model_to_string()))
    return model


def _wrap_booster(booster: Any, missing: float | None = None) -> Any:
    from xgboost import XGBClassifier

    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    if not objective.startswith(("binary:logistic", "reg:logistic", "multi:soft")):
        raise InvalidInput(f"XGBoost's objective {objective} gives no probability of fraud; register a classifier")
    best = booster.attr("best_iteration")
    found = XGBClassifier()
    found.load_model(bytearray(booster.save_raw("ubj")))
    if best is not None:
        found.get_booster().set_attr(best_iteration=best)
    if missing is not None:
        found.missing = missing
    return found


def prove(model: Any, claims: Claims, *, form: bool = True) -> Proven:
    """Makes everything that is registered with a model.

    Args:
        model: fitted, as `servable` returns it.
        claims: what is said of it.
        form: whether an optimized form is made where there is an exact one.

    Raises:
        InvalidInput: a claim contradicts the model, or the model cannot be served; says why.
    """
    from model_store.contract.sample import sample_rows, with_sample

    contract = build_contract(
        model,
        positive_class=claims.positive_class,
        threshold=claims.threshold,
        described=claims.features,
        versions=claims.versions,
    )
    if claims.sample is not None:
        lightgbm = type(model).__module__.startswith("lightgbm.")
        contract = with_sample(contract, claims.sample, underscored=lightgbm)
    base = base_row(contract, model)
    structure = read_structure(model, contract)
    if contract.output == "anomaly_score":
        reference = sample_rows(contract, claims.sample, _REFERENCE_ROWS) if claims.sample else None
        contract = with_ranks(contract, model, reference or made_rows(contract, structure, base))
    contract = with_gap_types(contract, model, made_rows(contract, structure, base))
    contract = with_known_gaps(contract, model, base)
    golden = golden_rows(contract, model, structure, base)
    _require_independent(contract, model, golden)
    _require_kept(contract, golden)
    if not form:
        return Proven(contract, golden, None, "no optimized form was asked for", 0.0)
    try:
        made = build_form(contract, structure)
        largest = check_form(made, contract, model, golden)
        made.to_bytes()
    except ModelStoreError as error:
        return Proven(contract, golden, None, str(error), 0.0)
    except Exception as error:
        reason = f"its optimized form failed ({type(error).__name__}: {one_line(error)})"
        return Proven(contract, golden, None, reason, 0.0)
    return Proven(contract, golden, made, "", largest)


def _require_independent(contract: Contract, model: Any, golden: GoldenRows) -> None:
    """Raises InvalidInput unless rows have the same answer alone as among others, which a service makes of them."""
    own = contract.own(model)
    step = max(1, len(golden.rows) // _ASKED_ALONE)
    chosen = replace(golden, rows=golden.rows[::step], scores=golden.scores[::step])
    rows = chosen.for_model(contract.features)
    answers = [own.scores_one_by_one([row])[0] for row in rows]
    alone = [None if isinstance(answer, RowRefused) else answer for answer in answers]
    if difference(chosen, alone, contract.threshold)[1]:
        raise InvalidInput(
            "the model's answer to a row depends on the other rows of the same call, and a service answers rows of "
            "several callers at once; keep it with --registry-only, or replace the step that compares rows"
        )


def _require_kept(contract: Contract, golden: GoldenRows) -> None:
    """Raises InvalidInput unless contract and golden rows survive writing and reading."""
    try:
        schema = json.loads(json.dumps([each.to_dict() for each in contract.features], allow_nan=False))
        Contract.from_dict(json.loads(json.dumps(contract.to_dict(), allow_nan=False)), schema)
        GoldenRows.from_bytes(golden.to_bytes())
    except (ModelStoreError, ValueError, TypeError) as error:
        raise InvalidInput(f"the model's contract cannot be written down: {one_line(error)}") from None


def check_model(contract: Contract, golden: GoldenRows, model: Any) -> float:
    """The largest difference of a model, converted or loaded again, from the answers to golden rows.

    Raises:
        InvalidInput: an answer, a decision or a refusal differs; names the row.
    """
    rows = golden.for_model(contract.features)
    own = contract.own(model)
    answers = [None if isinstance(each, RowRefused) else each for each in own.scores_one_by_one(rows)]
    largest, wrong = difference(golden, answers, contract.threshold)
    if wrong:
        raise InvalidInput(wrong)
    return float(largest)


def answered_more(contract: Contract, golden: GoldenRows, converted: Any) -> GoldenRows:
    """The golden rows but for those that only the converted model answers, such as numbers past 32 bits."""
    own = contract.own(converted)
    refused = [number for number, score in enumerate(golden.scores) if score is None]
    rows = golden.for_model(contract.features)
    answers = own.scores_one_by_one([rows[number] for number in refused])
    more = {number for number, each in zip(refused, answers, strict=True) if not isinstance(each, RowRefused)}
    return golden.without(more)


def check_form(form: Form, contract: Contract, model: Any, golden: GoldenRows) -> float:
    """The largest difference of an optimized form over the golden rows that a service would hand it.

    Args:
        form: as made, or as read from a file.
        contract: of the model.
        model: answers the rows that the form leaves to its library.
        golden: of the model.

    Raises:
        InvalidInput: an answer of the form differs from the model's; names the row.
    """
    runner, own = FormRunner(form, contract.threshold), contract.own(model)
    rows = [
        (row, score)
        for row, score in zip(golden.for_model(contract.features), golden.scores, strict=True)
        if not refused_by_contract(contract, row)
    ]
    kept = replace(golden, rows=tuple(row for row, _ in rows), scores=tuple(score for _, score in rows))
    scores, needs_own = runner.many(kept.rows)
    answers: list[float | None] = [float(score) for score in scores]
    indexes = [number for number in range(len(answers)) if needs_own[number]]
    for number, answer in zip(indexes, own.scores_one_by_one([kept.rows[index] for index in indexes]), strict=True):
        answers[number] = None if isinstance(answer, RowRefused) else answer
    for number in range(0, len(kept.rows), max(1, len(kept.rows) // 500)):
        one = runner.one(kept.rows[number])
        together = answers[number]
        if one is not None and (together is None or abs(one - together) > 1e-9):
            raise InvalidInput(f"golden row {number} has another answer alone than among others")
    largest, wrong = difference(kept, answers, contract.threshold)
    if wrong:
        raise InvalidInput(f"its optimized form is not the model: {wrong}")
    return float(largest)


def refused_by_contract(contract: Contract, row: Sequence[Any]) -> bool:
    """Whether a service refuses a row before any library sees it: a gap or a category that the model does not take."""
    for feature, value in zip(contract.features, row, strict=True):
        if is_gap(value) or (value == feature.written and value is not None):
            if not feature.gaps:
                return True
        elif feature.unknown == "refused" and feature.kind == "category" and value not in feature.categories:
            return True
    return False
