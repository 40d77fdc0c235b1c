"""Runs one serving container, and replaces it without refusing a request.

The new container is ready, and has answered its golden rows, before `status.json` of the run directory names it; the
traffic splitter reads that file. Only then is the container before it stopped. A container that does not become ready
is removed, and the one before it goes on. Once the file names the new one, the update is done: what Docker does not
remove any more, the next look finds. Standard library only, without Pulumi.
"""

import contextlib
import json
import os
import secrets
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.api_keys_copy import has_copy, refreshed_copy
from components.container_arguments import (
    ARGUMENTS,
    arguments_digest,
    container_arguments,
    decision_log_directory,
    override_directory,
)
from components.docker_engine import DockerFailed, DockerSilent, docker, inspect, labelled
from components.process_supervision import ServingFailed
from components.run_requests import make_override_directory
from conventions.run_files import STATUS_FILE

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 5.0
_SWITCH_SECONDS = 1.5
"""The traffic splitter reads `status.json` twice a second."""
_DRAINED_SECONDS = 3.0
"""A traffic splitter that was replaced finishes its connections within two seconds, and asks this container still."""
_STOP_SECONDS = "20"
_RESTART_POLICY = "unless-stopped"
_LOWEST_PORT, _PORTS = 20_000, 12_000
"""Below the ports that Linux gives to outgoing connections: a container that starts again finds its port free."""
_PORT_TRIES = 5
_LONGEST_LINE = 300
_LOG_SECONDS = 10.0


def run_directory(arguments: Mapping[str, Any]) -> Path:
    """The directory whose `status.json` names the container that serves."""
    return Path(arguments["checkout"]) / ".run" / str(arguments["run_name"])


