"""Decisions by receipt or day, where an environment keeps a decision log."""

from starlette.requests import Request
from starlette.responses import Response

from console.templating import page


def decisions(request: Request) -> Response:
    """Says that no decision log is kept."""
    return page(request, "decisions.html", title="Decisions")
