"""The sandbox carries a request out once, however often an SDK sends it."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.test import Client

from sandbox.idempotency import IdempotentRequests


class _Counting:
    """Says how often it was asked; the answers' statuses are given."""

    def __init__(self, *statuses: str) -> None:
        self.statuses = list(statuses)
        self.asked = 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.asked += 1
        number = self.asked
        self.may_answer.wait(10)
        status = self.statuses.pop(0) if self.statuses else "200 OK"
        start_response(status, [("Content-Type", "text/plain")])
        return [f"{number} ".encode(), environ["wsgi.input"].read()]


def _ask(application: Any, call: str | None, method: str = "POST") -> tuple[int, str]:
    headers = {"amz-sdk-invocation-id": call} if call else {}
    answer = Client(application).open("/", method=method, headers=headers, data=b"asked")
    return answer.status_code, answer.get_data(as_text=True)


def test_a_call_that_is_sent_again_gets_the_first_answer() -> None:
    inner = _Counting()
    application = IdempotentRequests(inner)
    assert [_ask(application, "a") for _ in range(3)] == [(200, "1 asked")] * 3
    assert _ask(application, "b") == (200, "2 asked")
    assert inner.asked == 2


@pytest.mark.parametrize(("call", "method"), [(None, "POST"), ("a", "GET")])
def test_calls_without_a_request_id_and_reads_are_not_replayed(call: str | None, method: str) -> None:
    inner = _Counting()
    application = IdempotentRequests(inner)
    for number in (1, 2):
        assert _ask(application, call, method) == (200, f"{number} asked")


def test_a_failure_is_asked_anew_and_the_success_after_it_is_kept() -> None:
    inner = _Counting("503 Busy", "409 Conflict")
    application = IdempotentRequests(inner)
    output = [_ask(application, "a") for _ in range(4)]
    assert output == [(503, "1 asked"), (409, "2 asked"), (200, "3 asked"), (200, "3 asked")]


def test_a_call_that_is_sent_again_while_it_is_carried_out_waits_for_the_answer() -> None:
    inner = _Counting()
    inner.may_answer.clear()
    application = IdempotentRequests(inner)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(_ask, application, "a") for _ in range(4)]
        inner.may_answer.set()
        assert {each.result(10) for each in asked} == {(200, "1 asked")}
    assert inner.asked == 1


def test_the_thousand_latest_calls_are_kept() -> None:
    inner = _Counting()
    application = IdempotentRequests(inner)
    for number in range(1_001):
        _ask(application, f"call {number}")
    assert _ask(application, "call 1000") == (200, "1001 asked")
    assert _ask(application, "call 0") == (200, "1002 asked")
