"""A checkout of its own for the engine tests: real engine, real registry, real endpoint, nothing of the user's."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from sandbox.processes import free_ports
from tests.stack_file import committed_stack_file

SOURCE = Path(__file__).resolve().parents[1]
TRANSACTIONS = "8000"
"""Of the example's simulation in tests."""
_PARTS = (
    "components",
    "config",
    "console",
    "conventions",
    "examples",
    "infra",
    "model_store",
    "scripts",
    "serving",
    "stacks",
    "toolchain",
    "Pulumi.yaml",
)


@dataclass
class Checkout:
    """A copy of the project with its own state, keys, registry and port."""

    root: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    timeout_seconds: int = 240
    """How long a command may take."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def template(self) -> Path:
        return self.root / "config" / "deployment_templates" / "development.yaml"

    @property
    def stack_file(self) -> Path:
        return self.root / "Pulumi.dev.yaml"

    @property
    def log(self) -> Path:
        return self.root / "logs" / "fraud-detection-dev.log"

    def run(self, *command: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command as a user would, and requires its exit code."""
        completed = subprocess.run(
            command,
            cwd=self.root,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=self.timeout_seconds,
            stdin=subprocess.DEVNULL,
        )
        output = f"{completed.stdout}\n{completed.stderr}"
        assert completed.returncode == code, f"{command} ended with {completed.returncode}, expected {code}:\n{output}"
        return completed

    def fails(self, *command: str, **environment: str) -> str:
        """Runs a command that has to fail, and returns what it said."""
        variables = {**self.environment, **environment}
        completed = subprocess.run(
            command, cwd=self.root, env=variables, capture_output=True, text=True, timeout=self.timeout_seconds
        )
        output = f"{completed.stdout}\n{completed.stderr}"
        assert completed.returncode != 0, f"{command} did not fail:\n{output}"
        return output

    def kill(self, command: list[str], wait: Callable[["subprocess.Popen[bytes]"], object]) -> None:
        """Starts a command and kills it, with all that it has started, when `wait` returns."""
        with subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as running:
            wait(running)
            os.killpg(running.pid, signal.SIGKILL)

    def deploy_model(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "scripts/deploy_model.py", *arguments, code=code)

    def manage_models(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "scripts/manage_models.py", *arguments, code=code)

    def pulumi(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return self.run("pulumi", *arguments, "--non-interactive", code=code)

    def deploy(self, model_id: str) -> dict[str, Any]:
        command = ("deploy", model_id, "development", "--config", str(self.template), "--json")
        answer: dict[str, Any] = json.loads(self.deploy_model(*command).stdout)
        return answer

    def ensure(self, model_id: str) -> None:
        """Deploys a model version unless it is served already."""
        if self.served_model() != model_id:
            self.deploy(model_id)

    def rollback(self, *arguments: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.deploy_model("rollback", "development", *arguments, "--json").stdout)
        return answer

    def list_deployments(self) -> list[dict[str, Any]]:
        command = ("list-deployments", "--environment", "development", "--json")
        found: list[dict[str, Any]] = json.loads(self.deploy_model(*command).stdout)
        return found

    def register(self, file: str) -> str:
        """Registers one of the example's model files and returns the model id."""
        command = ("register", f"models/{file}", "fraud_detector", "XGBoost", "--json")
        return str(json.loads(self.manage_models(*command).stdout)["model_id"])

    def approve(self, model_id: str) -> None:
        """Validates a version and approves it, the latter by somebody else than who registered it."""
        report = self.root / ".run" / "report.txt"
        report.parent.mkdir(exist_ok=True)
        report.write_text(f"{model_id}: recall 0.93 on the holdout")
        self.manage_models("update-status", model_id, "validated", "--evidence", str(report), "--reason", "tests")
        call = f"ModelRegistry(actor='reviewer').approve({model_id!r}, {str(report)!r}, 'read the report')"
        self.run(sys.executable, "-c", f"from model_store import ModelRegistry; {call}")

    def served_model(self) -> str:
        """The model id that the endpoint answers with."""
        return str(httpx.get(f"{self.url}/health/ready", timeout=10, trust_env=False).json()["model_id"])

    def api_key(self) -> str:
        return (self.root / ".secrets" / "api_key").read_text().strip()

    def predict(self) -> httpx.Response:
        body = json.loads((self.root / "models" / "example_transaction.json").read_text())
        headers = {"X-API-Key": self.api_key()}
        return httpx.post(f"{self.url}/predict", json=body, headers=headers, timeout=10, trust_env=False)

    def status(self) -> dict[str, Any]:
        """What the supervisor says of itself."""
        path = self.root / ".run" / "fraud-detection-dev" / "status.json"
        status: dict[str, Any] = json.loads(path.read_text())
        return status

    def processes(self, of: bytes = b"serving") -> list[int]:
        """Process ids of everything that runs in this checkout and has that in its command line."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes()
                    here = (entry / "cwd").resolve().is_relative_to(self.root)
                except OSError:
                    continue
                if here and of in command:
                    found.append(int(entry.name))
        return found


def free_port() -> int:
    """Returns a free port of the loopback."""
    return free_ports(1)[0]


def _copy_project(root: Path) -> None:
    root.mkdir()
    for part in _PARTS:
        source = SOURCE / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("__pycache__", "tests"))
        else:
            shutil.copyfile(source, root / part)


def _use_port(root: Path, port: int) -> None:
    for file in (root / "Pulumi.dev.yaml", root / "config" / "deployment_templates" / "development.yaml"):
        file.write_text(file.read_text().replace("http://127.0.0.1:8000", f"http://127.0.0.1:{port}"))


def make_checkout(root: Path) -> Checkout:
    """Copies the project; the virtual environment's programs run the copy's code."""
    _copy_project(root)
    (root / "Pulumi.dev.yaml").write_text(committed_stack_file())
    port = free_port()
    _use_port(root, port)
    programs = Path(sys.executable).parent
    environment = {
        "HOME": os.environ["HOME"],
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(root),
        "PULUMI_BACKEND_URL": f"file://{root}/.state",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(root / ".secrets" / "passphrase"),
        **{
            name: value
            for name, value in os.environ.items()
            if name.startswith(("FRAUD_DETECTION_", "GOGC", "DOCKER_HOST"))
        },
    }
    return Checkout(root, port, environment)


def stop_everything(checkout: Checkout) -> None:
    """Ends what serves, and the providers that outlive an engine that was killed."""
    # A supervisor that is killed before what it runs may be started again by that.
    deadline = time.monotonic() + 20
    while (processes := checkout.processes(of=b"")) and time.monotonic() < deadline:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


@dataclass
class Deployed:
    """A checkout with an endpoint, and two more registered versions of the example model."""

    checkout: Checkout
    first: str
    second: str
    third: str


def take_interrupts() -> None:
    """For `preexec_fn`: a child takes a Ctrl-C as from a terminal, also where these tests are a background job."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def after(seconds: float) -> Callable[[object], None]:
    """For `Checkout.kill`: waits so many seconds."""
    return lambda _running: time.sleep(seconds)


def wait_until(true: Any, seconds: float = 20.0) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
