"""Times and dates that people write; UTC where they name no zone."""

from datetime import UTC, date, datetime


def parse_day(value: str) -> date | None:
    """The day that a text means, such as `2026-10-09` or `20261009`; None where it is not a date alone."""
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def parse_moment(value: str) -> datetime:
    """The time that a text means, in UTC; one without a zone is in UTC already.

    Raises:
        ValueError: it means none, or one outside of the calendar.
    """
    found = datetime.fromisoformat(value)
    try:
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError(f"{value}: outside of the calendar") from None
