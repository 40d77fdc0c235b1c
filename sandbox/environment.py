"""`python -m sandbox up staging`: from nothing to a prediction over HTTPS from a pod, by the project's own commands."""

import json
import os
import re
import shlex
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sandbox.images import Image, push
from sandbox.nodes.addresses import GATEWAY_PODS, registry_name

_CHECKOUT = Path(__file__).resolve().parents[1]
_MODEL_FILE = "models/xgboost_model.joblib"
_TRANSACTION = "models/example_transaction.json"
_SIGNING_KEY = ".secrets/signing.key"
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Answered:
    """The first answer of an environment."""

    url: str
    answer: dict[str, Any]
    call: str
    """The same request as a `curl` command."""


class SandboxEnvironment:
    """One environment on a sandbox with real nodes.

    Args:
        name: `staging` or `production`.
        here: the sandbox's directory.
        variables: what points everything at the sandbox.
        tell: told each step.
    """

    def __init__(self, name: str, here: Path, variables: Mapping[str, str], tell: Callable[[str], None]) -> None:
        self._name, self._here, self._variables, self._tell = name, here, variables, tell
        self._file = _CHECKOUT / f"Pulumi.{name}.yaml"
        self._api_key = _CHECKOUT / ".secrets" / name / "sandbox.key"

    def bring_up(self, image: Image) -> Answered:
        """Makes what is missing, deploys the example's model, and asks for a prediction.

        Raises:
            RuntimeError: a command failed; its own messages are above.
        """
        repository = f"fraud-detection/{self._name}"
        self._tell("pushing the service's image")
        digest = push(image, self._variables["SANDBOX_IMAGES"], self._here / "ca.pem", repository, "sandbox")
        reference = f"{registry_name(self._variables['AWS_REGION'])}/{repository}@{digest}"
        self._make_keys()
        self._write_config(reference)
        self._tell(f"deploying {(model_id := self._model())}")
        self._run("scripts/deploy_model.py", "deploy", model_id, self._name, "--reason", "sandbox")
        return self._ask()

    def _make_keys(self) -> None:
        passphrase = _CHECKOUT / ".secrets" / "passphrase"
        if not passphrase.exists():
            passphrase.parent.mkdir(mode=0o700, exist_ok=True)
            passphrase.touch(mode=0o600)
            passphrase.write_text(os.urandom(24).hex())
        if not (_CHECKOUT / _SIGNING_KEY).exists():
            self._tell("making a signing key")
            self._run("scripts/manage_models.py", "keygen", _SIGNING_KEY, "--signing")
        if not self._api_key.exists():
            self._tell("issuing an API key")
            issued = json.loads(self._run("scripts/deploy_model.py", "api-key", self._name, "sandbox", "--json"))
            self._api_key.touch(mode=0o600)
            self._api_key.write_text(issued["api_key"])

    def _write_config(self, reference: str) -> None:
        """Names the image, the signer and the gateway's pods in the stack's file, in the place of what it named."""
        key = (_CHECKOUT / f"{_SIGNING_KEY}.pub").read_text().strip()
        text = self._file.read_text(encoding="utf-8")
        changed = re.sub(r"(?m)^(    reference: ).*$", rf'\g<1>"{reference}"', text)
        if key not in changed:
            changed = re.sub(r"(?m)^    public_keys: \[.*\]$", f'    public_keys: ["{key}"]', changed)
        if "gateway_pod_namespaces:" not in changed:
            pods = f"    gateway_pod_namespaces: [{GATEWAY_PODS}]"
            changed = re.sub(r"(?m)^(    gateway_namespace: .*)$", rf"\g<1>\n{pods}", changed)
        if changed != text:
            self._tell(f"{self._file.name}: image, signing and gateway_pod_namespaces are the sandbox's now")
            self._file.write_text(changed, encoding="utf-8")

    def _model(self) -> str:
        """The model version that this sandbox deploys: registered once, signed."""
        known = self._here / f"{self._name}.model"
        if known.exists():
            return known.read_text()
        if not (_CHECKOUT / _MODEL_FILE).exists():
            self._tell("training the example model (simulated card transactions)")
            self._run("examples/train_fraud_model.py", "--output", "models")
        registered = self._run(
            *("scripts/manage_models.py", "register", _MODEL_FILE, "fraud_detector", "XGBoost"),
            *("--sign-key", _SIGNING_KEY, "--json"),
        )
        known.write_text(json.loads(registered)["model_id"])
        return known.read_text()

    def _run(self, *command: str) -> str:
        """Runs a command of the project; its messages pass through, its result returns."""
        programs = str(Path(sys.executable).parent)
        environment = {**os.environ, **self._variables, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        if not environment.get("PULUMI_CONFIG_PASSPHRASE_FILE"):
            environment["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(_CHECKOUT / ".secrets" / "passphrase")
        done = subprocess.run(
            [sys.executable, *command], cwd=_CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{shlex.join(command)} ended with code {done.returncode}; its messages are above")
        return done.stdout

    def _ask(self) -> Answered:
        found = re.search(r"(?m)^    api_endpoint: https://(\S+)", self._file.read_text(encoding="utf-8"))
        if found is None:
            raise RuntimeError(f"{self._file.name} names no api_endpoint with https://")
        host, port = found[1].rstrip("/"), self._variables["SANDBOX_GATEWAY"].rsplit(":", 1)[1]
        answer = self._predict(host, int(port))
        url = f"https://{host}:{port}/predict"
        call = [
            *("curl", "--cacert", str(self._here / "ca.pem"), "--resolve", f"{host}:{port}:127.0.0.1"),
            *("-H", "Content-Type: application/json", "-d", f"@{_TRANSACTION}", url),
        ]
        key = f'-H "X-API-Key: $(cat {self._api_key.relative_to(_CHECKOUT)})"'
        return Answered(url, answer, f"{shlex.join(call)} {key}")

    def _predict(self, host: str, port: int) -> dict[str, Any]:
        trusted = ssl.create_default_context(cafile=str(self._here / "ca.pem"))
        headers = {"Host": f"{host}:{port}", "X-API-Key": self._api_key.read_text().strip()}
        body = json.loads((_CHECKOUT / _TRANSACTION).read_text(encoding="utf-8"))
        until, problem = time.monotonic() + _ANSWER_SECONDS, "no answer"
        with httpx.Client(verify=trusted, timeout=10, trust_env=False) as client:
            while time.monotonic() < until:
                try:
                    answer = client.post(
                        f"https://127.0.0.1:{port}/predict",
                        json=body,
                        headers=headers,
                        extensions={"sni_hostname": host},
                    )
                except httpx.HTTPError as error:
                    problem = str(error)
                else:
                    if answer.status_code == httpx.codes.OK:
                        return dict(answer.json())
                    problem = f"{answer.status_code} {answer.text[:200]}"
                time.sleep(0.5)
        raise RuntimeError(f"https://{host} gives no prediction through the gateway: {problem}")
