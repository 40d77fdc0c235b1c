"""An endpoint at one address: the service as the newest stack's pods would run it, since kwok runs no container."""

import subprocess
import sys
import threading
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
        for stack in ("staging", "production"):
            while not self._there(stack):
                if self._over.wait(0.5):
                    return
            self._stop()
            root = self._root / f"pod-{stack}"
            root.mkdir(parents=True)
            environment = pod_environment(self._cloud, stack, mounted(self._cloud, stack, root), self._port)
            with (root / "log").open("wb") as log:
                command = [sys.executable, "-m", "serving"]
                self._serving = subprocess.Popen(command, cwd=SOURCE, env=environment, stdout=log, stderr=log)

    def _there(self, stack: str) -> bool:
        """Whether the stack's Deployment exists and its pods are ready, so that its files do."""
        from kubernetes.client import ApiException

        try:
            return bool(self._cloud.deployment(stack).status.ready_replicas)
        except ApiException:
            return False

    def _stop(self) -> None:
        if self._serving is not None:
            self._serving.terminate()
            self._serving.wait(timeout=60)
