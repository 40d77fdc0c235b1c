"""What is found when a kind is registered, served and compared with its own answers."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model_store import Keyring, ModelRegistry
from model_store.errors import ModelStoreError
from model_store.registry.exchange.bundles import export_model, import_model
from tests.kinds.kind import Kind, Rows, Trained
from tests.kinds.served import ServedKind, faster_share, served

LONG = os.environ.get("KINDS_LONG") == "1"
"""Whether there is time for many rows."""
LARGEST_DIFFERENCE = 1e-6
_BATCH_ROWS = 64
_ONE_BY_ONE = 1000 if LONG else 12
_REFUSED_ROWS = 8
_ORDER_TOLERANCE = 1e-9
_FEWEST_RANKS = 10
_UNPROCESSABLE, _SERVER_ERROR = 422, 500


@dataclass
class Measured:
    """One line of the table, and what is wrong."""

    registers: bool = False
    form: str = ""
    """The form that answers, or why the kind is not served."""
    reason: str = ""
    """Why there is no optimized form."""
    share: float | None = None
    """Of the rows asked, those that an optimized form answered."""
    asked: int = 0
    largest_difference: float = float("nan")
    decisions_that_differ: int = 0
    problems: list[str] = field(default_factory=list)
    """Everything that must not be; empty for a kind that is served as it is."""


@dataclass(frozen=True)
class _Answers:
    scores: np.ndarray
    decisions: np.ndarray


def measure(kind: Kind, root: Path) -> Measured:
    """Trains a model of a kind, registers and serves it, and compares."""
    directory = root / "files"
    directory.mkdir(parents=True, exist_ok=True)
    return measure_trained(kind.train(directory), root)


def measure_trained(trained: Trained, root: Path, **registration: Any) -> Measured:
    """Registers and serves a model, and compares.

    Args:
        trained: the model.
        root: a directory for registry, key and file.
        registration: further options of `register_model`.
    """
    found = Measured()
    try:
        with served(trained, root, **registration) as service:
            found.registers = True
            _compare(service, trained, found)
            _check_bundle(root, found)
    except AssertionError:
        raise
    except Exception as error:  # Whatever it is: the table has a line for each kind.
        found.form = " ".join(f"{type(error).__name__}: {error}".split())
        found.registers = _is_registered(root)
        found.problems.append(f"{'registered, not served' if found.registers else 'not registered'}: {found.form}")
    return found


def _check_bundle(root: Path, found: Measured) -> None:
    """Takes the version out and into another registry: what is refused there would be refused of an honest sender."""
    keys = Keyring.from_files(root / "model.key")
    registry = ModelRegistry(root / "registry", keys=keys)
    (version,) = registry.list_models()
    try:
        export_model(registry, version.model_id, root / "version.bundle")
        import_model(ModelRegistry(root / "elsewhere", keys=keys), root / "version.bundle")
    except ModelStoreError as error:
        found.problems.append(f"its bundle is refused: {error}")


def _is_registered(root: Path) -> bool:
    return any((root / "registry/models").glob("*/*/manifest.json"))


def _compare(service: ServedKind, trained: Trained, found: Measured) -> None:
    runtime = service.manifest.get("runtime") or {}
    found.form = str(service.description["runtime"])
    found.reason = str(runtime.get("reason") or "")
    threshold = _threshold(service, trained, found)
    own = np.asarray(trained.scores(trained.rows), dtype=np.float64)
    answerable = np.flatnonzero(np.isfinite(own))
    decides = trained.frauds or trained.decisions
    own_frauds = decides(trained.rows) if decides else own >= threshold
    bodies = service.bodies(trained.rows)
    for way, asked in _ways(answerable):
        answers = _ask(service, [[bodies[number] for number in part] for part in asked], way, threshold, found)
        by_score = trained.decisions is None and answers is not None
        if by_score and not np.array_equal(answers.decisions, answers.scores >= threshold):
            found.problems.append(f"{way}: is_fraud is not fraud_probability >= threshold")
        if answers is not None:
            positions = np.concatenate(asked)
            _check(answers, own[positions], own_frauds[positions], trained, way, found)
    for rows in _refused(trained, own):
        _check_refusal(service, rows, bodies[int(answerable[0])], float(own[answerable[0]]), trained, found)
    found.share = faster_share(service)


def _threshold(service: ServedKind, trained: Trained, found: Measured) -> float:
    contract = service.manifest.get("contract") or {}
    threshold = contract.get("threshold")
    if threshold is None:
        found.problems.append("the manifest has no contract with a threshold")
        threshold = service.description["threshold"]
    if trained.threshold is not None and threshold != trained.threshold:
        found.problems.append(f"the threshold is {threshold}, the model's is {trained.threshold}")
    return float(threshold)


def _ways(answerable: np.ndarray) -> Iterator[tuple[str, list[np.ndarray]]]:
    """In batches, and one by one."""
    yield "in batches", [answerable[start : start + _BATCH_ROWS] for start in range(0, len(answerable), _BATCH_ROWS)]
    step = max(1, len(answerable) // _ONE_BY_ONE)
    yield "one by one", [answerable[number : number + 1] for number in range(0, len(answerable), step)]


def _ask(
    service: ServedKind, parts: list[list[dict[str, Any]]], way: str, threshold: float, found: Measured
) -> _Answers | None:
    predictions = []
    for part in parts:
        body = {"transaction": part[0]} if way == "one by one" else {"transactions": part}
        status, answer = service.post(body)
        if status != 200:
            found.problems.append(f"{way}: {status} {str(answer)[:300]}")
            return None
        if answer["threshold"] != threshold:
            found.problems.append(f"{way}: the answer's threshold is {answer['threshold']}, not {threshold}")
        predictions += answer["predictions"]
    scores = np.array([item["fraud_probability"] for item in predictions], dtype=np.float64)
    decisions = np.array([item["is_fraud"] for item in predictions], dtype=bool)
    found.asked += len(scores)
    return _Answers(scores, decisions)


def _check(
    answers: _Answers, own: np.ndarray, own_frauds: np.ndarray, trained: Trained, way: str, found: Measured
) -> None:
    if not ((answers.scores >= 0) & (answers.scores <= 1)).all():
        found.problems.append(f"{way}: scores from {answers.scores.min()} to {answers.scores.max()}")
    differing = int((answers.decisions != own_frauds).sum())
    found.decisions_that_differ += differing
    if differing:
        found.problems.append(f"{way}: {differing} of {len(own)} decisions differ")
    if trained.is_detector:
        _check_order(answers.scores, own, way, found)
        return
    difference = float(np.abs(answers.scores - own).max())
    found.largest_difference = float(np.nanmax([found.largest_difference, difference]))
    if difference > LARGEST_DIFFERENCE:
        found.problems.append(f"{way}: the largest difference is {difference:.3g}")


def _check_order(scores: np.ndarray, own: np.ndarray, way: str, found: Measured) -> None:
    """The more a row stands out by the detector's own score, the higher what is served."""
    less = own[:, None] < own[None, :] - _ORDER_TOLERANCE
    turned = int((less & (scores[:, None] > scores[None, :])).sum())
    if turned:
        found.problems.append(f"{way}: {turned} pairs are in another order")
    if len(own) >= 2 * _FEWEST_RANKS and len(np.unique(scores)) < _FEWEST_RANKS:
        found.problems.append(f"{way}: only {len(np.unique(scores))} different scores")


