"""Compares two registered versions on one labelled file: what each would have found, and where they decide otherwise.

compare(load_scorer(registry, before), load_scorer(registry, after), Path("october.parquet"), "is_fraud")
"""

from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_store.contract.labels import same_label
from model_store.contract.table_rows import GAPS, TableRows
from model_store.contract.tables import open_table
from model_store.errors import InvalidInput
from model_store.registry.measuring.scoring import Answers, Scorer, Step, answer_part, progress_of

if TYPE_CHECKING:
    from model_store.contract.tables import Part

NO_COSTS = (None, None)
_SLACK = 1e-12
"""Below it a difference of two numbers is rounding."""


@dataclass(frozen=True)
class VersionMetrics:
    """How well a version decides the rows that both versions answer.

    Attributes:
        model_id: the version.
        threshold: fraud from this score on.
        auc: area under the ROC curve.
        precision: share of fraud among the rows that it takes for fraud; 0 when it takes none.
        recall: share of the fraud that it finds.
        found: fraud that it takes for fraud.
        missed: fraud that it does not.
        alarms: other rows that it takes for fraud.
        cost: of what it misses and of its alarms; None where no costs are given.
        refused: rows that it does not answer.
    """

    model_id: str
    threshold: float
    auc: float
    precision: float
    recall: float
    found: int
    missed: int
    alarms: int
    cost: float | None
    refused: int


@dataclass(frozen=True)
class Gate:
    """A limit that was asked for.

    Attributes:
        name: such as `min_auc_gain`.
        limit: as given.
        value: measured.
        held: whether the value is within the limit.
    """

    name: str
    limit: float
    value: float
    held: bool


@dataclass(frozen=True)
class Comparison:
    """Two versions on one file.

    Attributes:
        before: the first version.
        after: the second one.
        file: with the rows.
        rows: of the file.
        fraud: rows whose label is fraud.
        compared: rows that both versions answer.
        decided_differently: rows that one version takes for fraud and the other does not, or that only one answers.
        share_decided_differently: of all rows.
        examples: some of them, each with its line, its label, and what both versions answer.
        gains: of the second version over the first; of `cost`, what it saves.
    """

    before: VersionMetrics
    after: VersionMetrics
    file: str
    rows: int
    fraud: int
    compared: int
    decided_differently: int
    share_decided_differently: float
    examples: Sequence[dict[str, Any]]
    gains: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    def gate(self, name: str, limit: float) -> Gate:
        """Measures the comparison against a limit.

        Args:
            name: `min_auc_gain`, `min_precision_gain`, `min_recall_gain`, `min_cost_saving` or
                `max_decided_differently`.
            limit: of a gain, or a share of the rows.

        Raises:
            InvalidInput: the limit is of the cost, and no costs were given.
        """
        if name == "max_decided_differently":
            value = self.share_decided_differently
            return Gate(name, limit, value, value <= limit + _SLACK)
        gain = self.gains[name.removeprefix("min_").rpartition("_")[0]]
        if gain is None:
            raise InvalidInput("a saving of cost needs costs: --cost-missed and --cost-alarm")
        return Gate(name, limit, gain, gain >= limit - _SLACK)


@dataclass
class _Side:
    """One version's answers to the rows that both answer."""

    scorer: Scorer
    scores: "array[float]" = field(default_factory=lambda: array("d"))
    decisions: bytearray = field(default_factory=bytearray)
    refused: int = 0


def compare(
    before: Scorer,
    after: Scorer,
    file: Path,
    label: str,
    *,
    positive_class: str | None = None,
    costs: tuple[float | None, float | None] = NO_COSTS,
    most_examples: int = 5,
    step: Step = lambda _detail: None,
) -> Comparison:
    """Compares two versions on a labelled file.

    Args:
        before: the first version.
        after: the second one.
        file: CSV or Parquet; read in parts.
        label: the column that holds the class.
        positive_class: the label of fraud; that of the versions when None.
        costs: of a fraud that is missed and of a false alarm, both or neither.
        most_examples: how many rows that are decided differently are shown.
        step: is told how far it is.

    Raises:
        FileMissing: there is no such file.
        InvalidInput: it is not a table of such rows, a label is empty, or all are of one class.
    """
    sides = _Side(before), _Side(after)
    truth, fraud, rows, different = bytearray(), 0, 0, 0
    examples: list[dict[str, Any]] = []
    with open_table(file) as table:
        if label not in table.names:
            raise InvalidInput(f"{file}: has no column {label!r}; it has: {', '.join(table.names)}"[:300])
        readers = [TableRows(side.scorer.contract, table, label) for side in sides]
        labels = _Labels(file, label, _fraud_labels(before, after, positive_class))
        for part in table.parts({label, *readers[0].columns, *readers[1].columns}):
            known = labels.are_fraud(part)
            answers = [answer_part(side.scorer, reader, part) for side, reader in zip(sides, readers, strict=True)]
            fraud += sum(known)
            rows += len(known)
            for position, is_fraud in enumerate(known):
                found = [_decision(side, each, position) for side, each in zip(sides, answers, strict=True)]
                if None not in found:
                    truth.append(is_fraud)
                    for side, each, decision in zip(sides, answers, found, strict=True):
                        side.scores.append(each.scores[position])  # type: ignore[arg-type]
                        side.decisions.append(bool(decision))
                if found[0] != found[1]:
                    different += 1
                    if len(examples) < most_examples:
                        examples.append(_example(part, position, is_fraud, sides, answers))
            step(progress_of(table, rows))
    _require_both(truth, file, label, labels.fraud)
    first, second = (_metrics(side, truth, costs) for side in sides)
    gains: dict[str, float | None] = {
        name: getattr(second, name) - getattr(first, name) for name in ("auc", "precision", "recall")
    }
    gains["cost"] = None if first.cost is None or second.cost is None else first.cost - second.cost
    return Comparison(first, second, str(file), rows, fraud, len(truth), different, different / rows, examples, gains)


