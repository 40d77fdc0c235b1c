"""The example scripts answer bad input with one line."""

import sys
from pathlib import Path

import pytest

from tests.checkout import SOURCE

sys.path.insert(0, str(SOURCE / "examples"))

import send_transactions
import train_from_csv
import write_csv


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_missing_table_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_from_csv.main([str(tmp_path / "none.csv")]) == 2
    assert "none.csv cannot be read as CSV (No such file or directory)" in _error(capsys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as CSV"),
        ("a,b\n1,2\n", "name one with --label: a, b"),
        ("a,is_fraud\n1,0\n2,1\n", "each in at least 8 rows"),
        ("a,is_fraud\n" + "1,yes\n2,no\n" * 9, "allowed: 0 and 1"),
    ],
)
def test_an_unusable_table_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    (tmp_path / "table.csv").write_text(content)
    assert train_from_csv.main([str(tmp_path / "table.csv"), "--output", str(tmp_path / "m.joblib")]) == 2
    assert message in _error(capsys)
    assert not (tmp_path / "m.joblib").exists()


def test_a_missing_report_names_make_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert send_transactions.main([]) == 2
    assert "make up" in _error(capsys)


def test_a_directory_that_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write_csv.main([str(tmp_path / "none" / "table.csv")]) == 2
    assert "cannot be written" in _error(capsys)
