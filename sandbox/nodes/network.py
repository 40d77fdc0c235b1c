"""Connects the machines of the cluster: a bridge in the control plane's namespace, a cable to each node, routes."""

import subprocess
from pathlib import Path

from sandbox.nodes.addresses import CLOUD, CONTROL, NODES, PODS, node_address, pods_of

_BRIDGE = "nodes"


def connect_machines(control: Path, nodes: dict[int, Path]) -> None:
    """Gives each machine its interface, addresses and routes; nothing of the host's own network changes.

    Args:
        control: file with the process id of the control plane's machine.
        nodes: the same for each node.

    Raises:
        RuntimeError: a command failed; the message has its own.
    """
    middle = control.read_text()
    _ip(middle, f"link set lo up\nlink add {_BRIDGE} type bridge\nlink set {_BRIDGE} up")
    _ip(middle, "\n".join(f"addr add {address}/24 dev {_BRIDGE}" for address in (CONTROL, CLOUD)))
    for number, file in nodes.items():
        other, cable = file.read_text(), f"node-{number}"
        _ip(middle, f"link add {cable} type veth peer name eth0 netns {other}\nlink set {cable} master {_BRIDGE} up")
        _ip(
            other,
            f"link set lo up\naddr add {node_address(number)}/24 dev eth0\nlink set eth0 up\n"
            f"route add default via {CONTROL}",
        )
        _ip(middle, f"route add {pods_of(number)} via {node_address(number)}")
        # Pods of other nodes are behind these nodes themselves, not behind the control plane.
        others = [each for each in NODES if each != number and each in nodes]
        _ip(other, "\n".join(f"route add {pods_of(each)} via {node_address(each)}" for each in others))
    # What no machine has an address for ends here, and does not go round in circles.
    _ip(middle, f"route add unreachable {PODS}")


def _ip(process: str, commands: str) -> None:
    """Runs several commands of `ip` in a machine's network, with the machine's own programs."""
    if not commands:
        return
    enter = ["nsenter", "--target", process, "--net", "--mount", "ip", "-batch", "-"]
    done = subprocess.run(enter, input=f"{commands}\n", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {commands.splitlines()}: {done.stderr.strip()}")
