"""A deployment serves from its end until the next one, or the stack, ends it; a date means its whole day."""

from datetime import UTC, date, datetime, timedelta

import pytest

from stacks.deployment_history import rollback_version
from stacks.environments import DeploymentEnvironment
from stacks.errors import NoPriorVersion, SeveralDeployments
from stacks.history import Deployment, deployments
from stacks.periods import deployment_at, served_at, served_on
from stacks.provenance import with_provenance
from tests.unit.stacks.test_history import START, _update

DAY = 24 * 60
FIRST = date(2026, 1, 1)


def _history() -> list[Deployment]:
    """A and B on the first of January, C from the third to the fifth, A again from the seventh."""
    updates = [
        _update(0, "A", with_provenance("deploy A", "first", "ann")),
        _update(60, "B", with_provenance("deploy B", "better", "bob")),
        _update(2 * DAY, "C", with_provenance("deploy C", "best", "ann")),
        _update(4 * DAY, "C", kind="destroy", resource_changes={"delete": 4}),
        _update(6 * DAY, "A", "by hand"),
    ]
    return deployments(DeploymentEnvironment.DEVELOPMENT, updates[::-1])


def test_each_deployment_has_an_end() -> None:
    assert [(item.model_id, item.until) for item in _history()[::-1]] == [
        ("A", "2026-01-01T01:00:05Z"),
        ("B", "2026-01-03T00:00:05Z"),
        ("C", "2026-01-05T00:00:05Z"),
        ("A", ""),
    ]


@pytest.mark.parametrize(
    ("day", "served"),
    [(-1, ""), (0, "BA"), (1, "B"), (2, "CB"), (3, "C"), (4, "C"), (5, ""), (6, "A"), (7, "A"), (400, "A")],
)
def test_a_day_has_what_served_on_it(day: int, served: str) -> None:
    found = served_on(_history(), FIRST + timedelta(days=day))
    assert "".join(item.model_id for item in found) == served


def test_nothing_serves_before_the_first_deployment_and_after_the_stacks_end() -> None:
    assert deployment_at(_history(), START) is None, "the first update has not ended"
    assert deployment_at(_history(), START + timedelta(days=5)) is None
    there = deployment_at(_history(), START + timedelta(days=4))
    assert there is not None
    assert there.model_id == "C"
    assert served_at(_history(), datetime.fromisoformat("2026-01-08T00:00")) == _history()[:1], (
        "without a zone it is UTC"
    )


def test_a_rollback_to_a_day_goes_to_the_only_version_of_that_day() -> None:
    history = _history()
    assert rollback_version(history, history[0], at=FIRST + timedelta(days=1)) == "B"
    with pytest.raises(NoPriorVersion, match=r"on 2026-01-06 \(UTC\); nothing was changed"):
        rollback_version(history, history[0], at=FIRST + timedelta(days=5))


def test_a_day_with_several_versions_is_refused_with_how_to_choose() -> None:
    history = _history()
    with pytest.raises(SeveralDeployments) as refused:
        rollback_version(history, history[0], at=FIRST)
    lines = str(refused.value).splitlines()
    assert "2 deployments served in development on 2026-01-01 (UTC)" in lines[0]
    assert "--at 2026-01-01T01:00:05Z   2026-01-01T01:00:05Z to 2026-01-03T00:00:05Z B by bob (better)" in lines[1]
    chosen = lines[2].split()[1]
    assert rollback_version(history, history[0], at=datetime.fromisoformat(chosen).astimezone(UTC)) == "A"
