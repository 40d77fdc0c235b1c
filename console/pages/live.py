"""Pages that are watched: parts of them are sent as server-sent events."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from console.guard import session_of
from console.state import console_of

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
