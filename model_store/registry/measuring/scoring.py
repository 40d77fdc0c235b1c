"""Scores the rows of a file with a registered version, in parts: the answers that a service gives to the same rows.

scorer = load_scorer(registry, model_id)
score_file(scorer, Path("transactions.csv"), Path("scored.parquet"))
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_store.errors import InvalidInput, UnreadableModel, VersionConflict
from model_store.registry.measuring.proofs import read_form_runner, read_golden_rows
from model_store.registry.measuring.score_output import ANSWER_COLUMNS, open_output
from model_store.registry.registry import ModelRegistry

if TYPE_CHECKING:
    from model_store.contract.contract import Contract
    from model_store.contract.form import FormRunner
    from model_store.contract.own import OwnModel, RowRefused
    from model_store.contract.tables import Part, Table

_MOST_NAMED = 10
"""Refused rows that a summary names."""

Step = Callable[[str], None]
"""Is told how far it is."""


@dataclass(frozen=True)
class Scorer:
    """A model version that answers rows as a service does.

    Attributes:
        model_id: the version.
        contract: of the version.
        threshold: fraud from this score on.
        own: the model with its own library.
        form: its optimized form; None when it has none.
    """

    model_id: str
    contract: "Contract"
    threshold: float
    own: "OwnModel"
    form: "FormRunner | None"

    def answer(self, rows: Sequence[Sequence[Any]]) -> "list[float | RowRefused]":
        """The score of each row, or why the model's library does not answer it."""
        from model_store.contract.answering import answer_each

        return answer_each(self.own, self.form, rows)[0]

    def is_fraud(self, score: float) -> bool:
        """The decision on a score of `answer`."""
        from model_store.contract.own import is_fraud

        return is_fraud(score, self.threshold)


def load_scorer(
    registry: ModelRegistry, model_id: str, threshold: float | None = None, trusted: Collection[str] = ()
) -> Scorer:
    """Loads a version, and has it answer its golden rows, as a service does before it is ready.

    Args:
        registry: that holds the version.
        model_id: the version.
        threshold: fraud from this score on, 0 to 1; the version's own when None.
        trusted: full names of globals to allow beside the rules.

    Raises:
        ModelNotFound, IntegrityError, KeyNotFound, UntrustedType: as for `ModelRegistry.load_model`.
        InvalidInput: the version has no contract, or the threshold is not from 0 to 1.
        UnreadableModel: it does not answer its golden rows as it did when it was registered.
    """
    from model_store.contract.decision import require_threshold

    metadata = registry.get_metadata(model_id)
    if metadata.contract is None:
        raise InvalidInput(f"{model_id} has no contract, so it is not known what it takes; register its file again")
    model, _ = registry.load_model(model_id, trusted)
    known = read_golden_rows(registry, model_id)
    assert known is not None  # noqa: S101 - a version with a contract has golden rows
    contract, golden = known
    chosen = contract.threshold
    if threshold is not None:
        chosen, contract = require_threshold(threshold), replace(contract, decides="threshold")
        golden = golden.decided_by_threshold()
    form = read_form_runner(registry, metadata, contract, chosen)
    scorer = Scorer(model_id, contract, chosen, contract.own(model), form)
    _require_golden(scorer, golden)
    return scorer


def _require_golden(scorer: Scorer, golden: Any) -> None:
    from model_store.contract.golden import difference
    from model_store.contract.own import RowRefused
    from model_store.contract.transaction import InvalidTransaction, read_transaction

    features = scorer.contract.features
    names = [feature.name for feature in features]
    rows, scores, stored = [], [], []
    for row, score in zip(golden.rows, golden.scores, strict=True):
        try:
            rows.append(read_transaction(dict(zip(names, row, strict=True)), "", features))
        except InvalidTransaction:
            continue
        stored.append(row)
        scores.append(score)
    answers = [None if isinstance(each, RowRefused) else each for each in scorer.answer(rows)]
    _, wrong = difference(type(golden)(tuple(stored), tuple(scores)), answers, scorer.threshold)
    if wrong:
        raise UnreadableModel(f"{scorer.model_id} does not answer as it did when it was registered: {wrong}")


@dataclass
class Answers:
    """The answers to the rows of a part, by position.

    Attributes:
        scores: None where a row is refused.
        refused: why, by position.
    """

    scores: list[float | None]
    refused: dict[int, str]


