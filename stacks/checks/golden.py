"""Whether an endpoint answers as the model did: some golden rows, asked over the wire."""

import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from conventions.regular_files import read_text
from stacks.checks.asking import ask
from stacks.checks.health import Check

if TYPE_CHECKING:
    from model_store.contract.contract import Contract
    from model_store.contract.golden import GoldenRows

TOLERANCE = 1e-6
"""How far an answer may differ from the model's own."""
NAME = "golden rows"
_ANSWERED_ROWS, _REFUSED_ROWS, _ALONE = 24, 4, 3
_MOST_BYTES = 200_000
_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Asked:
    """A row of a model version, as a request has it, and what the model answers to it."""

    transaction: dict[str, Any]
    score: float | None
    """The model's own score; None where the model or its contract refuses the row."""
    threshold: float | None = None
    """The version's own; at another one of the endpoint's, that one decides and not the model. None: unknown."""


def choose_rows(contract: "Contract", golden: "GoldenRows") -> list[Asked]:
    """Golden rows from all over: most of them answered, a few refused, together no longer than a request may be."""
    from model_store.contract.proving import refused_by_contract

    names = [feature.name for feature in contract.features]
    scores = [
        None if refused_by_contract(contract, row) else score
        for row, score in zip(golden.for_model(contract.features), golden.scores, strict=True)
    ]
    answered = [number for number, score in enumerate(scores) if score is not None]
    refused = [number for number, score in enumerate(scores) if score is None]
    chosen: list[Asked] = []
    size = 0
    for number in [*_spread(answered, _ANSWERED_ROWS), *_spread(refused, _REFUSED_ROWS)]:
        transaction = dict(zip(names, golden.rows[number], strict=True))
        asked = Asked(transaction, scores[number], contract.threshold)
        size += len(json.dumps(asked.transaction))
        if chosen and size > _MOST_BYTES:
            break
        chosen.append(asked)
    return chosen


def _spread(numbers: Sequence[int], count: int) -> list[int]:
    return list(numbers[:: max(1, len(numbers) // count)])[:count]


def ask_golden_rows(url: str, api_key_file: Path, rows: Sequence[Asked], verify: ssl.SSLContext | bool = True) -> Check:
    """Asks an endpoint rows of the model version that it should serve: in one request, and some of them alone.

    Args:
        url: of the endpoint.
        api_key_file: file with an API key that has the scope `predict`.
        rows: as `choose_rows` chooses them.
        verify: how an endpoint with TLS is verified.
    """
    try:
        headers = {"X-API-Key": read_text(api_key_file).strip()}
    except OSError as error:
        return Check(NAME, healthy=False, detail=f"{api_key_file}: cannot be read ({error.strerror})")
    answered = [row for row in rows if row.score is not None]
    try:
        with httpx.Client(
            base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS, trust_env=False, verify=verify
        ) as client:
            wrong = _ask_together(client, answered) if answered else ""
            for row in [*answered[:_ALONE], *(each for each in rows if each.score is None)]:
                wrong = wrong or _ask_alone(client, row)
    except httpx.HTTPError as error:
        return Check(NAME, healthy=False, detail=f"no answer ({error or type(error).__name__})")
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        return Check(
            NAME, healthy=False, detail=f"/predict does not answer as the service does ({type(error).__name__})"
        )
    return Check(NAME, not wrong, wrong or f"{len(rows)} are answered as they were when the version was registered")


def _ask_together(client: httpx.Client, rows: Sequence[Asked]) -> str:
    answer = ask(client, "POST", "/predict", json={"transactions": [row.transaction for row in rows]})
    if answer.status_code != httpx.codes.OK:
        return f"/predict answers {answer.status_code}: {answer.text[:200]}"
    body = answer.json()
    for row, prediction in zip(rows, body["predictions"], strict=True):
        if wrong := _differs(row, prediction, float(body["threshold"])):
            return wrong
    return ""


def _ask_alone(client: httpx.Client, row: Asked) -> str:
    answer = ask(client, "POST", "/predict", json={"transaction": row.transaction})
    if row.score is None:
        refused = answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
        return "" if refused else f"{_shown(row)} answers {answer.status_code}, it is to be refused"
    if answer.status_code != httpx.codes.OK:
        return f"{_shown(row)} answers {answer.status_code}: {answer.text[:200]}"
    body = answer.json()
    return _differs(row, body["predictions"][0], float(body["threshold"]))


def _differs(row: Asked, prediction: dict[str, Any], threshold: float) -> str:
    from model_store.contract.own import is_fraud

    score = row.score if row.score is not None else -1.0
    if row.threshold is not None and threshold != row.threshold:
        score = float(score)
    got = float(prediction["fraud_probability"])
    if abs(got - score) > TOLERANCE:
        return f"{_shown(row)} answers {got}, the model {score}"
    if bool(prediction["is_fraud"]) is not is_fraud(score, threshold):
        return f"{_shown(row)} is decided otherwise than by the model: {got} against a threshold of {threshold}"
    return ""


def _shown(row: Asked) -> str:
    text = json.dumps(row.transaction)
    return text if len(text) <= 200 else f"{text[:200]}…"
