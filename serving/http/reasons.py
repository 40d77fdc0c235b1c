"""Reasons: `POST /predict?reasons=3` adds to each answer the features that moved it most.

A request without reasons never comes here. Contributions are calculated in a thread of their own, so that other
requests do not wait for them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

import msgspec

from model_store.contract.contributions import Contributions, Explained
from model_store.contract.own import RowRefused
from model_store.errors import InvalidInput
from serving.http.messages import OverrideShown, Prediction, Predictions, Probability
from serving.http.refused import Refused
from serving.inference.model import ServedModel

PARAMETER = "reasons"
MOST_REASONS = 20
"""Maximum reasons for a transaction."""
MOST_ROWS = 100
"""Maximum transactions of a request with reasons: contributions take a hundred times as long as an answer."""
_encode = msgspec.json.Encoder().encode

Rows = Sequence[Sequence[Any]]
Explain = Callable[[bytes, Rows], Awaitable[bytes]]
"""From the answer without reasons, and its rows, to the answer with them."""


class Reason(msgspec.Struct):
    """A feature that moved an answer."""

    feature: str
    contribution: float
    """To the margin of fraud: the log-odds of a booster or a logistic regression."""
    direction: Literal["raises", "lowers"]
    """What the feature does to the probability of fraud."""
    share: Annotated[float, msgspec.Meta(ge=0, le=1)]
    """Of the contributions of all features, without their signs."""


class ExplainedPrediction(Prediction, kw_only=True):
    """The decision on one transaction, and the features that moved it most."""

    reasons: list[Reason]


class ExplainedPredictions(msgspec.Struct):
    """The decisions on the transactions of a request, in their order, with reasons."""

    model_id: str
    threshold: Probability
    request_id: str
    predictions: list[ExplainedPrediction]
    override: OverrideShown | msgspec.UnsetType = msgspec.UNSET


class Reasons:
    """Adds reasons to the answers of one model.

    Args:
        model: that answers.
    """

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self._names = model.feature_names
        self._contributions: Contributions | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reasons")

    def wanted(self, query: bytes) -> Explain | None:
        """What adds the reasons that a query asks for; None when it asks for none.

        Args:
            query: of the request, without the question mark.

        Raises:
            Refused: 422, the number is none that is allowed.
        """
        if PARAMETER.encode() not in query:
            return None
        values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get(PARAMETER)
        if values is None:
            return None
        text = values[0] if len(values) == 1 else ""
        if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST_REASONS):
            message = f"{PARAMETER} has to be one whole number from 1 to {MOST_REASONS}"
            raise Refused(422, "invalid_reasons", message, where=PARAMETER)
        count = int(text)

        async def explain(content: bytes, rows: Rows) -> bytes:
            return await self._explained(content, rows, count)

        return explain

    async def _explained(self, content: bytes, rows: Rows, count: int) -> bytes:
        if len(rows) > MOST_ROWS:
            message = f"a request with reasons has at most {MOST_ROWS} transactions; this one has {len(rows)}"
            raise Refused(422, "too_many_transactions", message, where="transactions")
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, self._calculate, rows)
        except (InvalidInput, RowRefused) as error:
            raise Refused(422, "no_reasons", f"this model gives no reasons: {error}", where=PARAMETER) from None
        answer = msgspec.json.decode(content, type=Predictions)
        return _encode(
            ExplainedPredictions(
                answer.model_id,
                answer.threshold,
                answer.request_id,
                [
                    ExplainedPrediction(
                        each.fraud_probability,
                        each.is_fraud,
                        each.receipt,
                        reasons=largest(self._names, contributions, count),
                    )
                    for each, contributions in zip(answer.predictions, found.contributions.tolist(), strict=True)
                ],
                answer.override,
            )
        )

    def _calculate(self, rows: Rows) -> Explained:
        if self._contributions is None:
            # Only who asks for reasons pays for reading the model's structure.
            self._contributions = Contributions.of(self._model.runtime.own.model, self._model.contract)
        return self._contributions.calculate(rows)


def largest(names: Sequence[str], contributions: Sequence[float], count: int) -> list[Reason]:
    """The features with the largest contributions, largest first; those that contribute nothing are left out.

    Args:
        names: of the features.
        contributions: one a feature.
        count: how many reasons at most.
    """
    total = sum(map(abs, contributions))
    ranked = sorted(range(len(names)), key=lambda number: -abs(contributions[number]))[:count]
    return [
        Reason(
            names[number],
            contributions[number],
            "raises" if contributions[number] > 0 else "lowers",
            min(1.0, abs(contributions[number]) / total),
        )
        for number in ranked
        if contributions[number]
    ]
