"""Times on a command line: a date means the day, and a time without a zone is UTC."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click
import pytest

from scripts.times import End, Since, When, require_past


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2026-11-25", date(2026, 11, 25)),
        ("20261125", date(2026, 11, 25)),
        ("2026-W48-3", date(2026, 11, 25)),
        ("9999-12-31", date(9999, 12, 31)),
        ("2026-11-25T14:00", datetime(2026, 11, 25, 14, tzinfo=UTC)),
        ("2026-11-25T14:00Z", datetime(2026, 11, 25, 14, tzinfo=UTC)),
        ("2026-11-25 16:00+02:00", datetime(2026, 11, 25, 14, tzinfo=UTC)),
    ],
)
def test_a_date_is_a_day_and_a_time_is_a_moment(text: str, means: date) -> None:
    found = When().convert(text, None, None)
    assert (type(found), found) == (type(means), means)


def test_a_break_glass_until_a_date_lasts_to_the_end_of_the_day() -> None:
    assert End().convert("2026-11-25", None, None) == datetime(2026, 11, 25, 23, 59, 59, tzinfo=UTC)
    assert End().convert("20261125", None, None) == datetime(2026, 11, 25, 23, 59, 59, tzinfo=UTC)
    assert End().convert("9999-12-31", None, None) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert End().convert("2026-11-25T14:00Z", None, None) == datetime(2026, 11, 25, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2026-11-25", "2026-11-25T00:00:00.000Z"),
        ("2026-11-25T14:00Z", "2026-11-25T14:00:00.000Z"),
        ("2026-11-25T16:00+02:00", "2026-11-25T14:00:00.000Z"),
        ("", ""),
    ],
)
def test_since_is_compared_as_the_records_are_written(text: str, means: str) -> None:
    assert Since().convert(text, None, None) == means


@pytest.mark.parametrize("kind", [When(), End(), Since()])
@pytest.mark.parametrize(
    "text", ["yesterday", "2026-13-01", "2026-11-31", "0001-01-01T00:00+14:00", "9999-12-31T23:00-14:00"]
)
def test_what_is_not_a_time_is_refused_with_an_example(kind: Any, text: str) -> None:
    with pytest.raises(click.BadParameter, match=f"'{re.escape(text)}' is not a time.*2026"):
        kind.convert(text, None, None)


def test_what_serves_in_the_future_is_not_known() -> None:
    now = datetime.now(UTC)
    for past in (None, now, now.date(), now + timedelta(minutes=30), date(2001, 1, 1)):
        require_past(past)
    for future in (now + timedelta(hours=2), now.date() + timedelta(days=2), date(9999, 12, 31)):
        with pytest.raises(click.UsageError, match="is in the future; what serves now: leave --at out"):
            require_past(future)
