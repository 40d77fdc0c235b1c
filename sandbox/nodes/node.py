"""The programs of one node: containerd, kubelet, kube-proxy, and kube-router, which enforces network policies."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from sandbox.nodes.addresses import (
    CONTROL,
    DNS_SERVICE,
    PODS,
    REGISTRY_PORT,
    SERVICES,
    node_address,
    node_name,
    pods_of,
    registry_name,
)

_SOCKET = "/run/containerd/containerd.sock"
_SETTINGS = {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}
_PRETENDED_SETTINGS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
"""The kubelet sets these for the whole host when they differ: a node finds what it wants, and writes nothing."""
_CONTAINER_AUTHORITY = "/etc/fraud-detection-sandbox/ca.pem"


class Node:
    """One node.

    Args:
        number: from 1.
        here: the sandbox's directory.
        programs: the directory of each tool's programs.
        control_group: name of the node's control group.
        region: of the cloud.
    """

    def __init__(self, number: int, here: Path, programs: dict[str, Path], control_group: str, region: str) -> None:
        self.number, self.name, self.directory = number, node_name(number), here / node_name(number)
        self._here, self._tools, self._control_group, self._region = here, programs, control_group, region

    def describe(self) -> dict[str, Any]:
        """Writes the node's files; returns what `sandbox.nodes.machine` starts."""
        self.directory.mkdir(exist_ok=True)
        return {
            "settings": _SETTINGS,
            "pretended_settings": _PRETENDED_SETTINGS,
            "directories": {
                "/var/lib/kubelet": str(self.directory / "kubelet"),
                "/var/lib/cni": str(self.directory / "cni"),
                "/var/log": str(self.directory / "log"),
            },
            "programs": [
                {"name": name, "command": command, "log": str(self._here / f"{self.name}-{name}.log")}
                for name, command in self._commands().items()
            ],
        }

    def _commands(self) -> dict[str, list[str]]:
        kubelet, policies = self._tools["kubelet"], self._tools["kube-router"]
        return {
            "containerd": ["containerd", "--config", str(self._containerd())],
            "kubelet": [
                str(kubelet / "kubelet"),
                f"--config={self._kubelet()}",
                f"--kubeconfig={self._here / f'{self.name}.kubeconfig'}",
                f"--hostname-override={self.name}",
                f"--node-ip={node_address(self.number)}",
                f"--node-labels=topology.kubernetes.io/zone=zone-{self.number}",
            ],
            "kube-proxy": [str(kubelet / "kube-proxy"), f"--config={self._proxy()}"],
            "kube-router": [
                str(policies / "kube-router"),
                "--run-router=false",
                "--run-service-proxy=false",
                "--run-loadbalancer=false",
                "--run-firewall=true",
                f"--kubeconfig={self._here / 'admin.kubeconfig'}",
                f"--hostname-override={self.name}",
                f"--service-cluster-ip-range={SERVICES}",
                "--enable-ipv6=false",
                "--iptables-sync-period=30s",
                "--health-port=0",
            ],
        }

    def _write(self, name: str, content: dict[str, Any]) -> Path:
        file = self.directory / name
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return file

    def _containerd(self) -> Path:
        self._pod_network()
        self._registry_hosts()
        config = f"""\
version = 2
root = "{self.directory / "containerd"}"
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{registry_name(self._region)}/sandbox/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{self.directory / "networks"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    snapshotter = "overlayfs"
    discard_unpacked_layers = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      base_runtime_spec = "{self._here / "container.json"}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{self.directory / "registries"}"
"""
        file = self.directory / "containerd.toml"
        file.write_text(config)
        return file

    def _pod_network(self) -> None:
        directory = self.directory / "networks"
        directory.mkdir(exist_ok=True)
        addresses = {"type": "host-local", "ranges": [[{"subnet": pods_of(self.number)}]]}
        bridge = {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "ipMasq": False,
            "hairpinMode": True,
            "ipam": {**addresses, "routes": [{"dst": "0.0.0.0/0"}]},
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        network = {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]}
        (directory / "10-pods.conflist").write_text(json.dumps(network))

    def _registry_hosts(self) -> None:
        directory = self.directory / "registries" / registry_name(self._region)
        directory.mkdir(parents=True, exist_ok=True)
        server = f"https://{CONTROL}:{REGISTRY_PORT}"
        (directory / "hosts.toml").write_text(
            f'server = "{server}"\n[host."{server}"]\n'
            f'  capabilities = ["pull", "resolve"]\n  ca = "{self._here / "ca.pem"}"\n'
        )

    def _kubelet(self) -> Path:
        resolver = self.directory / "resolv.conf"
        resolver.write_text("options ndots:1\n")
        return self._write(
            "kubelet.yaml",
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "address": node_address(self.number),
                "tlsCertFile": str(self._here / f"{self.name}.pem"),
                "tlsPrivateKeyFile": str(self._here / f"{self.name}.key"),
                "authentication": {
                    "anonymous": {"enabled": False},
                    "webhook": {"enabled": True},
                    "x509": {"clientCAFile": str(self._here / "ca.pem")},
                },
                "authorization": {"mode": "Webhook"},
                "containerRuntimeEndpoint": f"unix://{_SOCKET}",
                "cgroupDriver": "cgroupfs",
                "cgroupRoot": f"/{self._control_group}",
                "failSwapOn": False,
                "failCgroupV1": False,
                "clusterDNS": [DNS_SERVICE],
                "clusterDomain": "cluster.local",
                "resolvConf": str(resolver),
                "volumePluginDir": str(self.directory / "plugins"),
                "seccompDefault": True,
                "imageGCHighThresholdPercent": 100,
                "imageGCLowThresholdPercent": 99,
                "evictionHard": {
                    "memory.available": "200Mi",
                    "nodefs.available": "300Mi",
                    "imagefs.available": "300Mi",
                    "nodefs.inodesFree": "1%",
                },
                "syncFrequency": "10s",
                "nodeStatusUpdateFrequency": "5s",
                "serializeImagePulls": False,
                "oomScoreAdj": 0,
            },
        )

    def _proxy(self) -> Path:
        keep = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
        return self._write(
            "kube-proxy.yaml",
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "mode": "iptables",
                "clientConnection": {"kubeconfig": str(self._here / "kube-proxy.kubeconfig")},
                "hostnameOverride": self.name,
                "clusterCIDR": PODS,
                "bindAddress": node_address(self.number),
                "oomScoreAdj": 0,
                # The host's own limits stay.
                "conntrack": keep,
            },
        )


def write_container_defaults(here: Path, programs: dict[str, Path]) -> None:
    """Writes what every container starts from: runc's defaults, and trust in the sandbox's authority.

    On AWS an image's own certificates are enough; here the cloud's certificate is the sandbox's, and the image and the
    pod stay as they are.
    """
    listed = subprocess.run(
        [str(programs["debian"] / "root/usr/bin/ctr"), "oci", "spec"], capture_output=True, text=True, check=True
    )
    spec = json.loads(listed.stdout)
    spec["process"]["env"] = [*spec["process"].get("env", []), f"AWS_CA_BUNDLE={_CONTAINER_AUTHORITY}"]
    spec["mounts"].append(
        {
            "destination": _CONTAINER_AUTHORITY,
            "type": "bind",
            "source": str(here / "ca.pem"),
            "options": ["bind", "ro"],
        }
    )
    (here / "container.json").write_text(json.dumps(spec))
