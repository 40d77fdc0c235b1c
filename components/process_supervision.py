"""Talks to the supervisor of a serving process through its run directory.

The protocol of `serving.supervisor`: `requested.json` and SIGHUP carry a request, `status.json` carries the answer, and
the supervisor holds a lock while it lives. Standard library only, without Pulumi.
"""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.run_directories import read_request, read_status, run_directory, run_name, supervisor_lives
from components.run_requests import request_of, write_file, write_request
from conventions import variables
from conventions.endpoint_tls import own_verification
from conventions.run_files import (
    PID_FILE,
    REQUESTED_FILE,
    STATUS_FILE,
)

ARGUMENTS = (
    "deployment_name",
    "environment",
    "model_id",
    "model_uri",
    "model_digest",
    "model_runtime_digest",
    "host",
    "port",
    "model_key_file",
    "api_keys_file",
    "checkout",
    "log_level",
    "ready_timeout_seconds",
    "run_name",
    "module",
    "variables",
    "development_host",
)
"""The resource's inputs; its other properties are outputs."""

_LIVENESS_ATTEMPTS = 2
_LIVENESS_SECONDS = 3.0
_POLL_SECONDS = 0.02
_SUPERVISOR_ANSWER_SECONDS = 30.0
_STOP_SECONDS = 40.0
_NO_ANSWER, _SUPERSEDED = "NoAnswer", "Superseded"


class ServingFailed(Exception):
    """The serving process did not reach the requested state."""


# The engine prints the class of an error with its module; the message is what a person needs.
ServingFailed.__module__ = "builtins"


def log_file(arguments: Mapping[str, Any]) -> Path:
    """The log of the supervisor and its serving processes."""
    return Path(arguments["checkout"]) / "logs" / f"{run_name(arguments)}.log"


