"""Whatever fails in a switch on this machine, what served before serves, and every record names it."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from components import process_supervision as supervision
from components.development_certificate import ensure_development_certificate
from components.process_supervision import ServingFailed, is_serving, run_directory, serve, stop
from conventions.endpoint_tls import CERTIFICATE_FILE, KEY_FILE
from tests.checkout import SOURCE
from tests.service import Setting

Arguments = dict[str, Any]


@pytest.fixture
def serving(setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arguments]:
    """A version that serves, by its arguments."""
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.setattr(supervision, "_SUPERVISOR_ANSWER_SECONDS", 20.0)
    files = []
    for name in ("a", "b"):
        directory = tmp_path / name
        directory.mkdir()
        ensure_development_certificate(directory, "127.0.0.1")
        certificate, key = directory / CERTIFICATE_FILE, directory / KEY_FILE
        files.append({"TLS_CERTIFICATE_FILE": str(certificate), "TLS_KEY_FILE": str(key)})
    version = setting.registry.get_metadata(setting.model_id)
    arguments = {
        "deployment_name": "test", "environment": "development", "model_id": setting.model_id,
        "model_uri": setting.registry.artifact_path(setting.model_id).parent.as_uri(), "model_digest": version.digest,
        "host": "127.0.0.1", "port": 0, "model_key_file": str(setting.directory / "model.key"),
        "api_keys_file": str(setting.directory / "api_keys.json"), "checkout": str(tmp_path), "log_level": "INFO",
        "ready_timeout_seconds": 60, "variables": files[0],
    }  # fmt: skip
    serve(arguments)
    try:
        yield {**arguments, "other": files[1]}
    finally:
        stop(arguments)


@contextmanager
def _nothing(_arguments: Arguments) -> Iterator[None]:
    yield


@contextmanager
def _certificate_is_lost_after_the_switch(arguments: Arguments) -> Iterator[None]:
    """The new process serves, and the check of its address cannot read the certificate to compare."""
    status = run_directory(arguments) / "status.json"
    before = json.loads(status.read_text())["generation"]

    def lose() -> None:
        while True:
            with contextlib.suppress(OSError, ValueError):
                found = json.loads(status.read_text())
                if found["generation"] != before and found["state"] == "ready":
                    break
            time.sleep(0.001)
        Path(arguments["variables"]["TLS_CERTIFICATE_FILE"]).unlink()

    thread = threading.Thread(target=lose, daemon=True)
    thread.start()
    yield
    thread.join(5)


@contextmanager
def _request_cannot_be_written(arguments: Arguments) -> Iterator[None]:
    staging = run_directory(arguments) / ".requested.json.new"
    staging.mkdir()
    yield
    staging.rmdir()


FAULTS: list[tuple[str, dict[str, Any], Callable[[Arguments], Any], str]] = [
    ("the model is not intact", {"model_digest": "sha256:" + "0" * 64}, _nothing, "ChecksumMismatch"),
    ("the process is slow", {"ready_timeout_seconds": 0.05}, _nothing, "NotReady"),
    ("the process does not start", {"variables": {"LOG_LEVEL": "loud"}}, _nothing, "SettingsError"),
    ("another model is loaded", {"variables": {"MODEL_ID": "x"}}, _nothing, "does not serve"),
    ("the check after the switch fails", {"variables": None}, _certificate_is_lost_after_the_switch, "serves again"),
    ("the request cannot be written", {}, _request_cannot_be_written, "requested.json"),
]


@pytest.mark.parametrize(("changes", "fault", "said"), [each[1:] for each in FAULTS], ids=[each[0] for each in FAULTS])
def test_what_served_before_serves_after_a_switch_that_fails(
    serving: Arguments, changes: dict[str, Any], fault: Callable[[Arguments], Any], said: str
) -> None:
    other = serving.pop("other")
    wanted = {**serving, "log_level": "WARNING", **changes}
    if wanted["variables"] is None:
        wanted["variables"] = other
    directory = run_directory(serving)
    before = json.loads((directory / "requested.json").read_text())
    with fault(wanted), pytest.raises(ServingFailed) as caught:
        supervision._SUPERVISOR_ANSWER_SECONDS = 20.0 if said != "serves again" else 3.0
        serve(wanted)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ("goes on serving" in str(caught.value)) or ("serves again" in str(caught.value))
    assert is_serving(serving)
    after = json.loads((directory / "requested.json").read_text())
    assert {**after, "generation": 0} == {**before, "generation": 0}, "the request is that of what serves"
    status = json.loads((directory / "status.json").read_text())
    assert status["serving"]["model_id"] == serving["model_id"]
