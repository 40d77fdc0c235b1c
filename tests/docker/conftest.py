"""A Docker that answers, the image built from this checkout, and a checkout whose stack is on platform docker."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock
import psutil
import pytest
import yaml

from tests.checkout import SOURCE, Checkout, Deployed, make_checkout, stop_everything
from toolchain import cache

SLIM = "python:3.11-slim-bookworm"
IMAGE = "fraud-detection/serving:test"
_BASE = "fraud-detection/base:test"
_SHARED = "docker"
"""Directory of a run, which its workers share."""
_WORKER = "PYTEST_XDIST_WORKER"


def run(*command: str, timeout: float = 600, **more: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command whose failure the caller looks at."""
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **more)


def done(*command: str, timeout: float = 600, **more: Any) -> str:
    """Runs a command in the project, and returns what it wrote."""
    completed = run(*command, timeout=timeout, **{"cwd": SOURCE, **more})
    assert completed.returncode == 0, f"{command}: {completed.stdout[-1500:]}{completed.stderr[-1500:]}"
    return completed.stdout.strip()


def have(program: str, *packages: str) -> bool:
    """Whether a program is there, by installing Debian's package if need be."""
    if shutil.which(program) is None and shutil.which("apt-get") is not None and os.geteuid() == 0:
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    return shutil.which(program) is not None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each reason to skip, however many tests it is of."""
    for reason in sorted({str(each.longrepr[2]) for each in terminalreporter.stats.get("skipped", [])}):
        terminalreporter.write_line(reason)


@pytest.fixture(scope="session", autouse=True)
def docker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Docker that answers, with the image: the one that runs, or one that is started here as root.

    The workers of a run share it; it ends with the run.

    Returns:
        The directory that the workers share.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if _WORKER in os.environ else base) / _SHARED
    shared.mkdir(exist_ok=True)
    with filelock.FileLock(shared / "lock"):
        if (shared / "pid").exists():
            os.environ["DOCKER_HOST"] = _socket(shared)
        elif run("docker", "info").returncode != 0:
            _start(shared)
        options = shared / "build_options.json"
        if not options.exists():
            options.write_text(json.dumps(_build(shared)))
    return shared


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Ends the daemon, also after a Ctrl-C; its workers have ended before."""
    shared = session.config._tmp_path_factory.getbasetemp() / _SHARED  # type: ignore[attr-defined]
    if _WORKER not in os.environ and (shared / "pid").exists():
        _stop(shared)


def _socket(shared: Path) -> str:
    return f"unix://{shared}/docker.sock"


def _start(shared: Path) -> None:
    if os.geteuid() != 0 or not have("dockerd", "docker.io", "iptables"):
        pytest.skip("Docker cannot run here: no daemon answers, and none can be installed")
    data = cache.entry("docker", "data")
    data.mkdir(parents=True, exist_ok=True)
    # Images stay in the user's cache, and with them the layers that are slow to build; Docker knows them by content.
    with (data.parent / "lock").open("w") as lock, (shared / "dockerd.log").open("wb") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        options = ("--data-root", str(data), "--exec-root", str(shared / "exec"), "--pidfile", str(shared / "pid"))
        # The daemon holds the lock as long as it runs: the worker that starts it may end before the others.
        daemon = subprocess.Popen(
            ["dockerd", "--host", _socket(shared), *options],
            stdout=log,
            stderr=log,
            pass_fds=[lock.fileno()],
            start_new_session=True,
        )
    os.environ["DOCKER_HOST"] = _socket(shared)
    _wait_for_daemon(daemon, shared / "dockerd.log")


def _stop(shared: Path) -> None:
    os.environ["DOCKER_HOST"] = _socket(shared)
    run("sh", "-c", "docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes")
    run("docker", "image", "prune", "--force")
    with suppress(psutil.NoSuchProcess):
        daemon = psutil.Process(int((shared / "pid").read_text()))
        daemon.terminate()
        daemon.wait(timeout=60)
    run("umount", str(shared / "exec" / "netns" / "default"))


