"""Times on a command line: a time, a date that means the whole day, an end from now, or how long something lasts."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click

from conventions.moments import parse_day, parse_moment

_OTHER_CLOCKS = timedelta(hours=1)
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class When(click.ParamType[date]):
    """A time, in UTC when it has no zone; or a date, which is the whole day in UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Returns a `datetime` for a time and a `date` for a day."""
        if isinstance(value, date):
            return value
        try:
            return parse_day(value) or parse_moment(value)
        except ValueError:
            self.fail(f"{value!r} is not a time. Examples: 2026-10-09T14:00Z, or 2026-10-09 for the day", param, ctx)


class Since(click.ParamType[str]):
    """A time or a date in the form of the audit log's records; a date is the begin of the day in UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the time as RFC 3339, UTC, with milliseconds; an empty text stays."""
        if not value:
            return ""
        try:
            moment = parse_moment(value)
        except ValueError:
            self.fail(f"{value!r} is not a time. Examples: 2026-10-01 or 2026-10-01T12:00:00Z", param, ctx)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class End(click.ParamType[datetime]):
    """When something ends: a time, a date, which is the end of the day in UTC, or `30m`, `4h`, `2d` from now."""

    name = "end"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Returns the time, with a zone."""
        if isinstance(value, datetime):
            return value
        if parts := re.fullmatch(r"(\d{1,6})([mhd])", value):
            return datetime.now(UTC) + int(parts[1]) * _UNITS[parts[2]]
        try:
            found = parse_moment(value)
            return found + timedelta(days=1, seconds=-1) if parse_day(value) else found
        except ValueError:
            self.fail(f"{value!r} is not a time; allowed: such as 4h, 2d or 2026-10-09T14:00Z", param, ctx)


class Duration(click.ParamType[int]):
    """How long something lasts: seconds, or `30s`, `5m`, `1h`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns seconds."""
        if isinstance(value, int):
            return value
        parts = re.fullmatch(r"(\d+)([smh]?)", value)
        if parts is None:
            self.fail(f"{value!r} is not a duration; allowed: such as 30s, 5m or 1h", param, ctx)
        return int(parts[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[parts[2]]


def require_past(when: date | None) -> None:
    """Raises where nobody knows yet what serves then; a clock that differs a little counts as this one.

    Args:
        when: a time, or a day in UTC; None: there is none.

    Raises:
        click.UsageError: it is in the future.
    """
    latest = datetime.now(UTC) + _OTHER_CLOCKS
    if when is not None and (when > latest if isinstance(when, datetime) else when > latest.date()):
        raise click.UsageError(f"--at {when.isoformat()} is in the future; what serves now: leave --at out")
