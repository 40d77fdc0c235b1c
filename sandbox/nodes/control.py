"""The programs of the control plane's machine: etcd, API server, controllers, scheduler, image registry."""

from pathlib import Path
from typing import Any

import yaml

from sandbox.certificates import Authority
from sandbox.nodes.addresses import (
    API_PORT,
    CONTROL,
    ISSUER,
    NODES,
    REGISTRY_PORT,
    SERVICES,
    node_address,
    node_name,
)

SERVER = f"https://{CONTROL}:{API_PORT}"


def make_control_certificates(directory: Path, authority: Authority) -> None:
    """Issues the certificates of the control plane and the nodes, and writes their kubeconfigs."""
    authority.issue("admin", "admin", organization="system:masters")
    authority.issue("apiserver-kubelet", "kube-apiserver", organization="system:masters")
    authority.issue("front-proxy", "front-proxy")
    authority.issue("kube-proxy", "system:kube-proxy")
    write_kubeconfig(directory, "admin", SERVER)
    write_kubeconfig(directory, "kube-proxy", SERVER)
    for number in NODES:
        name = node_name(number)
        authority.issue(name, f"system:node:{name}", (name, node_address(number)), organization="system:nodes")
        write_kubeconfig(directory, name, SERVER)


def write_kubeconfig(directory: Path, user: str, server: str, file: str = "") -> Path:
    """Writes `<user>.kubeconfig`, or the named file, for a user whose certificate lies in the directory."""
    target = directory / (file or f"{user}.kubeconfig")
    target.touch(mode=0o600)
    target.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": "sandbox",
                        "cluster": {"server": server, "certificate-authority": str(directory / "ca.pem")},
                    }
                ],
                "users": [
                    {
                        "name": user,
                        "user": {
                            "client-certificate": str(directory / f"{user}.pem"),
                            "client-key": str(directory / f"{user}.key"),
                        },
                    }
                ],
                "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": user}}],
                "current-context": "sandbox",
            }
        )
    )
    return target


def control_programs(here: Path, programs: dict[str, Path]) -> list[dict[str, Any]]:
    """The programs of the control plane, in the order of their start.

    Args:
        here: the sandbox's directory.
        programs: the directory of each tool's programs.
    """
    plane = programs["control-plane"]
    commands = {
        "etcd": _etcd(here, programs["etcd"]),
        "kube-apiserver": [str(plane / "kube-apiserver"), *_api_server(here)],
        "kube-controller-manager": [str(plane / "kube-controller-manager"), *_controllers(here)],
        "kube-scheduler": [str(plane / "kube-scheduler"), *_as_client(here), f"--cert-dir={here / 'scheduler'}"],
        "registry": ["docker-registry", "serve", str(_registry(here))],
    }
    return [{"name": name, "command": command, "log": str(here / f"{name}.log")} for name, command in commands.items()]


def _etcd(here: Path, programs: Path) -> list[str]:
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return [
        str(programs / "etcd"),
        f"--data-dir={here / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        # A sandbox: its data need not survive this machine.
        "--unsafe-no-fsync",
    ]


def _api_server(here: Path) -> list[str]:
    authority = here / "ca.pem"
    return [
        "--etcd-servers=http://127.0.0.1:2379",
        f"--bind-address={CONTROL}",
        f"--advertise-address={CONTROL}",
        f"--secure-port={API_PORT}",
        f"--tls-cert-file={here / 'server.pem'}",
        f"--tls-private-key-file={here / 'server.key'}",
        f"--client-ca-file={authority}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={here / 'accounts.key'}",
        f"--service-account-signing-key-file={here / 'accounts.key'}",
        f"--service-cluster-ip-range={SERVICES}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--kubelet-client-certificate={here / 'apiserver-kubelet.pem'}",
        f"--kubelet-client-key={here / 'apiserver-kubelet.key'}",
        f"--kubelet-certificate-authority={authority}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={authority}",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={here / 'front-proxy.pem'}",
        f"--proxy-client-key-file={here / 'front-proxy.key'}",
        # The API server's machine has no Services of its own: it calls the pods of an added API themselves.
        "--enable-aggregator-routing=true",
    ]


def _as_client(here: Path) -> list[str]:
    config = here / "admin.kubeconfig"
    return [
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]


def _controllers(here: Path) -> list[str]:
    return [
        *_as_client(here),
        f"--cert-dir={here / 'controllers'}",
        f"--service-account-private-key-file={here / 'accounts.key'}",
        f"--root-ca-file={here / 'ca.pem'}",
        "--use-service-account-credentials=true",
        # Measurements count sooner than on a large cluster: a person watches.
        "--horizontal-pod-autoscaler-sync-period=5s",
        "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
        "--horizontal-pod-autoscaler-cpu-initialization-period=30s",
    ]


def _registry(here: Path) -> Path:
    file = here / "registry.yaml"
    listening = {
        "addr": f"{CONTROL}:{REGISTRY_PORT}",
        "tls": {"certificate": str(here / "server.pem"), "key": str(here / "server.key")},
    }
    config = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(here / "images")}, "delete": {"enabled": True}},
        "http": listening,
    }
    file.write_text(yaml.safe_dump(config))
    return file