def base_url(arguments: Mapping[str, Any]) -> str:
    """The endpoint's address, such as `http://127.0.0.1:8000`."""
    host = str(arguments["host"])
    port = int(arguments["port"]) or int(
        ((read_status(run_directory(arguments)) or {}).get("serving") or {}).get("port", 0)
    )
    scheme = "https" if _certificate(arguments) else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def outputs(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the outputs of the resource."""
    serving = _serving(arguments)
    return {"url": base_url(arguments), "pid": serving.get("pid")}


def is_serving(arguments: Mapping[str, Any]) -> bool:
    """Whether a live supervisor runs a process that serves the model version of these arguments, and that answers."""
    if not supervisor_lives(run_directory(arguments)) or _serving(arguments).get("model_id") != arguments["model_id"]:
        return False
    return any(_answers(arguments) for _ in range(_LIVENESS_ATTEMPTS))


def needs_certificate(arguments: Mapping[str, Any]) -> bool:
    """Whether a certificate of development is missing or ends soon."""
    if not arguments.get("development_host"):
        return False
    from components.development_certificate import is_due

    return is_due(Path(arguments["checkout"]))


def serve(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Starts a process with these arguments and returns the resource's properties.

    Raises:
        ServingFailed: the new process did not become ready, or its address did not answer; the old one serves.
    """
    directory = run_directory(arguments)
    before = _request_that_serves(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        log_file(arguments).parent.mkdir(parents=True, exist_ok=True)
        if host := arguments.get("development_host"):
            _make_certificate(Path(arguments["checkout"]), str(host))
        generation = write_request(directory, request_of(arguments))
        status = _ask(directory, arguments, generation)
    except OSError as error:
        # The request stands aside until it is whole: what served before is still asked for.
        problem, back = f": {error.filename or directory}: {error.strerror}", _goes_on(before)
    else:
        problem, back = _check_switch(directory, arguments, before, status)
    if problem:
        raise ServingFailed(f"{arguments['model_id']} does not serve{problem}{back}. Log: {log_file(arguments)}")
    return {**{key: arguments.get(key) for key in ARGUMENTS}, **outputs(arguments)}


def _check_switch(
    directory: Path, arguments: Mapping[str, Any], before: Mapping[str, Any] | None, status: Mapping[str, Any]
) -> tuple[str, str]:
    """Returns what is wrong with the process that was asked for, and what serves in its place; empty when all is well.

    Whatever fails once the new process may serve, the one before is asked for again: what serves is what is recorded.
    """
    if status["state"] == "ready":
        try:
            _wait_for_answer(arguments)
        except ServingFailed as failure:
            return f": {failure}", _switch_back(directory, arguments, before)
        return "", ""
    problem = f" ({status['code']}): {status['error']}"
    if status["code"] == _NO_ANSWER:
        return problem, _switch_back(directory, arguments, before)
    if status["code"] != _SUPERSEDED and before is not None:
        with contextlib.suppress(OSError):
            write_file(directory, before)
    return problem, _goes_on(before)


def _request_that_serves(directory: Path) -> dict[str, Any] | None:
    """The request whose process serves; None where none does."""
    serving = (read_status(directory) or {}).get("serving") or {}
    request = read_request(directory)
    if request is None or not supervisor_lives(directory) or request.get("model_id") != serving.get("model_id"):
        return None
    return request


def _goes_on(before: Mapping[str, Any] | None) -> str:
    return f"; {before['model_id']} goes on serving" if before is not None else ""


def _switch_back(directory: Path, arguments: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    """Asks for what served before, or for nothing; tells what came of it."""
    try:
        if before is None:
            stop(arguments)
            return "; it was stopped"
        generation = write_request(directory, before)
        status = _ask(directory, {**arguments, **before}, generation)
    except (OSError, ServingFailed) as error:
        return f"; and what served before was not brought back ({error})"
    if status["state"] != "ready":
        return f"; and {before['model_id']} was not brought back ({status['error']})"
    return f"; {before['model_id']} serves again"


def _make_certificate(checkout: Path, host: str) -> None:
    from components.development_certificate import ensure_development_certificate

    try:
        ensure_development_certificate(checkout, host)
    except OSError as error:
        raise ServingFailed(f"the certificate of development was not written ({error})") from None


def _certificate(arguments: Mapping[str, Any]) -> str:
    """The file with the endpoint's certificate; empty for plain HTTP."""
    return str((arguments.get("variables") or {}).get(variables.TLS_CERTIFICATE_FILE) or "")


def _opener(arguments: Mapping[str, Any]) -> urllib.request.OpenerDirector:
    """Asks the process directly: a proxy is for other machines, and the process is on this one."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if certificate := _certificate(arguments):
        handlers.append(urllib.request.HTTPSHandler(context=own_verification(Path(certificate))))
    return urllib.request.build_opener(*handlers)


def stop(arguments: Mapping[str, Any]) -> None:
    """Stops the supervisor and its process, and waits until both are gone.

    Raises:
        ServingFailed: the supervisor still runs after 40 seconds.
    """
    directory = run_directory(arguments)
    deadline = time.monotonic() + _STOP_SECONDS
    if supervisor_lives(directory):
        _signal_supervisor(directory, signal.SIGTERM)
    while supervisor_lives(directory):
        if time.monotonic() > deadline:
            raise ServingFailed(f"the supervisor in {directory} does not stop; its process id is in supervisor.pid")
        time.sleep(_POLL_SECONDS)
    for name in (REQUESTED_FILE, STATUS_FILE, PID_FILE):
        with contextlib.suppress(FileNotFoundError):
            (directory / name).unlink()


def _ask(directory: Path, arguments: Mapping[str, Any], generation: int) -> dict[str, Any]:
    """Sends the request to the live supervisor, or starts one; returns the final status of the request."""
    started: subprocess.Popen[bytes] | None = None
    if supervisor_lives(directory):
        _signal_supervisor(directory, signal.SIGHUP)
    else:
        started = _start_supervisor(directory, arguments)
    deadline = time.monotonic() + float(arguments["ready_timeout_seconds"]) + _SUPERVISOR_ANSWER_SECONDS
    while time.monotonic() < deadline:
        status = read_status(directory)
        if status and status["generation"] == generation and status["state"] in ("ready", "failed"):
            return status
        if status and status["generation"] > generation:
            return {"state": "failed", "code": _SUPERSEDED, "error": "another update has asked for another process"}
        if started is not None and started.poll() == os.EX_TEMPFAIL and supervisor_lives(directory):
            # An update that was killed had started one, which took the lock first.
            started = None
            _signal_supervisor(directory, signal.SIGHUP)
        elif started is not None and started.poll() is not None:
            return _last_words(directory, generation, started.returncode)
        time.sleep(_POLL_SECONDS)
    return {
        "state": "failed",
        "code": _NO_ANSWER,
        "error": f"the supervisor in {directory} did not answer in time",
    }


def _last_words(directory: Path, generation: int, code: int) -> dict[str, Any]:
    status = read_status(directory)
    if status and status["generation"] == generation and status["state"] in ("ready", "failed"):
        return status
    return {"state": "failed", "code": "SupervisorExited", "error": f"the supervisor ended with code {code}"}


def _start_supervisor(directory: Path, arguments: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    with contextlib.suppress(FileNotFoundError):
        (directory / STATUS_FILE).unlink()
    with log_file(arguments).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "serving.supervisor", str(directory), str(log_file(arguments))],
            cwd=str(arguments["checkout"]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _answers(arguments: Mapping[str, Any]) -> bool:
    """Whether the process answers; one that is stopped or hangs does not."""
    try:
        with _opener(arguments).open(f"{base_url(arguments)}/health/live", timeout=_LIVENESS_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        # Another certificate than the file's is an answer, too: a new one may not be read yet.
        return isinstance(error.reason, ssl.SSLCertVerificationError)
    except (OSError, ValueError):
        return False


def _wait_for_answer(arguments: Mapping[str, Any]) -> None:
    """Waits until the endpoint's address answers ready with the expected model id."""
    deadline = time.monotonic() + _SUPERVISOR_ANSWER_SECONDS
    answer: object = None
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, OSError, ValueError):
            with _opener(arguments).open(f"{base_url(arguments)}/health/ready", timeout=5) as response:
                answer = json.load(response)
            if isinstance(answer, dict) and answer.get("model_id") == arguments["model_id"]:
                return
        time.sleep(_POLL_SECONDS)
    raise ServingFailed(f"{base_url(arguments)}/health/ready does not answer with {arguments['model_id']}: {answer!r}")


def _serving(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the supervisor's report on the serving process; empty when no process serves."""
    return (read_status(run_directory(arguments)) or {}).get("serving") or {}


def _signal_supervisor(directory: Path, number: signal.Signals) -> None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError, KeyError):
        # A full disk may have left the file empty.
        told = (directory / PID_FILE).read_text() or (read_status(directory) or {})["supervisor_pid"]
        os.kill(int(told), number)
