"""Runs a job of GitLab's pipeline with gitlab-ci-local: on this machine, in a fresh clone, with what its header lists.

gitlab-ci-local runs a job's scripts in a shell and knows rules, variables by environment and `!reference`. What GitLab
and its runner do is replaced by its effect: the clone, the id token, which gives the credentials of the environment's
role, reports of variables, and notes of a merge request.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import yaml

from tests.sandbox.conftest import aws_client
from tests.workflows.act import Forge, machine_variables
from toolchain import cache

_PACKAGE = "gitlab-ci-local@4.63.0"
"""The newest that the long-term Node 20 runs."""
_ROLES = {
    "registry": "register",
    "signing": "sign",
    "approval": "approval",
    "preview": "preview",
    "staging": "staging",
    "production": "production",
}
"""The job after which the role of each environment is named."""
_LISTED = re.compile(r"\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b(?: \(of ([^):]*)[^)]*\))?")
_HEADER = re.compile(r"^# (?:Variables|Secrets): (.*(?:\n#   .*)*)", re.MULTILINE)
_TOKEN = "glpat_of_the_notes"


def gitlab_ci_local() -> Path:
    """The program, installed where it is missing."""
    target = cache.entry("gitlab-ci-local", cache.digest(_PACKAGE.encode()))
    with cache.exclusive(target, print):
        if not target.exists():
            cache.publish(target, _install)
    return target / "node_modules" / ".bin" / "gitlab-ci-local"


def _install(directory: Path) -> None:
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", _PACKAGE]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=600)


def listed_by_environment(pipeline: Path) -> dict[str, list[str]]:
    """The variables and secrets that the pipeline's header lists, each with its environments; none: all."""
    header = " ".join(text.replace("\n#", " ") for text in _HEADER.findall(pipeline.read_text()))
    found = {}
    for name, environments in _LISTED.findall(header):
        found[name] = re.findall(r"\w+", environments.replace(" and ", " ")) if environments else []
    return found


class Notes(ThreadingHTTPServer):
    """The notes of a merge request, behind GitLab's interface."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _NotesHandler)
        self.kept: dict[int, str] = {}
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api/v4"


class _NotesHandler(BaseHTTPRequestHandler):
    server: Notes

    def do_GET(self) -> None:
        notes = [{"id": number, "body": body} for number, body in self.server.kept.items()]
        self._answer(notes if self.path.endswith("page=1") else [])

    def do_POST(self) -> None:
        self._keep(len(self.server.kept) + 1)

    def do_PUT(self) -> None:
        self._keep(int(self.path.rsplit("/", 1)[1]))

    def _keep(self, number: int) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]
        if self.headers["PRIVATE-TOKEN"] == _TOKEN:
            self.server.kept[number] = body
        self._answer({})

    def _answer(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200 if self.headers["PRIVATE-TOKEN"] == _TOKEN else 401)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Logs nothing."""


