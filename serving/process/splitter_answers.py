"""Bodies that the traffic splitter reads, and the answers that it gives itself."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from serving.process.splitter_settings import SplitterBounds


@dataclass(frozen=True)
class Response:
    """An answer, whole."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(frozen=True)
class Refusal:
    """Why the splitter answers itself."""

    status: int
    code: str
    message: str


NO_PATH = Refusal(404, "not_found", "the service has no such path; GET /docs shows those that it has")
UNAVAILABLE = Refusal(503, "unavailable", "no process answers behind this address at the moment")


async def read_body(receive: Any, bounds: SplitterBounds) -> bytes | Refusal:
    """The body, or why it is refused."""
    pieces, size, most = [], 0, bounds.max_body_bytes
    try:
        async with asyncio.timeout(bounds.request_timeout_seconds):
            while size <= most:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return Refusal(400, "disconnected", "the client went away")
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size <= most and not message.get("more_body"):
                    return b"".join(pieces)
    except TimeoutError:
        return Refusal(408, "body_too_slow", "the body did not arrive in time")
    return Refusal(413, "body_too_large", f"the body has more than {most} bytes")


def error_response(refusal: Refusal, request_id: str) -> Response:
    """The splitter's own answer."""
    message = {"code": refusal.code, "message": refusal.message, "request_id": request_id}
    body = json.dumps({"error": message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        *([(b"retry-after", b"1")] if refusal is UNAVAILABLE else [(b"connection", b"close")]),
    ]
    return Response(refusal.status, headers, body)
