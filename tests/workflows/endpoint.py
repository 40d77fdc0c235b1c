"""An endpoint at one address: the service as the newest stack's pods would run it, since kwok runs no container."""

import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.checkout import SOURCE, Checkout, free_port
from tests.sandbox.conftest import Cloud
from tests.sandbox.pods import mounted, pod_environment


class Endpoint:
    """Serves what is deployed: first in staging, then in production, once it is there."""

    def __init__(self, root: Path, variables: dict[str, str]) -> None:
        self._cloud = Cloud(Checkout(SOURCE, 0), variables, "", "")
        self._root, self._port = root, free_port()
        self._over = threading.Event()
        self._serving: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._stop()

    def _follow(self) -> None:
        """Serves production's version where there is one, else staging's, and follows its changes."""
        served = ""
        while not self._over.wait(0.5):
            stack = next((each for each in ("production", "staging") if self._version(each)), "")
            version = f"{stack} {self._version(stack)}" if stack else ""
            if version not in ("", served):
                self._serve(stack)
                served = version

    def _serve(self, stack: str) -> None:
        self._stop()
        root = self._root / f"pod-{stack}-{time.monotonic_ns()}"
        root.mkdir(parents=True)
        environment = pod_environment(self._cloud, stack, mounted(self._cloud, stack, root), self._port)
        with (root / "log").open("wb") as log:
            command = [sys.executable, "-m", "serving"]
            self._serving = subprocess.Popen(command, cwd=SOURCE, env=environment, stdout=log, stderr=log)

    def _version(self, stack: str) -> str:
        """The version of a stack's Deployment whose pods are ready, so that its files are there; empty when none is."""
        from kubernetes.client import ApiException

        try:
            found = self._cloud.deployment(stack)
        except ApiException:
            return ""
        if not found.status.ready_replicas:
            return ""
        return next(str(each.value) for each in found.spec.template.spec.containers[0].env if each.name == "MODEL_ID")

    def _stop(self) -> None:
        if self._serving is not None:
            self._serving.terminate()
            self._serving.wait(timeout=60)