@dataclass
class GitLab:
    """What stands for GitLab and its runner."""

    forge: Forge
    notes: Notes
    reports: dict[str, dict[str, str]] = field(default_factory=dict)
    """The variables that each job reported."""

    @property
    def _clone(self) -> Path:
        """The same in every job, as a runner's is: the stacks' state names the kubeconfig in it."""
        return self.forge.root / "builds" / "acme" / "fraud"

    def run(self, job: str, **event: str) -> subprocess.CompletedProcess[str]:
        """Runs a job.

        Args:
            job: its name.
            **event: the variables of the pipeline, such as `CI_COMMIT_TAG`.
        """
        clone = self._fresh_clone()
        home = self._home()
        definition = self._definition(job)
        for needed in definition.get("needs", ()):
            event = {**self.reports.get(needed, {}), **event}
        command = [str(gitlab_ci_local()), job, "--force-shell-executor"]
        told = {"CI_PROJECT_DIR": str(clone), "CI_API_V4_URL": self.notes.url, "CI_DEFAULT_BRANCH": self.forge.branch}
        told |= event
        command += [each for name, value in told.items() for each in ("--variable", f"{name}={value}")]
        with (home / "log").open("w+") as log:
            done = subprocess.run(
                command,
                cwd=clone,
                env=self._environment(home, self._role(job, definition, event)),
                stdout=log,
                stderr=log,
                timeout=1200,
                check=False,
            )
            log.seek(0)
            printed = log.read()
        report = (definition.get("artifacts") or {}).get("reports", {}).get("dotenv")
        if report and done.returncode == 0:
            lines = (clone / report).read_text().splitlines()
            self.reports[job] = dict(line.split("=", 1) for line in lines)
        return subprocess.CompletedProcess(command, done.returncode, printed, "")

    def triggered(self, job: str, **event: str) -> dict[str, str]:
        """The variables of the pipeline that a job triggers, in an event."""
        values = {name: str(value) for name, value in self._definition(job)["variables"].items()}
        return {name: re.sub(r"\$(\w+)", lambda found: event[found[1]], value) for name, value in values.items()}

    def _definition(self, job: str) -> dict[str, Any]:
        text = (self.forge.origin / ".gitlab-ci.yml").read_text()
        found: dict[str, Any] = yaml.load(text, _Loader)[job.split(":")[0]]
        return found

    def _fresh_clone(self) -> Path:
        """The repository as a runner checks it out; its image holds the packages."""
        clone = self._clone
        shutil.rmtree(clone, ignore_errors=True)
        clone.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "clone", "--quiet", str(self.forge.origin), str(clone)], check=True, timeout=60)
        hosted = ["remote", "add", "gcl-origin", "https://gitlab.com/acme/fraud.git"]
        subprocess.run(["git", *hosted], cwd=clone, check=True, timeout=60)
        shutil.copytree(sys.prefix, clone / ".venv", copy_function=os.link, symlinks=True)
        stamp = clone / ".venv" / ".installed-from"
        stamp.unlink()
        stamp.touch()
        return clone

    def _home(self) -> Path:
        """The runner's home, with the project's variables."""
        home = self.forge.root / "gitlab"
        (home / ".gitlab-ci-local").mkdir(parents=True, exist_ok=True)
        (home / ".gitconfig").write_text("[user]\n name = A Reviewer\n email = reviewer@example.com\n")
        roles = {environment: self._account_role(environment) for environment in _ROLES}
        values: dict[str, Mapping[str, str]] = {"AWS_ROLE": roles, "AWS_TOKEN": {"*": "of-the-job"}}
        known = {**self.forge.variables, **self.forge.secrets, "COMMENT_TOKEN": _TOKEN, "PYTHON_IMAGE": "python:3.11"}
        for name, environments in listed_by_environment(self.forge.origin / ".gitlab-ci.yml").items():
            values.setdefault(name, dict.fromkeys(environments or ["*"], known[name]))
        variables = {name: {"type": "variable", "values": dict(found)} for name, found in values.items()}
        (home / ".gitlab-ci-local" / "variables.yml").write_text(json.dumps({"global": variables}))
        return home

    def _role(self, job: str, definition: Mapping[str, Any], event: Mapping[str, str]) -> str:
        """The role of the job's environment."""
        environment = definition["environment"]
        name = environment if isinstance(environment, str) else str(environment["name"])
        if name == "$TARGET":
            matrix = re.search(r"\[(\w+)\]", job)
            name = matrix[1] if matrix else event["TARGET"]
        return self._account_role(name)

    def _account_role(self, environment: str) -> str:
        return f"{self.forge.variables['AWS_ROLE']}-{_ROLES[environment]}"

    def _environment(self, home: Path, role: str) -> dict[str, str]:
        """Of the runner's machine, and where the sandbox stands for AWS."""
        sandbox = {name: self.forge.sandbox[name] for name in ("AWS_ENDPOINT_URL", "AWS_CA_BUNDLE")}
        sts = aws_client(dict(self.forge.sandbox), "sts")
        found = sts.assume_role(RoleArn=role, RoleSessionName="job")["Credentials"]
        credentials = {
            "AWS_ACCESS_KEY_ID": found["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": found["SecretAccessKey"],
            "AWS_SESSION_TOKEN": found["SessionToken"],
        }
        own = {"HOME": str(home), "TEST_KUBECONFIG": self.forge.sandbox["KUBECONFIG"]}
        return {**machine_variables(), **sandbox, **credentials, **own}


class _Loader(yaml.SafeLoader):
    """Reads GitLab's tag `!reference` as the list that it is."""


_Loader.add_constructor("!reference", lambda loader, node: loader.construct_sequence(node))  # type: ignore[no-untyped-call,arg-type]
