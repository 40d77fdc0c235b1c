"""Cleaning up a directory of model files: counted by model, told from the names."""

import os
from pathlib import Path

import pytest

from model_store.errors import FileMissing
from model_store.registry.files.model_directory import cleanup_model_files, strip_version


def _write(directory: Path, *names: str) -> None:
    """Writes files, each changed a minute after the one before."""
    for number, name in enumerate(names):
        (directory / name).write_text("x")
        os.utime(directory / name, (60 * number, 60 * number))


def _left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "fraud.joblib",
        "fraud_v1.joblib",
        "fraud-V2.pkl",
        "fraud.v3.skops",
        "fraud_1.2.3.onnx",
        "fraud_v1.2.3-rc1.joblib",
        "fraud_v2_20241009.pickle",
        "fraud_20241009_123456.pkl",
        "fraud_20241009T123456Z.pkl",
        "fraud_2024-10-09.joblib.gz",
        "fraud_2024-10-09_12-30.joblib",
    ],
)
def test_a_version_or_date_at_the_end_belongs_to_no_name(name: str) -> None:
    assert strip_version(Path(name)) == "fraud"


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("fraud_tuned.joblib", "fraud_tuned"),
        ("fraud30.joblib", "fraud30"),
        ("fraud_30d.joblib", "fraud_30d"),
        ("fraud_v1_final.joblib", "fraud_v1_final"),
        ("fraud_detector_XGBoost_20241009_123456.joblib", "fraud_detector_XGBoost"),
        ("7.joblib", ""),
    ],
)
def test_other_parts_of_a_file_name_belong_to_the_model_name(name: str, model: str) -> None:
    assert strip_version(Path(name)) == model


def test_the_latest_of_each_model_stay(tmp_path: Path) -> None:
    _write(tmp_path, "card_v1.joblib", "fraud_v1.joblib", "fraud_v2.joblib", "fraud_20241009_123456.pkl")
    assert cleanup_model_files(tmp_path, 2, dry_run=True) == [str(tmp_path / "fraud_v1.joblib")]
    assert len(_left(tmp_path)) == 4
    cleanup_model_files(tmp_path, 1, dry_run=False)
    assert _left(tmp_path) == ["card_v1.joblib", "fraud_20241009_123456.pkl"]


def test_two_forms_of_one_version_count_once_and_go_together(tmp_path: Path) -> None:
    _write(tmp_path, "fraud_v1.joblib", "fraud_v2.joblib", "fraud_v1.onnx", "fraud_v3.joblib")
    assert cleanup_model_files(tmp_path, 2, dry_run=False) == [str(tmp_path / "fraud_v2.joblib")]
    assert _left(tmp_path) == ["fraud_v1.joblib", "fraud_v1.onnx", "fraud_v3.joblib"]


def test_descriptions_go_with_their_model_and_other_files_stay(tmp_path: Path) -> None:
    others = ["notes.txt", "fraud_v1.json", "fraud_v1.csv", "report_v1.pdf"]
    _write(tmp_path, "fraud_v1.joblib", "fraud_v1.joblib.metrics.json", "fraud_v2.joblib", *others)
    (tmp_path / "fraud_v0.joblib").mkdir()
    cleanup_model_files(tmp_path, 1, dry_run=False)
    assert _left(tmp_path) == sorted(["fraud_v2.joblib", "fraud_v0.joblib", *others])


def test_at_least_one_version_stays_and_a_missing_directory_is_named(tmp_path: Path) -> None:
    _write(tmp_path, "fraud_v1.joblib", "fraud_v2.joblib")
    cleanup_model_files(tmp_path, -3, dry_run=False)
    assert _left(tmp_path) == ["fraud_v2.joblib"]
    with pytest.raises(FileMissing, match="nowhere"):
        cleanup_model_files(tmp_path / "nowhere", 1, dry_run=True)
