"""What decisions turned out to be, by the version that decided."""

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

from conventions import metric_names as names

Outcomes: TypeAlias = "Counter[tuple[bool, bool]]"
"""Decisions with feedback, by what was decided and what it turned out to be."""


def outcome_shares(outcomes: Outcomes) -> dict[str, float]:
    """Accuracy, precision and recall; those about which nothing is known are left out."""
    caught, missed = outcomes[True, True], outcomes[False, True]
    false_alarms, right = outcomes[True, False], outcomes[False, False]
    return {
        name: part / whole
        for name, part, whole in (
            (names.ACCURACY, caught + right, caught + right + missed + false_alarms),
            (names.PRECISION, caught, caught + false_alarms),
            (names.RECALL, caught, caught + missed),
        )
        if whole
    }


def right_and_wrong(outcomes: Outcomes) -> dict[str, int]:
    """How many decisions turned out right, and how many wrong."""
    right = sum(count for (decided, was_fraud), count in outcomes.items() if decided == was_fraud)
    return {"right": right, "wrong": sum(outcomes.values()) - right}


def labelled(by_version: dict[str, Outcomes]) -> dict[tuple[str, str, str], int]:
    """Counts by version, what it decided and what it turned out to be, as `/metrics` labels them."""
    return {
        (version, _verdict(decided), _verdict(was_fraud)): count
        for version, outcomes in by_version.items()
        for (decided, was_fraud), count in outcomes.items()
    }


class OtherVersions:
    """Outcomes of the versions that decided before, or beside, the one that is served here."""

    def __init__(self) -> None:
        self._pushed: dict[str, Outcomes] = {}
        self.by_version: dict[str, Outcomes] = {}

    def add(self, model_id: str, outcomes: Any) -> None:
        """Counts outcomes of decisions of one version."""
        self.by_version.setdefault(model_id, Counter()).update(outcomes)

    def take_minute(self, dimensions: Callable[[str], tuple[tuple[str, str], ...]]) -> list[dict[str, Any]]:
        """What CloudWatch is given for the time since the last call: each version's shares under its name.

        Args:
            dimensions: of a version's metrics.
        """
        found = []
        for version, outcomes in self.by_version.items():
            minute = outcomes - self._pushed.get(version, Counter())
            self._pushed[version] = Counter(outcomes)
            of_version = [{"Name": name, "Value": value} for name, value in dimensions(version)]
            found += [
                {"MetricName": name, "Value": value, "Unit": "None", "Dimensions": of_version}
                for name, value in outcome_shares(minute).items()
            ]
        return found


def _verdict(fraud: bool) -> str:
    return "fraud" if fraud else "legit"
