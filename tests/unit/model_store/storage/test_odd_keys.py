"""An object with an odd key below a registry's prefix is named, and everything else goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from conventions import exit_codes
from model_store import Keyring, ModelRegistry
from model_store.registry.recovery.backups import backup
from scripts.manage_models import main
from tests.unit.model_store.making import KEY, intact, register

_ODD = ["models/fraud//x", "models//manifest.json", "models/./x", "models/fraud/../x/manifest.json", "audit//x.json"]


@pytest.fixture
def bucket(cloud: str) -> Iterator[Any]:
    found = boto3.resource("s3").create_bucket(Bucket="odd")
    yield found
    found.objects.all().delete()
    found.delete()


@pytest.mark.parametrize("odd", _ODD)
def test_an_odd_key_is_named_and_stops_nothing(
    bucket: Any, odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_REGISTRY_URL", "s3://odd/reg")
    monkeypatch.setenv("MODEL_KEY", KEY.decode())
    registry = ModelRegistry("s3://odd/reg", keys=Keyring.of(KEY))
    ids = [register(registry, 1, "fraud"), register(registry, 2, "zebra")]
    bucket.put_object(Key=f"reg/{odd}", Body=b"{}")
    for command in (["list"], ["stats"], ["info", "fraud:1"], ["update-status", ids[0], "deprecated"]):
        assert main(command) == 0, command
    assert main(["cleanup", "s3://odd/reg", "--keep-latest", "1", "--dry-run"]) in (0, exit_codes.FILE_MISSING)
    capsys.readouterr()
    assert main(["verify"]) == exit_codes.NOT_INTACT
    assert f"--key 'reg/{odd}'" in capsys.readouterr().out
    outcome = backup(ModelRegistry("s3://odd/reg", keys=Keyring.of(KEY)), tmp_path / "backup")
    assert set(outcome["damaged"]) <= {f"models/reg/{odd}"}
    assert len(ModelRegistry(tmp_path / "backup").list_models()) == 2
    register(ModelRegistry("s3://odd/reg", keys=Keyring.of(KEY)), 3, "fraud")
    bucket.Object(f"reg/{odd}").delete()
    assert intact(ModelRegistry("s3://odd/reg", keys=Keyring.of(KEY)))


def test_what_is_no_record_in_the_audit_log_is_named_and_stops_nothing(
    registry: ModelRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    register(registry)
    monkeypatch.setenv("MODEL_REGISTRY_URL", registry.storage.location)
    for junk in ("x.json", "000000/notes.json"):
        registry.storage.path(f"audit/{junk}").write_text("{}")
    assert main(["verify"]) == exit_codes.NOT_INTACT
    said = capsys.readouterr().out
    assert "audit/x.json: not a record" in said
    assert "audit/000000/notes.json: not a record" in said
    assert main(["audit", "--verify"]) == 0
    assert backup(registry, tmp_path / "backup")["damaged"] == {}
    register(registry, 2)
    assert len(list(registry.audit.records())) == 3
