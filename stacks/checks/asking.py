"""Asks an endpoint for JSON, and takes no more of its answer than fits: an endpoint may be broken, or lie."""

import time
from typing import Any

import httpx

MOST_BYTES = 4 << 20
MOST_SECONDS = 10.0


class AnswerTooLarge(httpx.HTTPError):
    """The answer has more bytes than are read."""


class AnswerTooSlow(httpx.HTTPError):
    """The answer did not end in time."""


def ask(
    client: httpx.Client, method: str, path: str, *, most_bytes: int = MOST_BYTES, **options: Any
) -> httpx.Response:
    """The answer of an endpoint, read to its end.

    Args:
        client: with the timeout of a single read.
        method: of HTTP.
        path: of the endpoint.
        most_bytes: of the answer's body, decompressed.
        **options: of `httpx.Client.stream`.

    Raises:
        AnswerTooLarge: the body is longer.
        AnswerTooSlow: it has not ended `MOST_SECONDS` after its head came.
        httpx.HTTPError: the endpoint does not answer.
    """
    parts, length = [], 0
    with client.stream(method, path, **options) as answer:
        deadline = time.monotonic() + MOST_SECONDS
        for part in answer.iter_bytes():
            length += len(part)
            parts.append(part)
            if length > most_bytes:
                raise AnswerTooLarge(f"the answer has more than {most_bytes} bytes")
            if time.monotonic() > deadline:
                raise AnswerTooSlow(f"the answer did not end in {MOST_SECONDS:.0f} seconds")
    kept = {name: value for name, value in answer.headers.items() if name not in ("content-encoding", "content-length")}
    return httpx.Response(answer.status_code, headers=kept, content=b"".join(parts), request=answer.request)
