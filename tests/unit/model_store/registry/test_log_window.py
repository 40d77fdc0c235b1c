"""A period of the audit log is found without reading the whole log."""

import json
from pathlib import Path

import pytest

from model_store import ModelRegistry
from model_store.artifact.header import canonical_json
from model_store.registry.log.log_window import LogWindows

COUNT = 300


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    """A registry whose log has a record every ten seconds."""
    registry = ModelRegistry(tmp_path / "registry", encrypt=False, actor="tester")
    for _ in range(COUNT):
        registry.audit.append("look")
    for number in range(1, COUNT + 1):
        path = tmp_path / "registry" / f"audit/000000/{number:09}.json"
        record = json.loads(path.read_bytes())
        record["at"] = f"2026-01-01T{number // 360:02}:{number // 6 % 60:02}:{number % 6}0.000Z"
        path.write_bytes(canonical_json(record))
    return registry


@pytest.mark.parametrize(
    ("first", "last", "numbers"),
    [
        ("2026-01-01T00:00:10Z", "2026-01-01T00:00:30Z", [1, 2, 3]),
        ("2026-01-01T00:00:11Z", "2026-01-01T00:00:29Z", [2]),
        ("2025-01-01T00:00:00Z", "2026-01-01T00:00:09Z", []),
        ("2026-01-01T00:50:00Z", "2027-01-01T00:00:00Z", [300]),
        ("2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z", []),
    ],
)
def test_a_window_has_the_records_of_its_time(
    registry: ModelRegistry, first: str, last: str, numbers: list[int]
) -> None:
    assert [record.sequence for record in LogWindows(registry.audit).between(first, last)] == numbers
    assert [record.sequence for record in LogWindows(registry.audit).read_between(first, last)] == numbers


def test_few_records_are_read(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = registry.audit.record
    monkeypatch.setattr(registry.audit, "record", lambda number: read.append(number) or original(number))
    list(LogWindows(registry.audit).between("2026-01-01T00:20:00Z", "2026-01-01T00:20:20Z"))
    assert len(read) <= 14


def test_a_log_without_records_has_empty_windows(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "none", encrypt=False, actor="tester")
    assert list(LogWindows(registry.audit).between("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")) == []