def outputs(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the outputs of the resource."""
    return {"container": _serving(arguments).get("container")}


def find_problem(arguments: Mapping[str, Any]) -> str:
    """Returns why the container of these arguments does not serve; empty when it does.

    Raises:
        DockerFailed: Docker does not answer.
    """
    serving = _serving(arguments)
    found = inspect(serving["container"]) if serving.get("container") else None
    if found is None:
        return "there is no container"
    if found["Config"]["Labels"].get("fraud-detection.arguments") != arguments_digest(arguments):
        return "the container has other arguments"
    return state_problem(found) or _changed_by_hand(found, arguments) or _answer_problem(serving)


def is_left_over(arguments: Mapping[str, Any]) -> bool:
    """Whether a container of the run is there beside the one that serves: of a killed update, or not removed.

    Raises:
        DockerFailed: Docker does not answer.
    """
    return bool(_others(arguments, _serving(arguments).get("container")))


def serve(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Starts a container with these arguments in place of the one before; returns the resource's properties.

    Raises:
        ServingFailed: the new container did not become ready; the one before goes on serving.
    """
    run_directory(arguments).mkdir(parents=True, exist_ok=True)
    make_override_directory(override_directory(arguments))
    _make_log_directory(arguments)
    api_keys = Path(arguments["api_keys_file"])
    try:
        with refreshed_copy(api_keys) if has_copy(api_keys) else contextlib.nullcontext():
            _replace(arguments)
    except DockerFailed as error:
        raise ServingFailed(f"{_told(error)}{_goes_on(_serving(arguments))}") from None
    except OSError as error:
        raise ServingFailed(f"the API keys cannot be given to the container: {error}") from None
    return {**{key: arguments.get(key) for key in ARGUMENTS}, **outputs(arguments)}


def _replace(arguments: Mapping[str, Any]) -> None:
    serving, switched = _serving(arguments), False
    if find_problem(arguments):
        before = serving.get("container")
        _remove_others(arguments, before)
        serving = _start_ready(arguments, _goes_on(serving))
        _write_status(arguments, serving)
        switched = before is not None
    # The container serves, whatever Docker answers from here on.
    with contextlib.suppress(DockerFailed):
        if others := _others(arguments, serving["container"]):
            if switched and any(_is_running(each) for each in others):
                time.sleep(_SWITCH_SECONDS)
            for each in others:
                _remove(each)
        docker("rename", serving["container"], str(arguments["run_name"]))


def _make_log_directory(arguments: Mapping[str, Any]) -> None:
    """Makes the directory of the decision log, as the user who writes it."""
    log = decision_log_directory(arguments)
    if log is None or log.is_dir():
        return
    log.mkdir(mode=0o750, parents=True)
    owner, _, group = str(arguments["user"]).partition(":")
    if os.geteuid() == 0 and owner.isdigit() and group.isdigit():
        os.chown(log, int(owner), int(group))


def stop(arguments: Mapping[str, Any]) -> None:
    """Stops and removes every container of the run, also one that a killed run left.

    Raises:
        ServingFailed: Docker does not answer.
    """
    try:
        if (container := _serving(arguments).get("container")) and _is_running(container):
            time.sleep(_DRAINED_SECONDS)
        _remove_others(arguments, None)
    except DockerFailed as error:
        raise ServingFailed(_told(error)) from None
    with contextlib.suppress(FileNotFoundError):
        (run_directory(arguments) / STATUS_FILE).unlink()


def _told(error: DockerFailed) -> str:
    return str(error) if isinstance(error, DockerSilent) else f"Docker: {error}"


def remove_deployment(checkout: str, deployment_name: str) -> int:
    """Stops and removes every container of a deployment; returns how many there were.

    Raises:
        ServingFailed: Docker does not answer.
    """
    try:
        found = labelled(checkout=checkout, deployment=deployment_name)
        for container in found:
            _remove(container)
    except DockerFailed as error:
        raise ServingFailed(_told(error)) from None
    return len(found)


def _start_ready(arguments: Mapping[str, Any], goes_on: str) -> dict[str, Any]:
    """Returns the entry of `status.json` for a new container that is ready; removes one that does not get so."""
    container, port = _start(arguments)
    try:
        _wait_until_ready(arguments, container, port)
        docker("update", "--restart", _RESTART_POLICY, container)
    except (ServingFailed, DockerFailed) as error:
        _keep_log(arguments, container)
        with contextlib.suppress(DockerSilent):
            # The next update, or `down`, removes what a daemon that hangs keeps.
            _remove(container)
        raise ServingFailed(f"{arguments['model_id']} does not serve: {error}{goes_on}") from None
    except BaseException:
        _remove(container)
        raise
    return {"container": container, "model_id": arguments["model_id"], "host": "127.0.0.1", "port": port}


def _start(arguments: Mapping[str, Any]) -> tuple[str, int]:
    for left in reversed(range(_PORT_TRIES)):
        port = _free_port()
        # Another name than the one that serves; it gets that name when the other is gone.
        name = f"{arguments['run_name']}-{secrets.token_hex(4)}"
        container = docker("create", *container_arguments(arguments, name, port))
        try:
            docker("start", container)
        except DockerFailed as error:
            _remove(container)
            if not left or not ("already allocated" in str(error) or "address already in use" in str(error)):
                raise
        else:
            return container, port
    raise AssertionError  # the last try returns or raises


def _wait_until_ready(arguments: Mapping[str, Any], container: str, port: int) -> None:
    seconds = float(arguments["ready_timeout_seconds"])
    deadline = time.monotonic() + seconds
    problem = ""
    while time.monotonic() < deadline:
        found = inspect(container)
        if found is None:
            raise ServingFailed("somebody removed its container while it started")
        if problem := state_problem(found):
            raise ServingFailed(f"{problem}{_last_error(container)}")
        if not (problem := _answer_problem({"port": port, "model_id": arguments["model_id"]}, 2.0)):
            return
        time.sleep(_POLL_SECONDS)
    raise ServingFailed(f"its container was not ready after {seconds:g} s ({problem}){_last_error(container)}")


def state_problem(found: Mapping[str, Any]) -> str:
    """Returns why a container, as Docker describes it, does not run as it should; empty when it does."""
    state = found["State"]
    if state.get("OOMKilled"):
        return (
            f"the container needs more memory than its {found['HostConfig']['Memory'] >> 20} MiB (killed by the system)"
        )
    if state.get("Paused"):
        return "the container is paused"
    if state.get("Restarting"):
        return f"the container starts over and over (exit code {state['ExitCode']})"
    if not state.get("Running"):
        return f"the container ended with code {state['ExitCode']}"
    if not found["NetworkSettings"]["Networks"]:
        return "the container was taken off its network"
    return ""


def _changed_by_hand(found: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    host = found["HostConfig"]
    wanted = (int(arguments["memory_mib"]) << 20, round(float(arguments["cpus"]) * 1e9), _RESTART_POLICY)
    if (host["Memory"], host["NanoCpus"], host["RestartPolicy"]["Name"]) != wanted:
        return "the container's memory, processors or restart policy were changed by hand"
    return ""


def serving_container(arguments: Mapping[str, Any]) -> str:
    """Docker's id of the container that serves a run; empty when none does.

    Args:
        arguments: `checkout` and `run_name`.
    """
    return str(_serving(arguments).get("container") or "")


def endpoint_problem(arguments: Mapping[str, Any]) -> str:
    """Returns why the container that serves a run does not answer on the loopback; empty when it does.

    Args:
        arguments: `checkout` and `run_name`.
    """
    serving = _serving(arguments)
    return _answer_problem(serving, 2.0) if serving.get("port") else "no container of this run serves"


def _answer_problem(serving: Mapping[str, Any], timeout: float = _ANSWER_SECONDS) -> str:
    url = f"http://127.0.0.1:{int(serving['port'])}/health/ready"
    try:
        with _DIRECT.open(url, timeout=timeout) as response:
            answer = json.load(response)
    except (urllib.error.URLError, OSError, ValueError) as error:
        return f"{url} does not answer ready: {getattr(error, 'reason', error)}"
    served = answer.get("model_id") if isinstance(answer, dict) else None
    return "" if served == serving["model_id"] else f"{url} answers for {served}"


def _last_error(container: str) -> str:
    """The last error of a container's log, or else its last line, for a message; empty when the log is."""
    try:
        lines = [line for line in _log_lines(container) if line.strip()]
    except DockerFailed:
        return ""
    for line in reversed(lines):
        with contextlib.suppress(ValueError, AttributeError):
            entry = json.loads(line)
            if str(entry.get("level", "")).lower() in ("error", "critical"):
                return f": {entry.get('message')}"
    return f": {lines[-1].strip()[:_LONGEST_LINE]}" if lines else ""


def _log_lines(container: str) -> list[str]:
    return docker("logs", "--tail", "200", container, timeout=_LOG_SECONDS, with_errors=True).splitlines()


def _keep_log(arguments: Mapping[str, Any], container: str) -> None:
    """Keeps the end of a container's log in `logs/` of the checkout, before the container is removed."""
    with contextlib.suppress(DockerFailed, OSError):
        lines = _log_lines(container)
        directory = Path(arguments["checkout"]) / "logs"
        directory.mkdir(exist_ok=True)
        with (directory / f"{arguments['run_name']}.log").open("w", encoding="utf-8") as log:
            log.writelines(f"{line}\n" for line in lines)


def _goes_on(serving: Mapping[str, Any]) -> str:
    if serving.get("container") and not _answer_problem(serving, 2.0):
        return f"; {serving['model_id']} goes on serving"
    return ""


def _is_running(container: str) -> bool:
    found = inspect(container)
    return found is not None and bool(found["State"]["Running"])


def _remove_others(arguments: Mapping[str, Any], kept: str | None) -> None:
    for container in _others(arguments, kept):
        _remove(container)


def _others(arguments: Mapping[str, Any], kept: str | None) -> list[str]:
    """The containers of a run but one."""
    found = labelled(checkout=str(arguments["checkout"]), run=str(arguments["run_name"]))
    return [container for container in found if container != kept]


def _remove(container: str) -> None:
    # A paused container does not hear that it should stop.
    for step in (("unpause",), ("stop", "--time", _STOP_SECONDS)):
        try:
            docker(*step, container)
        except DockerSilent:
            raise
        except DockerFailed:
            continue
    try:
        docker("rm", "--force", "--volumes", container)
    except DockerFailed as error:
        if "no such container" not in str(error).lower() and "already in progress" not in str(error):
            raise


def _free_port() -> int:
    for _ in range(200):
        port = _LOWEST_PORT + secrets.randbelow(_PORTS)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServingFailed("no port of the loopback is free")


def _serving(arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        status = json.loads((run_directory(arguments) / STATUS_FILE).read_text(encoding="utf-8"))
        return dict(status["serving"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def _write_status(arguments: Mapping[str, Any], serving: Mapping[str, Any]) -> None:
    directory = run_directory(arguments)
    staging = directory / f".{STATUS_FILE}.new"
    staging.write_text(json.dumps({"state": "ready", "serving": serving}, indent=2) + "\n", encoding="utf-8")
    staging.replace(directory / STATUS_FILE)
