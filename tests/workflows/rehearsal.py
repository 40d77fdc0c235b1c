"""`make ci-rehearsal`: a release's whole way, by two clones that take turns, on a cloud of this machine.

Preview, release, canary, a runner that is killed, promotion, rollback, loss of the registry and its restore, drift.
Prints a timeline, and who did what and why as the audit log has it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.checkout import SOURCE, TRANSACTIONS, Checkout
from tests.sandbox.conftest import IMAGE, committed, deployment_name
from tests.workflows.releases import write_holdout, write_release
from tests.workflows.traffic import kubernetes, published, route, serves

STACK = "staging"
_NAMESPACE = f"fraud-detection-{STACK}"
_MODELS = {"model-v1": "xgboost_model_previous.joblib", "model-v2": "xgboost_model.joblib"}


@dataclass
class Rehearsal:
    """Two clones of one repository, which share a state, a registry and a cloud as two runners do."""

    root: Path
    variables: dict[str, str]
    timeline: list[tuple[float, str, str]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    clones: dict[str, Checkout] = field(default_factory=dict)
    last: str = ""
    """The clone that did the last step."""

    @property
    def registry(self) -> Path:
        return self.root / "registry"

    def step(self, who: str, what: str, work: Callable[[Checkout], Any]) -> Any:
        """Lets a clone do a step, and writes it into the timeline."""
        print(f"{time.monotonic() - self.began:6.1f} s  {who:6}  {what} …", file=sys.stderr, flush=True)
        found = work(self._turn_of(who))
        self.timeline.append((time.monotonic() - self.began, who, what))
        return found

    def _turn_of(self, who: str) -> Checkout:
        """The clone whose turn it is, as fresh as a runner's: its files hold configuration alone."""
        clone = self.clones[who]
        if self.last and self.last != who:
            _git("checkout", "--quiet", f"Pulumi.{STACK}.yaml", cwd=clone.root)
        self.last = who
        return clone

    def clone(self, name: str, origin: Path) -> Checkout:
        """A fresh clone with the secrets that a job writes, and nothing else."""
        path = self.root / name
        _git("clone", "--quiet", str(origin), str(path))
        secrets = path / ".secrets"
        shutil.copytree(self.root / "secrets", secrets)
        for file in [secrets, *secrets.rglob("*")]:
            file.chmod(0o700 if file.is_dir() else 0o600)
        programs = Path(sys.executable).parent
        environment = {
            "HOME": os.environ["HOME"],
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(path),
            "MODEL_REGISTRY_URL": str(self.registry),
            "PULUMI_BACKEND_URL": f"file://{self.root / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "of the rehearsal",
            "MODEL_ACTOR": name,
            "GOGC": "400",
            **self.variables,
        }
        (self.root / "state").mkdir(exist_ok=True)
        self.clones[name] = Checkout(path, 0, environment)
        return self.clones[name]