def answer_part(scorer: Scorer, rows: Any, part: "Part") -> Answers:
    """The answers to a part of a table.

    Args:
        scorer: answers.
        rows: a `TableRows` of the scorer's contract.
        part: of the table.
    """
    from model_store.contract.own import RowRefused

    checked, positions, refused = rows.checked(part)
    scores: list[float | None] = [None] * len(part.lines)
    for position, score in zip(positions, scorer.answer(checked), strict=True):
        if isinstance(score, RowRefused):
            refused[position] = f"the model does not answer: {score}"
        else:
            scores[position] = score
    return Answers(scores, refused)


@dataclass
class Scored:
    """What was scored."""

    model_id: str
    threshold: float
    file: str
    out: str
    rows: int = 0
    fraud: int = 0
    refused: int = 0
    first_refused: list[dict[str, Any]] = field(default_factory=list)
    """Line and reason of at most ten of them."""
    unused_columns: list[str] = field(default_factory=list)
    """Of the file; the model does not take them."""
    seconds: float = 0.0
    rows_per_second: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def score_file(
    scorer: Scorer,
    file: Path,
    out: Path,
    *,
    keep: Sequence[str] | None = None,
    stop_at_refused: bool = False,
    overwrite: bool = False,
    step: Step = lambda _detail: None,
) -> Scored:
    """Writes a file's rows with their answers: `fraud_probability`, `predicted_fraud`, and why a row is `refused`.

    Args:
        scorer: answers.
        file: CSV or Parquet.
        out: CSV or Parquet; replaced at the end, or not at all.
        keep: columns of the file that are copied; all when None.
        stop_at_refused: whether a row that is refused refuses the whole file.
        overwrite: whether a file at `out` is replaced.
        step: is told how far it is.

    Raises:
        FileMissing: there is no such file.
        InvalidInput: it is not a table of such rows, or a row is refused and `stop_at_refused` is set; names the line.
        VersionConflict: there is a file at `out`.
        StorageFailed: `out` cannot be written.
    """
    from model_store.contract.table_rows import TableRows
    from model_store.contract.tables import open_table

    if out.exists() and not overwrite:
        raise VersionConflict(f"{out}: is there already; name another file, or add --overwrite")
    if out.exists() and out.samefile(file):
        raise InvalidInput(f"{out}: is the file that is read; name another one")
    started = time.monotonic()
    with open_table(file) as table:
        rows = TableRows(scorer.contract, table)
        kept = _require_columns(table, keep)
        found = Scored(scorer.model_id, scorer.threshold, str(file), str(out))
        found.unused_columns = [name for name in table.names if name not in rows.columns]
        with open_output(out, table, kept) as write:
            for part in table.parts({*rows.columns, *kept}):
                answers = answer_part(scorer, rows, part)
                _note(found, part, answers, file, stop_at_refused=stop_at_refused)
                decisions = [None if score is None else scorer.is_fraud(score) for score in answers.scores]
                found.fraud += sum(1 for each in decisions if each)
                write(part, answers.scores, decisions, answers.refused)
                step(progress_of(table, found.rows))
    found.seconds = round(time.monotonic() - started, 3)
    found.rows_per_second = round(found.rows / max(found.seconds, 1e-3), 1)
    return found


def progress_of(table: "Table", rows: int) -> str:
    """How far a table is read, for people."""
    done, total = table.progress()
    return f"{100 * done // max(total, 1)} %, {rows} rows"


def _require_columns(table: "Table", keep: Sequence[str] | None) -> list[str]:
    kept = list(table.names if keep is None else keep)
    missing = [name for name in kept if name not in table.names]
    if missing:
        raise InvalidInput(f"{table.path}: has no column {missing[0]!r} to keep")
    taken = [name for name in kept if name in ANSWER_COLUMNS]
    if taken:
        raise InvalidInput(
            f"{table.path}: has a column {taken[0]!r}, which the answers are written to; name the others with --keep"
        )
    return kept


def _note(found: Scored, part: "Part", answers: Answers, file: Path, *, stop_at_refused: bool) -> None:
    found.rows += len(part.lines)
    found.refused += len(answers.refused)
    for position in sorted(answers.refused):
        line, reason = part.lines[position], answers.refused[position]
        if stop_at_refused:
            raise InvalidInput(f"{file}: line {line}: {reason}; nothing is written")
        if len(found.first_refused) == _MOST_NAMED:
            break
        found.first_refused.append({"line": line, "reason": reason})