def _decision(side: _Side, answers: Answers, position: int) -> bool | None:
    """What a version decides on a row; None where it refuses it."""
    score = answers.scores[position]
    if score is None:
        side.refused += 1
        return None
    return side.scorer.is_fraud(score)


def _example(
    part: "Part", position: int, is_fraud: bool, sides: Sequence[_Side], answers: Sequence[Answers]
) -> dict[str, Any]:
    found: dict[str, Any] = {"line": part.lines[position], "label_is_fraud": is_fraud}
    for name, side, each in zip(("before", "after"), sides, answers, strict=True):
        score = each.scores[position]
        found[name] = (
            {"refused": each.refused[position]}
            if score is None
            else {"fraud_probability": float(score), "is_fraud": side.scorer.is_fraud(score)}
        )
    return found


def _fraud_labels(before: Scorer, after: Scorer, positive_class: str | None) -> tuple[Any, ...]:
    """The labels that mean fraud.

    Raises:
        InvalidInput: the versions take different ones.
    """
    if positive_class is not None:
        return (positive_class,)
    own = [1 if each.contract.output == "anomaly_score" else each.contract.positive_class for each in (before, after)]
    if same_label(own[0], own[1]):
        return (own[0],)
    raise InvalidInput(
        f"{before.model_id} takes {own[0]!r} for fraud and {after.model_id} {own[1]!r}; name the file's label of fraud "
        "with --positive-class"
    )


class _Labels:
    """Reads the column of labels."""

    def __init__(self, file: Path, name: str, fraud: tuple[Any, ...]) -> None:
        self._file, self._name, self.fraud = file, name, fraud[0]
        self._known: dict[Any, bool] = {}

    def are_fraud(self, part: "Part") -> list[bool]:
        """Whether the rows of a part are fraud.

        Raises:
            InvalidInput: a row has no label; names its line.
        """
        found = []
        for position, value in enumerate(part.column(self._name)):
            if value is None or (isinstance(value, str) and value in GAPS) or position in part.faults:
                reason = part.faults.get(position, f"{self._name} is empty; each row needs its label")
                raise InvalidInput(f"{self._file}: line {part.lines[position]}: {reason}")
            key = (type(value), value)
            if key not in self._known:
                self._known[key] = same_label(value, self.fraud)
            found.append(self._known[key])
        return found


def _require_both(truth: bytearray, file: Path, label: str, fraud: Any) -> None:
    if not truth:
        raise InvalidInput(f"{file}: there is no row that both versions answer")
    if 0 not in truth or 1 not in truth:
        always = "always" if 0 not in truth else "never"
        raise InvalidInput(f"{file}: {label} is {always} {fraud!r} in the rows that are compared; both are needed")


def _metrics(side: _Side, truth: bytearray, costs: tuple[float | None, float | None]) -> VersionMetrics:
    import numpy as np
    from sklearn.metrics import roc_auc_score

    is_fraud = np.frombuffer(truth, dtype=np.bool_)
    decided = np.frombuffer(side.decisions, dtype=np.bool_)
    found, missed = int((is_fraud & decided).sum()), int((is_fraud & ~decided).sum())
    alarms = int((~is_fraud & decided).sum())
    per_missed, per_alarm = costs
    return VersionMetrics(
        model_id=side.scorer.model_id,
        threshold=side.scorer.threshold,
        auc=float(roc_auc_score(is_fraud, np.frombuffer(side.scores, dtype=np.float64))),
        precision=found / (found + alarms) if found + alarms else 0.0,
        recall=found / (found + missed),
        found=found,
        missed=missed,
        alarms=alarms,
        cost=None if per_missed is None or per_alarm is None else missed * per_missed + alarms * per_alarm,
        refused=side.refused,
    )
