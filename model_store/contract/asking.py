"""Asks the model's own library for a row that it answers, and for its treatment of gaps and unknown categories."""

from dataclasses import replace
from typing import Any

from model_store.contract.contract import Contract
from model_store.contract.made_rows import changed, ordinary_value, unknown_category
from model_store.contract.own import RowRefused, gap_value
from model_store.errors import InvalidInput


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