def _refused(trained: Trained, own: np.ndarray) -> Iterator[Rows]:
    """Single rows that the estimator does not answer: given ones, and those of which it makes no finite number."""
    endless = np.flatnonzero(~np.isfinite(own))
    if trained.refused is not None:
        yield from (_row(trained.refused, number) for number in range(len(trained.refused))[:_REFUSED_ROWS])
    yield from (_row(trained.rows, int(number)) for number in endless[:_REFUSED_ROWS])


def _row(rows: Any, number: int) -> Rows:
    part: Rows = rows.iloc[number : number + 1] if hasattr(rows, "iloc") else rows[number : number + 1]
    return part


def _check_refusal(
    service: ServedKind, row: Rows, good: dict[str, Any], own: float, trained: Trained, found: Measured
) -> None:
    """One caller's row is refused, and the callers beside get their answers."""
    (bad,) = service.bodies(row)
    first, refused, last = service.together([{"transaction": body} for body in (good, bad, good)])
    if refused[0] != _UNPROCESSABLE or "error" not in refused[1]:
        found.problems.append(f"what the estimator refuses is answered {refused[0]}: {str(refused[1])[:200]}")
    for status, answer in (first, last):
        if status != 200:
            found.problems.append(f"beside a refused row: {status} {str(answer)[:200]}")
        elif not trained.is_detector:
            difference = abs(answer["predictions"][0]["fraud_probability"] - own)
            if difference > LARGEST_DIFFERENCE:
                found.problems.append(f"beside a refused row: differs by {difference:.3g}")
