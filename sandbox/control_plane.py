"""A Kubernetes control plane: etcd, API server, controllers, scheduler, and simulated nodes."""

import secrets
import ssl
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from sandbox.nodes.addresses import ISSUER
from sandbox.processes import Processes, free_ports

_READY_SECONDS = 120.0
_NODES = 3
_NODE_GRACE = "1h"
"""Seconds without a heartbeat before a node counts as lost: nodes miss heartbeats on a busy machine."""


class ControlPlane:
    """One control plane.

    Args:
        directory: has the certificates; receives state, logs and `kubeconfig`.
        processes: the sandbox's processes, which the control plane joins.
        programs: the directory of each tool's programs: `control-plane`, `etcd`, `kwok`.
    """

    def __init__(self, directory: Path, processes: Processes, programs: dict[str, Path]) -> None:
        self._directory = directory
        self._processes = processes
        self._programs = programs
        self.kubeconfig = directory / "kubeconfig"

    def start(self) -> None:
        """Starts everything; returns once the API server answers.

        Raises:
            RuntimeError: the API server does not become ready; the message has the end of its log.
        """
        etcd, peer, api = free_ports(3)
        self._write_kubeconfig(api)
        self._start_etcd(etcd, peer)
        self._start_api_server(etcd, api)
        self._wait_until_ready(api)
        self._start_controllers()

    def _start_etcd(self, port: int, peer_port: int) -> None:
        client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
        self._run(
            "etcd",
            "etcd",
            "etcd",
            f"--data-dir={self._directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # A sandbox: its data need not survive this machine.
            "--unsafe-no-fsync",
        )

    def _start_api_server(self, etcd_port: int, port: int) -> None:
        here = self._directory
        self._run(
            "kube-apiserver",
            "control-plane",
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={here}",
            f"--tls-cert-file={here / 'server.pem'}",
            f"--tls-private-key-file={here / 'server.key'}",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={here / 'accounts.key'}",
            f"--service-account-signing-key-file={here / 'accounts.key'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            f"--token-auth-file={here / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--endpoint-reconciler-type=none",
        )

    def _start_controllers(self) -> None:
        here, (controllers, scheduler, kwok) = self._directory, free_ports(3)
        shared = (f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1")
        self._run(
            "kube-controller-manager",
            "control-plane",
            "kube-controller-manager",
            *shared,
            f"--secure-port={controllers}",
            f"--cert-dir={here / 'controllers'}",
            f"--service-account-private-key-file={here / 'accounts.key'}",
            f"--root-ca-file={here / 'ca.pem'}",
            f"--node-monitor-grace-period={_NODE_GRACE}",
        )
        self._run(
            "kube-scheduler",
            "control-plane",
            "kube-scheduler",
            *shared,
            f"--secure-port={scheduler}",
            f"--cert-dir={here / 'scheduler'}",
        )
        self._run(
            "kwok",
            "kwok",
            "kwok",
            f"--kubeconfig={self.kubeconfig}",
            "--manage-all-nodes",
            "--enable-crds=",
            "--node-ip=127.0.0.1",
            f"--server-address=127.0.0.1:{kwok}",
        )

    def prepare(self, definitions: Path) -> None:
        """Gives the cluster nodes, the Gateway API, and the gateway that the stacks' config names.

        Args:
            definitions: directory with the Gateway API's custom resource definitions.
        """
        from kubernetes import client, config, utils

        config.load_kube_config(str(self.kubeconfig))  # type: ignore[no-untyped-call]
        core: Any = client.CoreV1Api()
        for number in range(_NODES):
            core.create_node(_node(number))
        for file in sorted(definitions.glob("*.yaml")):
            for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
                if document and document["kind"] == "CustomResourceDefinition":
                    utils.create_from_dict(  # type: ignore[no-untyped-call]
                        client.ApiClient(), document
                    )
        core.create_namespace({"metadata": {"name": "gateways"}})
        _make_gateway(client.CustomObjectsApi())

    def _run(self, name: str, tool: str, program: str, *arguments: str) -> None:
        self._processes.start(name, [str(self._programs[tool] / program), *arguments])

    def _write_kubeconfig(self, port: int) -> None:
        token = secrets.token_urlsafe(32)
        tokens = self._directory / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{token},admin,admin,"system:masters"\n')
        self.kubeconfig.touch(mode=0o600)
        authority = str(self._directory / "ca.pem")
        server = {"server": f"https://127.0.0.1:{port}", "certificate-authority": authority}
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "sandbox", "cluster": server}],
                    "users": [{"name": "admin", "user": {"token": token}}],
                    "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "admin"}}],
                    "current-context": "sandbox",
                }
            )
        )

    def _wait_until_ready(self, port: int) -> None:
        until = time.monotonic() + _READY_SECONDS
        trusted = ssl.create_default_context(cafile=str(self._directory / "ca.pem"))
        with httpx.Client(verify=trusted, timeout=2, trust_env=False) as client:
            while time.monotonic() < until:
                if dead := self._processes.dead():
                    raise RuntimeError(f"{dead[0]} ended: {self._processes.last_words(dead[0])}")
                try:
                    if client.get(f"https://127.0.0.1:{port}/readyz").status_code == httpx.codes.OK:
                        return
                except httpx.HTTPError:
                    pass
                time.sleep(0.3)
        raise RuntimeError(f"the API server does not become ready: {self._processes.last_words('kube-apiserver')}")


def _node(number: int) -> dict[str, Any]:
    capacity = {"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "500Gi", "nvidia.com/gpu": "8"}
    labels = {
        "kubernetes.io/hostname": f"node-{number}",
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": f"zone-{number}",
        "type": "kwok",
    }
    return {
        "metadata": {"name": f"node-{number}", "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"allocatable": capacity, "capacity": capacity},
    }


def _make_gateway(api: Any) -> None:
    group, version = "gateway.networking.k8s.io", "v1"
    api.create_cluster_custom_object(
        group,
        version,
        "gatewayclasses",
        {
            "apiVersion": f"{group}/{version}",
            "kind": "GatewayClass",
            "metadata": {"name": "sandbox"},
            "spec": {"controllerName": "example.com/nobody"},
        },
    )
    listeners = [
        {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}},
        {
            "name": "https",
            "port": 443,
            "protocol": "HTTPS",
            "allowedRoutes": {"namespaces": {"from": "All"}},
            "tls": {"mode": "Terminate", "certificateRefs": [{"name": "public"}]},
        },
    ]
    api.create_namespaced_custom_object(
        group=group,
        version=version,
        namespace="gateways",
        plural="gateways",
        body={
            "apiVersion": f"{group}/{version}",
            "kind": "Gateway",
            "metadata": {"name": "public"},
            "spec": {"gatewayClassName": "sandbox", "listeners": listeners},
        },
    )
