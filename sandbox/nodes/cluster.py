"""The real cluster: its machines, their network, and the ways in from the host."""

import contextlib
import json
import os
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from sandbox.certificates import Authority
from sandbox.nodes import control_groups
from sandbox.nodes.addons import install_addons, push_images, wait_until_ready
from sandbox.nodes.addresses import (
    API_PORT,
    CLOUD,
    CONTROL,
    HTTP_NODE_PORT,
    HTTPS_NODE_PORT,
    NODES,
    REGISTRY_PORT,
    node_address,
)
from sandbox.nodes.control import control_programs, make_control_certificates, write_kubeconfig
from sandbox.nodes.network import connect_machines
from sandbox.nodes.node import Node, write_container_defaults
from sandbox.processes import Processes, free_ports

_CONTROL_MACHINE = "control-plane"
_MACHINE_SECONDS = 20.0
_SERVER_SECONDS = 120.0
_HOSTS = ("staging.api.fraud-detection.com", "api.fraud-detection.com", "*.api.fraud-detection.com")


class RealCluster:
    """Three real nodes.

    Args:
        here: the sandbox's directory, with the certificates.
        processes: the sandbox's processes, which the machines join.
        programs: the directory of each tool's programs.
        region: of the cloud.
        cloud_port: where the cloud answers on the host's loopback, by HTTPS.
    """

    def __init__(
        self, here: Path, processes: Processes, programs: dict[str, Path], region: str, cloud_port: int
    ) -> None:
        self._here, self._processes, self._programs = here, processes, programs
        self._region, self._cloud_port = region, cloud_port
        self.kubeconfig = here / "kubeconfig"
        self.ports = dict(zip(("api", "https", "http", "registry"), free_ports(4), strict=True))

    def start(self, authority: Authority, tell: Callable[[str], None]) -> None:
        """Starts the machines and what the cluster has; returns once all of it is ready.

        Args:
            authority: signs the certificates.
            tell: receives the name of each step.

        Raises:
            RuntimeError: something does not start; the message has the end of its log.
        """
        make_control_certificates(self._here, authority)
        authority.issue("gateway", _HOSTS[0], _HOSTS)
        write_container_defaults(self._here, self._programs)
        tell("machines")
        self._start_machines()
        self._forward()
        write_kubeconfig(self._here, "admin", f"https://127.0.0.1:{self.ports['api']}", self.kubeconfig.name)
        tell("images")
        self._wait_until_answers("registry", "/v2/", "registry")
        push_images(self._programs, self.registry_url, self._here / "ca.pem")
        tell("API server")
        self._wait_until_answers("api", "/readyz", "kube-apiserver")
        tell("DNS, measurements and gateway")
        install_addons(
            self.kubeconfig, [self._programs["gateway-api"], self._programs["contour"]], self._here, self._region
        )
        tell("pods")
        wait_until_ready(self.kubeconfig)

    @property
    def registry_url(self) -> str:
        """The image registry, as the host reaches it."""
        return f"https://127.0.0.1:{self.ports['registry']}"

    def _start_machines(self) -> None:
        programs = control_programs(self._here, self._programs)
        self._machine(_CONTROL_MACHINE, {"settings": {"net/ipv4/ip_forward": "1"}, "programs": programs})
        for number in NODES:
            name = f"node-{number}"
            group = control_groups.group_name(self._here, name)
            control_groups.make_group(group)
            self._machine(name, Node(number, self._here, self._programs, group, self._region).describe())
        machines = [_CONTROL_MACHINE, *(f"node-{number}" for number in NODES)]
        self._wait_for_files([self._here / f"{name}.mounted" for name in machines], machines)
        connect_machines(
            self._pid_file(_CONTROL_MACHINE), {number: self._pid_file(f"node-{number}") for number in NODES}
        )
        for name in machines:
            (self._here / f"{name}.connected").touch()

    def _machine(self, name: str, description: dict[str, Any]) -> None:
        described = {
            "name": name,
            "packages": str(self._programs["debian"] / "root/usr"),
            "directories": {},
            **description,
            "pid_file": str(self._pid_file(name)),
            "mounted_file": str(self._here / f"{name}.mounted"),
            "connected_file": str(self._here / f"{name}.connected"),
        }
        file = self._here / f"{name}.json"
        file.write_text(json.dumps(described, indent=1))
        checkout = str(Path(__file__).resolve().parents[2])
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"
        self._processes.start(
            name, [sys.executable, "-m", "sandbox.nodes.machine", str(file)], {"PYTHONPATH": checkout, "PATH": path}
        )

    def _pid_file(self, name: str) -> Path:
        return self._here / f"{name}.pid"

    def _wait_for_files(self, files: list[Path], machines: list[str]) -> None:
        until = time.monotonic() + _MACHINE_SECONDS
        while missing := [file for file in files if not file.exists()]:
            dead = [name for name in machines if name in self._processes.dead()]
            if dead or time.monotonic() > until:
                name = dead[0] if dead else missing[0].stem
                raise RuntimeError(f"{name} does not start: {self._processes.last_words(name)}")
            time.sleep(0.05)

    def _forward(self) -> None:
        control = str(self._pid_file(_CONTROL_MACHINE))
        nodes = [node_address(number) for number in NODES]
        ways = {
            "api": [(CONTROL, API_PORT)],
            "registry": [(CONTROL, REGISTRY_PORT)],
            "https": [(node, HTTPS_NODE_PORT) for node in nodes],
            "http": [(node, HTTP_NODE_PORT) for node in nodes],
        }
        forwards: list[dict[str, Any]] = [
            {"listen_in": "", "listen": ("127.0.0.1", self.ports[name]), "connect_in": control, "targets": targets}
            for name, targets in ways.items()
        ]
        cloud = ("127.0.0.1", self._cloud_port)
        forwards.append({"listen_in": control, "listen": (CLOUD, 443), "connect_in": "", "targets": [cloud]})
        file = self._here / "forwards.json"
        file.write_text(json.dumps(forwards, indent=1))
        checkout = str(Path(__file__).resolve().parents[2])
        self._processes.start(
            "forwards", [sys.executable, "-m", "sandbox.nodes.forward", str(file)], {"PYTHONPATH": checkout}
        )

    def _wait_until_answers(self, name: str, path: str, log: str) -> None:
        trusted = ssl.create_default_context(cafile=str(self._here / "ca.pem"))
        trusted.load_cert_chain(self._here / "admin.pem", self._here / "admin.key")
        until = time.monotonic() + _SERVER_SECONDS
        with httpx.Client(verify=trusted, timeout=2, trust_env=False) as client:
            while time.monotonic() < until:
                with contextlib.suppress(httpx.HTTPError):
                    if client.get(f"https://127.0.0.1:{self.ports[name]}{path}").status_code == httpx.codes.OK:
                        return
                time.sleep(0.2)
        raise RuntimeError(f"{log} does not become ready: {self._processes.last_words(log)}")
