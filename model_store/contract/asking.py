"""Asks the model's own library for a row that it answers, and for its treatment of gaps and unknown categories."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from model_store.contract.contract import Contract
from model_store.contract.features import Feature
from model_store.contract.made_rows import changed, ordinary_value, unknown_category
from model_store.contract.own import RowRefused, gap_value
from model_store.errors import InvalidInput

_ROWS_WITH_A_GAP = 100


def with_known_gaps(contract: Contract, model: Any, base: tuple[Any, ...]) -> Contract:
    """Completes a contract by asking the model's library how it treats gaps and unknown categories."""
    own, features = contract.own(model), list(contract.features)
    questions = [(number, changed(base, number, gap_value(feature))) for number, feature in enumerate(features)]
    unknown = [
        (number, changed(base, number, unknown_category(feature)))
        for number, feature in enumerate(features)
        if feature.kind == "category" and feature.categories
    ]
    answers = own.scores_one_by_one([row for _, row in questions + unknown])
    for (number, _), answer in zip(questions, answers, strict=False):
        answered = not isinstance(answer, RowRefused)
        feature = features[number]
        features[number] = replace(feature, gaps=answered if feature.gaps is None else feature.gaps and answered)
    for (number, _), answer in zip(unknown, answers[len(questions) :], strict=True):
        word = "refused" if isinstance(answer, RowRefused) else "answered"
        features[number] = replace(features[number], unknown=word)  # type: ignore[arg-type]
    return replace(contract, features=tuple(features))


def with_gap_types(contract: Contract, model: Any, rows: Sequence[tuple[Any, ...]]) -> Contract:
    """Completes a contract with how a gap among texts reaches the model, None or NaN, where its answers differ.

    What the model has learned comes first, then what it was given and what a sample holds, where they agree.

    Args:
        contract: of the model.
        model: fitted.
        rows: a gap is put into some of them.

    Raises:
        InvalidInput: nothing tells which one the model was trained on; names the feature.
    """
    features = list(contract.features)
    some = rows[:: max(1, len(rows) // _ROWS_WITH_A_GAP)]
    for number, feature in enumerate(features):
        is_text = feature.kind in ("text", "category") and not feature.is_numeric
        if feature.dtype or feature.written is not None or not is_text:
            continue
        with_gap = [changed(row, number, None) for row in some]
        answers = {}
        for dtype in ("object", "str"):
            typed = (*features[:number], replace(feature, dtype=dtype), *features[number + 1 :])
            found = replace(contract, features=typed).own(model).scores_one_by_one(with_gap)
            answers[dtype] = [None if isinstance(each, RowRefused) else float(each) for each in found]
        if answers["object"] != answers["str"]:
            features[number] = replace(feature, dtype=_gap_type(feature, answers))
    return replace(contract, features=tuple(features))


def _gap_type(feature: Feature, answers: Mapping[str, Sequence[float | None]]) -> str:
    """The type of the column, by what is known of its gaps."""
    answering = [dtype for dtype, scores in answers.items() if any(score is not None for score in scores)]
    if len(answering) == 1:
        return answering[0]
    if feature.given_gap == "NaN":
        return "str"
    raise InvalidInput(
        f"feature {feature.name!r}: the model answers a gap as None otherwise than one as NaN, and does not tell which "
        'it was trained on; say it beside the model, in FILE.metrics.json: {"features": [{"name": …, "dtype": '
        '"object"}, …]} for None, "str" for NaN, one object a feature'
        + ("" if feature.given_gap else "; or give training rows with gaps: --sample FILE")
    )


def base_row(contract: Contract, model: Any) -> tuple[Any, ...]:
    """A row that the model answers.

    Raises:
        InvalidInput: the library answers none of the rows tried; repeats the library's message.
    """
    own = contract.own(model)
    refusal = ""
    for choice in range(4):
        row = tuple(ordinary_value(feature, choice) for feature in contract.features)
        try:
            if contract.output == "anomaly_score":
                own.raw(own.table([row]))
            else:
                own.scores([row])
        except RowRefused as error:
            refusal = str(error)
        except Exception as error:
            refusal = " ".join(str(error).split())[:300]
        else:
            return row
    raise InvalidInput(
        f"the model does not answer an ordinary row: {refusal}; give some training rows with --sample FILE, or keep "
        "it without serving it with --registry-only"
    )