def main() -> int:
    """Rehearses; returns the exit code."""
    argparse.ArgumentParser(
        prog="python -m tests.workflows.rehearsal",
        description=__doc__,
        epilog="example: python -m tests.workflows.rehearsal",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    root = Path(tempfile.mkdtemp(prefix="fraud-detection-rehearsal-"))
    try:
        with sandbox(root) as variables:
            rehearsal = Rehearsal(root, variables)
            prepare(rehearsal)
            _rehearse(rehearsal)
            _report(rehearsal)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 0


@contextmanager
def sandbox(root: Path) -> Iterator[dict[str, str]]:
    """The variables that point everything at a fresh sandbox."""
    environment = {**os.environ, "FRAUD_DETECTION_SANDBOX": str(root / "sandbox")}
    command = [sys.executable, "-m", "sandbox"]
    try:
        started = subprocess.run(
            [*command, "start", "--json"], cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=1800
        )
        if started.returncode != 0:
            raise RuntimeError(started.stderr)
        yield json.loads(started.stdout)
    finally:
        for log in (root / "sandbox").glob("*.log"):  # stopping removes them
            shutil.copyfile(log, root / f"sandbox-{log.name}")
        subprocess.run([*command, "stop"], cwd=SOURCE, env=environment, check=False, capture_output=True, timeout=60)


def _git(*arguments: str, cwd: Path | None = None) -> str:
    identity = ("-c", "user.name=rehearsal", "-c", "user.email=rehearsal@example.com")
    done = subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make_origin(root: Path, public_key: str, more: str = "") -> Path:
    """The repository as a team has it: this one, with its own image, signer and more keys of staging in the files."""
    origin = root / "origin"
    _git("clone", "--quiet", str(SOURCE), str(origin))
    for stack in ("staging", "production"):
        text = committed(stack).replace('reference: ""', f"reference: {IMAGE}")
        text = text.replace("public_keys: []", f'public_keys: ["{public_key}"]')
        (origin / f"Pulumi.{stack}.yaml").write_text(text + (more if stack == "staging" else ""))
    _git("commit", "--quiet", "--all", "--message", "The stacks' own image and signer", cwd=origin)
    return origin


def _run(*command: str, cwd: Path = SOURCE, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr[-1500:]}")
    return done.stdout


def prepare(rehearsal: Rehearsal) -> None:
    """What is there before the first release: keys, trained models, an inbox, and two clones."""
    root, python = rehearsal.root, sys.executable
    secrets = root / "secrets"
    secrets.mkdir(mode=0o700)
    manage = (python, "scripts/manage_models.py", "keygen")
    _run(*manage, str(secrets / "signing.key"), "--signing")
    _run(*manage, str(secrets / "model.key"))
    (secrets / STACK).mkdir()
    (secrets / STACK / "api_keys.json").write_text('{"keys": []}')
    with ThreadPoolExecutor(2) as pool:
        script = str(SOURCE / "examples" / "train_fraud_model.py")
        training = (python, script, "--output", str(root / "models"), "--transactions", TRANSACTIONS)
        trained = pool.submit(_run, *training)
        write_holdout(root / "holdout.csv")
        origin = make_origin(root, (secrets / "signing.key.pub").read_text().strip())
        for name in ("first", "second"):
            rehearsal.clone(name, origin)
        trained.result()
    for tag, file in _MODELS.items():
        write_release(root / "inbox" / tag, root / "models" / file, root / "holdout.csv")


def release(rehearsal: Rehearsal, clone: Checkout, tag: str) -> str:
    """A release's way into the registry: fetched, registered, measured, signed, approved by somebody else."""
    release = ("scripts/release_model.py",)
    python = sys.executable
    clone.run(python, *release, "fetch", str(rehearsal.root / "inbox" / tag), f"incoming-{tag}")
    registered = clone.run(python, *release, "register", f"incoming-{tag}", "--reason", tag, "--json")
    model_id = str(json.loads(registered.stdout)["model_id"])
    clone.run(python, *release, "validate", f"incoming-{tag}", model_id, "--reason", tag)
    clone.manage_models("sign", model_id, "--sign-key", ".secrets/signing.key")
    evidence = clone.root / ".run" / f"validation-{model_id}.json"
    call = f"ModelRegistry(actor='reviewer').approve({model_id!r}, {str(evidence)!r}, 'read the report of {tag}')"
    clone.run(python, "-c", f"from model_store import ModelRegistry; {call}")
    return model_id


def _rehearse(rehearsal: Rehearsal) -> None:
    step = rehearsal.step
    one = step(
        "first", "model-v1: registered, validated, signed, approved", lambda c: release(rehearsal, c, "model-v1")
    )
    step("first", "previews the first deployment", lambda c: _preview(c, "create", "--model", one))
    step("first", f"model-v1 to {STACK}", lambda c: c.deploy_model("deploy", one, STACK, "--reason", "model-v1"))
    two = step("second", "model-v2: the same", lambda c: release(rehearsal, c, "model-v2"))
    step("second", "previews model-v2", lambda c: _preview(c, "Model version", "--model", two))
    step("second", "a canary of model-v2; its runner is killed", lambda c: _killed_canary(rehearsal, c, two))
    step("first", "resumes and promotes it", lambda c: _resumed(rehearsal, c, one, two))
    step("second", "rolls back", lambda c: c.deploy_model("rollback", STACK, "--reason", "complaints"))
    _require(serves(rehearsal.variables, STACK) == one, "the rollback serves model-v1")
    step("first", "backs the registry up", lambda c: c.manage_models("backup", str(rehearsal.root / "backup")))
    step("second", "has no registry, is refused, restores it", lambda c: _lost(rehearsal, c, two))
    step("second", "model-v2 again", lambda c: c.deploy_model("deploy", two, STACK, "--strategy", "rolling"))
    step("first", "finds no drift", lambda c: _preview(c, "No change", "--drift"))
    step("first", "finds what was changed by hand", lambda c: _drifted(rehearsal, c))


def _preview(clone: Checkout, expected: str, *flags: str, code: int = 0) -> None:
    """As the job of a preview has it: without any key."""
    secrets, away = clone.root / ".secrets", clone.root / "away"
    secrets.rename(away)
    try:
        done = clone.run(sys.executable, "scripts/preview_stack.py", STACK, *flags, code=code)
    finally:
        shutil.rmtree(secrets, ignore_errors=True)
        away.rename(secrets)
    _require(expected.lower() in done.stdout.lower(), f"the preview says {expected!r}: {done.stdout}")


def _killed_canary(rehearsal: Rehearsal, clone: Checkout, model_id: str) -> None:
    command = [sys.executable, "scripts/deploy_model.py", "deploy", model_id, STACK]
    command += ["--strategy", "canary", "--steps", "50,100", "--interval", "1s", "--reason", "model-v2"]

    def wait(running: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + 120
        while (
            running.poll() is None
            and time.monotonic() < deadline
            and route(rehearsal.variables, STACK).get("-green") != 50
        ):
            time.sleep(0.3)
        time.sleep(3)  # the engine writes its state after the route
        _require(running.poll() is None, "the canary is at 50 % when its runner is killed")

    clone.kill(command, wait)


def _resumed(rehearsal: Rehearsal, clone: Checkout, stable: str, candidate: str) -> None:
    with published(rehearsal.variables, STACK, stable, candidate):
        clone.deploy_model("resume", STACK)
    _require(serves(rehearsal.variables, STACK) == candidate, "the candidate is the stable version")


def _lost(rehearsal: Rehearsal, clone: Checkout, model_id: str) -> None:
    rehearsal.registry.rename(rehearsal.root / "gone")
    refused = clone.fails(sys.executable, "scripts/deploy_model.py", "deploy", model_id, STACK)
    _require("Traceback" not in refused, refused)
    shutil.rmtree(rehearsal.registry, ignore_errors=True)
    clone.manage_models("restore", str(rehearsal.root / "backup"))
    clone.manage_models("verify")


def _drifted(rehearsal: Rehearsal, clone: Checkout) -> None:
    body = {"metadata": {"labels": {"app.kubernetes.io/part-of": "changed-by-hand"}}}
    name = deployment_name(STACK)
    slot = "-green" if route(rehearsal.variables, STACK).get("-green") else ""
    kubernetes(rehearsal.variables, "AppsV1Api").patch_namespaced_deployment(f"{name}{slot}", _NAMESPACE, body)
    _preview(clone, "Deployment", "--drift", code=26)


def _require(held: bool, what: str) -> None:
    if not held:
        raise RuntimeError(f"the rehearsal failed: {what}")


def _report(rehearsal: Rehearsal) -> None:
    print("timeline")
    before = 0.0
    for at, who, what in rehearsal.timeline:
        print(f"  {at:6.1f} s  (+{at - before:5.1f})  {who:6}  {what}")
        before = at
    first = rehearsal.clones["first"]
    print("\nhistory")
    print(first.deploy_model("history", STACK).stdout)
    print("audit")
    print(first.manage_models("audit").stdout)


if __name__ == "__main__":
    sys.exit(main())
