"""Pages that are watched: parts of them are sent as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from console.guard import session_of
from console.state import Console, console_of
from console.templating import part

_SECONDS = 2.0
_LONGEST_TICKS = 1800
"""After an hour the browser asks again, with its session."""


def event(name: str, html: str) -> str:
    """One event; each line of its data has the field's name before it."""
    data = "\n".join(f"data: {line}" for line in html.splitlines())
    return f"event: {name}\n{data}\n\n"


async def ticks(request: Request) -> AsyncIterator[int]:
    """A number every two seconds until the browser goes, the session ends or the console stops."""
    session, sessions = session_of(request), console_of(request).sessions
    for number in range(_LONGEST_TICKS):
        if await request.is_disconnected() or not sessions.is_live(session) or request.app.state.ended.is_set():
            return
        yield number
        await asyncio.sleep(_SECONDS)


def live_response(events: AsyncIterator[str]) -> Response:
    """The stream of events."""
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def live_part(
    request: Request, environment: str, name: str, shown: Callable[[Console, str], dict[str, Any]]
) -> Response:
    """The stream of one part of an environment's page.

    Args:
        request: of the browser.
        environment: of the page.
        name: of the event, and of the part's template.
        shown: what the part shows.
    """
    console = console_of(request)

    async def events() -> AsyncIterator[str]:
        async for _ in ticks(request):
            found = await run_in_threadpool(shown, console, environment)
            yield event(name, part(f"part_{name}.html", environment=environment, **found))

    return live_response(events())
