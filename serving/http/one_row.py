"""The way of almost every request: one transaction, a known key, a model that answers at once.

What this way does is what `Service` does, with nothing in between; whatever is out of the ordinary (a refusal, a batch,
a body in several pieces, a request id of the caller's) is left to `Service`, before anything was answered.
"""

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from serving.http.limits import Buckets
    from serving.http.state import ServiceState
    from serving.inference.transactions import TransactionReader

_JSON = (b"content-type", b"application/json")


class OneRow:
    """Answers one transaction.

    Args:
        state: of the service.
        reader: reads bodies.
        buckets: count requests.
        reading: tasks that wait for a body, with the time since when; swept by the service.
    """

    def __init__(
        self,
        state: "ServiceState",
        reader: "TransactionReader",
        buckets: "Buckets",
        reading: "dict[asyncio.Task[Any], float]",
    ) -> None:
        self._state, self._reading = state, reading
        self._one_row, self._take, self._find = reader.one_row, buckets.take, state.api_keys.find
        self._answer_one = state.model.runtime.one
        self._threshold = state.model.threshold
        self._max_in_flight = state.settings.max_in_flight
        self._max_body = min(state.settings.max_body_bytes, reader.one_row_bytes)
        prefix = secrets.token_hex(8)
        self._ids = (f"{prefix}{number:016x}" for number in itertools.count())
        self._head = msgspec.json.encode({"model_id": state.model.metadata.model_id, "threshold": self._threshold})[
            :-1
        ].decode()
        self._names: dict[str, str] = {}
        self._model_id = json.dumps(state.model.metadata.model_id)

    async def answer(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> dict[str, Any] | None:
        """Answers, or gives back what has been received already, so that the service goes on from there.

        Returns:
            None when the request is answered; else the first message of its body, an empty mapping when none was read.
        """
        started = time.perf_counter()
        given = authorization = b""
        for name, value in scope["headers"]:
            if name == b"x-api-key":
                given = value
            elif name == b"authorization":
                authorization = value
            elif name == b"x-request-id" or (name == b"content-length" and len(value) > 6):
                return {}
        key = self._find(given, authorization)
        state = self._state
        if key is None or "predict" not in key.scopes or state.in_flight >= self._max_in_flight:
            return {}
        task: Any = asyncio.current_task()
        self._reading[task] = started
        state.in_flight += 1
        try:
            message = await receive()
        finally:
            state.in_flight -= 1
            del self._reading[task]
        body = message.get("body", b"")
        if message.get("more_body") or len(body) > self._max_body or (row := self._one_row(body)) is None:
            return message
        probability = self._answer_one(row)
        if probability is None or self._take(key):
            return message
        fraud = probability >= self._threshold
        request_id = next(self._ids)
        verdict = "true" if fraud else "false"
        content = (
            f'{self._head},"request_id":"{request_id}","predictions":[{{"fraud_probability":{probability!r},'
            f'"is_fraud":{verdict}}}]}}'
        ).encode()
        length = (b"content-length", b"%d" % len(content))
        headers = [_JSON, length, (b"x-request-id", request_id.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        milliseconds = (time.perf_counter() - started) * 1000
        state.metrics.one_row(row, probability, milliseconds, fraud=fraud)
        if state.request_log.enabled:
            name = self._names.get(key.name) or self._names.setdefault(key.name, json.dumps(key.name))
            state.request_log.add_line(
                f'"request_id":"{request_id}","key":{name},"model_id":{self._model_id},"method":"POST",'
                f'"path":"/predict","status":200,"latency_ms":{milliseconds:.3f},"frauds":{int(fraud)}}}'
            )
        return None
