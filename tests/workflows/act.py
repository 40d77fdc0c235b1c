"""Runs a workflow with act: on this machine, in a fresh clone, with what its header lists and nothing else."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.checkout import SOURCE
from toolchain.go_build import GoBuild
from toolchain.tools import Tool, ensure

_HERE = Path(__file__).parent
ACT = Tool("act", "0.2.89", GoBuild(title="a minute", module="act", programs=(("act", "github.com/nektos/act"),)))
_HEADER = re.compile(r"^#\s+(Variables|Secrets): (.*(?:\n#   .*)*)", re.MULTILINE)
_OF_THE_MACHINE = re.compile(r"(PIP|UV|SSL|REQUESTS|CURL|LANG|LC|GO)_?[A-Z_]*")
"""Variables that tell a machine's package clients how they reach their registries: a runner has its own."""
_NAME = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")


def listed(workflow: Path) -> dict[str, set[str]]:
    """The variables and secrets that a workflow's header lists."""
    text = workflow.read_text().split("\nname:", 1)[0]
    return {kind: set(_NAME.findall(names)) for kind, names in _HEADER.findall(text)}


@dataclass(frozen=True)
class Forge:
    """What stands for the hosting site: the repository, its variables and secrets, and what the workflows leave."""

    root: Path
    origin: Path
    variables: Mapping[str, str]
    secrets: Mapping[str, str]
    sandbox: Mapping[str, str]

    def run(self, workflow: str, kind: str, event: dict[str, object], *flags: str) -> subprocess.CompletedProcess[str]:
        """Runs a workflow at an event."""
        path = self.origin / ".github" / "workflows" / workflow
        allowed = listed(path)
        here = self.root / "act"
        here.mkdir(exist_ok=True)
        (here / "event.json").write_text(json.dumps(event))
        _write(here / "variables", {name: self.variables[name] for name in sorted(allowed["Variables"])})
        _write(here / "secrets", {name: self.secrets[name] for name in sorted(allowed["Secrets"])})
        (here / "sandbox.json").write_text(json.dumps(dict(self.sandbox)))
        command = [str(ensure([ACT], print)["act"] / "act"), kind, "--workflows", str(path), "--eventpath"]
        command += [str(here / "event.json"), "--var-file", str(here / "variables")]
        command += ["--secret-file", str(here / "secrets"), "--secret", "GITHUB_TOKEN=of-the-job"]
        command += ["--platform", "ubuntu-latest=-self-hosted", "--no-skip-checkout", *_replaced(), *flags]
        command += [each for name, value in self._environment().items() for each in ("--env", f"{name}={value}")]
        environment = {"HOME": str(here), "PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(here / "cache")}
        with (here / f"{workflow}.log").open("w+") as log:
            done = subprocess.run(
                command, cwd=self.origin, env=environment, stdout=log, stderr=log, text=True, timeout=1200, check=False
            )
            log.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, log.read(), "")

    @property
    def branch(self) -> str:
        """The default branch."""
        command = ["git", "-C", str(self.origin), "branch", "--show-current"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def tagged(self, tag: str) -> dict[str, object]:
        """The event of a tag on the default branch."""
        return {"ref": f"refs/tags/{tag}", "repository": {"default_branch": self.branch}}

    def _environment(self) -> dict[str, str]:
        """Of the machine that stands for the runner, and of the programs that stand for others'."""
        return {
            **machine_variables(),
            "TEST_ORIGIN": str(self.origin),
            "TEST_ROOT": str(_HERE),
            "TEST_STATE": str(self.root / "forge"),
            "TEST_PYTHON": sys.executable,
            "TEST_ENVIRONMENT": sys.prefix,
            "TEST_SANDBOX": str(self.root / "act" / "sandbox.json"),
            "TEST_KUBECONFIG": self.sandbox["KUBECONFIG"],
        }


def machine_variables() -> dict[str, str]:
    """Variables that a runner's machine has, with the programs that stand for others'."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return {
        **{name: value for name, value in os.environ.items() if _OF_THE_MACHINE.fullmatch(name)},
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(caches / "uv"),
        "PATH": f"{_HERE / 'programs'}{os.pathsep}{os.environ['PATH']}",
        "FRAUD_DETECTION_CACHE": os.environ.get("FRAUD_DETECTION_CACHE") or str(caches / "fraud-detection"),
    }


def printed(done: subprocess.CompletedProcess[str]) -> str:
    """What the jobs of a run printed, without act's own lines; the last of it."""
    own = [line for line in done.stdout.splitlines() if "   | " in line or "❌" in line or "🏁" in line]
    return "\n".join(own)[-6000:] or done.stdout[-6000:]


def _replaced() -> list[str]:
    """act's flags that put this project's stand-in in the place of each action of others."""
    found = set()
    for file in [*(SOURCE / ".github").rglob("*.yml")]:
        found |= set(re.findall(r"uses: ((?!\./)[\w.-]+/[\w.-]+@\w+)", file.read_text()))
    flags = []
    for action in sorted(found):
        name = action.split("/")[1].split("@")[0]
        if (_HERE / "actions" / name).is_dir():
            flags += ["--local-repository", f"https://github.com/{action}={_HERE / 'actions' / name}"]
    return flags


def _write(path: Path, values: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={json.dumps(value)}\n" for name, value in values.items()))
