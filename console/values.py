"""Values as people read them: times, sizes, shares, numbers; and as spreadsheets may have them."""

import math
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
"""What a spreadsheet may take for the beginning of a formula."""


def moment(text: object) -> Markup:
    """A time in UTC, which the page's script also shows in the zone of the person; empty for no time."""
    if not text:
        return Markup('<span class="quiet">-</span>')
    try:
        found = datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return escape(text)
    machine = found.isoformat(timespec="seconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}">{}</time>').format(machine, f"{found:%Y-%m-%d %H:%M:%S} UTC")


def copyable(text: object) -> Markup:
    """An id with a button that copies it."""
    if not text:
        return Markup('<span class="quiet">-</span>')
    return Markup(
        '<span class="id"><code>{0}</code><button type="button" class="copy" data-copy="{0}" '
        'aria-label="copy {0}" title="copy"></button></span>'
    ).format(text)


def size(count: object) -> str:
    """A number of bytes."""
    if not isinstance(count, int | float):
        return "-"
    step = min(int(math.log(count, 1024)), len(_UNITS) - 1) if count >= 1 else 0
    return f"{count / 1024**step:.3g} {_UNITS[step]}" if step else f"{count:g} B"


def percent(share: object) -> str:
    """A share as a percentage; `-` where it is not known."""
    return f"{share:.2%}" if isinstance(share, int | float) else "-"


def number(value: object) -> str:
    """A number with at most six digits; `-` where it is not known."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def plain(value: Any) -> str:
    """Any value as text on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or "-"
    return "-" if value in (None, "") else " ".join(number(value).split())


def cell(value: Any) -> str:
    """A value for a CSV file that a spreadsheet opens: a text that could be a formula begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = plain(value) if isinstance(value, dict | list | tuple) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
