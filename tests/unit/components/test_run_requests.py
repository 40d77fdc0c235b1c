"""A request of a run has a number that is larger than those before it."""

import json
import time
from pathlib import Path

import pytest

from components.run_requests import write_request
from conventions.run_files import REQUESTED_FILE, STATUS_FILE


def test_numbers_grow_although_the_clock_was_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_request(tmp_path, {})
    assert first <= time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: first - 86_400 * 10**9)
    assert write_request(tmp_path, {}) == first + 1
    assert write_request(tmp_path, {}) == first + 2
    (tmp_path / STATUS_FILE).write_text(json.dumps({"generation": first + 9}))
    assert write_request(tmp_path, {}) == first + 10


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"generation": "x"}', '{"generation": null}'])
def test_a_damaged_request_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / REQUESTED_FILE).write_text(content)
    before = time.time_ns()
    number = write_request(tmp_path, {"host": "127.0.0.1"})
    assert number >= before
    assert json.loads((tmp_path / REQUESTED_FILE).read_text()) == {"host": "127.0.0.1", "generation": number}