def _wait_for_daemon(daemon: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 60
    while run("docker", "info").returncode != 0:
        if daemon.poll() is not None or time.monotonic() > until:
            daemon.terminate()
            pytest.skip(f"Docker cannot run here: {log.read_text().strip().splitlines()[-1][-300:]}")
        time.sleep(0.5)


@pytest.fixture(scope="session")
def build_options(docker: Path) -> list[str]:
    """What `docker build` needs where nothing can be pulled: a base made from Debian's packages, and the network."""
    options: list[str] = json.loads((docker / "build_options.json").read_text())
    return options


def _find_build_options(shared: Path) -> list[str]:
    if run("docker", "image", "inspect", _BASE).returncode == 0:
        return ["--network", "host", "--build-arg", f"BASE_IMAGE={_BASE}"]
    if run("docker", "pull", "--quiet", SLIM, timeout=120).returncode == 0:
        return []
    if not have("debootstrap", "debootstrap"):
        pytest.skip(f"Docker cannot have a base image here: {SLIM} cannot be pulled, and there is no debootstrap")
    root = shared / "base"
    sources = "".join(path.read_text() for path in Path("/etc/apt").glob("sources.list*/*.sources"))
    sources += Path("/etc/apt/sources.list").read_text() if Path("/etc/apt/sources.list").exists() else ""
    mirrors = re.findall(r"^(?:URIs:|deb)\s.*?(https?://\S+/debian)/?(?=\s|$)", sources, re.MULTILINE)
    include = "--include=python3,python3-pip,ca-certificates"
    done("debootstrap", "--variant=minbase", include, "bookworm", str(root), *mirrors[:1])
    shutil.rmtree(root / "var" / "cache" / "apt", ignore_errors=True)
    done("sh", "-c", f"tar -C {root} -c . | docker import - {_BASE}")
    shutil.rmtree(root)
    return ["--network", "host", "--build-arg", f"BASE_IMAGE={_BASE}"]


def _build(shared: Path) -> list[str]:
    """Builds the service's image by `make image`, and returns the options; its layers are kept."""
    options = _find_build_options(shared)
    certificates = SOURCE / "build" / "certificates.pem"
    if (own := os.environ.get("PIP_CERT")) and not certificates.exists():
        certificates.parent.mkdir(exist_ok=True)
        shutil.copyfile(own, certificates)
    # The tag keeps the first stage from being pruned.
    done("docker", "build", "--quiet", *options, "--target", "build", "--tag", "fraud-detection/build:test", ".")
    done("make", "image", f"IMAGE={IMAGE}", f"BUILD_OPTIONS={' '.join(options)}", timeout=1200)
    return options


@pytest.fixture(scope="session")
def image(docker: Path) -> str:
    """The service's image under a name of this worker's own."""
    own = f"{IMAGE}-{os.environ.get(_WORKER, 'alone')}"
    done("docker", "tag", IMAGE, own)
    return own


@pytest.fixture(scope="session")
def docker_deployed(image: str, tmp_path_factory: pytest.TempPathFactory, trained_models: Path) -> Iterator[Deployed]:
    """`up` on platform docker, with the keys and the registry that the product makes, for nobody but their owner."""
    before = os.umask(0o077)
    try:
        checkout = make_checkout(tmp_path_factory.mktemp("platform") / "checkout")
        shutil.copytree(trained_models, checkout.root / "models")
        use_docker(checkout, image)
        answer = json.loads(checkout.deploy_model("up", "development", "--json").stdout)
        listed = json.loads(checkout.deploy_model("list-models", "--json").stdout)
        other = next(model["model_id"] for model in listed if model["model_id"] != answer["model_id"])
        third = checkout.register("xgboost_model.joblib")
        yield Deployed(checkout, answer["model_id"], other, third)
        # Of this checkout alone: the daemon may be somebody's own.
        for each in containers(checkout):
            run("docker", "rm", "--force", "--volumes", each["Id"])
        stop_everything(checkout)
    finally:
        os.umask(before)


def use_docker(checkout: Checkout, image: str) -> None:
    """Puts the stack on platform docker."""
    text = checkout.stack_file.read_text().replace(
        "fraud-detection:platform: local", "fraud-detection:platform: docker"
    )
    checkout.stack_file.write_text(f"{text.rstrip()}\n  fraud-detection:image:\n    reference: {image}\n")


RUN = "fraud-detection-dev-blue-container"
"""The run of the stable version; its container has this name unless another checkout's container has it."""


def container(checkout: Checkout) -> str:
    """Docker's id of the only container of a checkout."""
    (found,) = containers(checkout)
    return str(found["Id"])


def runs(checkout: Checkout) -> set[str]:
    """The runs that have a container."""
    return {each["Config"]["Labels"]["fraud-detection.run"] for each in containers(checkout)}


def containers(checkout: Checkout) -> list[dict[str, Any]]:
    """What Docker knows of a checkout's containers."""
    found = done("docker", "ps", "--all", "--quiet", "--filter", f"label=fraud-detection.checkout={checkout.root}")
    return [json.loads(done("docker", "inspect", each))[0] for each in found.split()]


@contextmanager
def changed(checkout: Checkout, change: Callable[[dict[str, Any]], object]) -> Iterator[None]:
    """Changes the stack's config for the length of the block."""
    before = checkout.stack_file.read_text()
    content = yaml.safe_load(before)
    change(content["config"])
    checkout.stack_file.write_text(yaml.safe_dump(content))
    try:
        yield
    finally:
        checkout.stack_file.write_text(before)
