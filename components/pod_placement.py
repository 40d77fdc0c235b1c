"""Where a cluster may run a pod, and with which priority and credentials of an image registry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_OWN_STORAGE_MEBIBYTES = 512
"""Of a pod's own beside its directories: its logs, and what the runtime writes."""


@dataclass(frozen=True)
class PodPlacement:
    """The nodes that a pod may be on; the same for every pod of a stack."""

    architecture: str = "amd64"
    """Of the image: `amd64` or `arm64`."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    """Further labels that a node has to have."""
    tolerations: tuple[Mapping[str, Any], ...] = ()
    """Taints that the pods tolerate, as in a pod's spec."""
    pull_secrets: tuple[str, ...] = ()
    """Secrets of the namespace with the credentials of the image's registry; none: those of the node."""
    priority_class: str = ""
    """Name of a PriorityClass; empty: the cluster's default."""

    def fields(self) -> dict[str, Any]:
        """The fields of a pod's spec."""
        found: dict[str, Any] = {
            "node_selector": {
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": self.architecture,
                **self.node_selector,
            }
        }
        if self.tolerations:
            found["tolerations"] = [dict(each) for each in self.tolerations]
        if self.pull_secrets:
            found["image_pull_secrets"] = [{"name": name} for name in self.pull_secrets]
        if self.priority_class:
            found["priority_class_name"] = self.priority_class
        return found


def ephemeral_storage(directory_limit: str) -> str:
    """A limit of local storage that a pod whose only directory is full does not exceed.

    A node evicts a pod whose directories and logs together are beyond its limit, whatever each directory may hold.

    Args:
        directory_limit: of the pod's `emptyDir`, such as `4Gi`.
    """
    mebibytes = int(directory_limit[:-2]) * _UNITS[directory_limit[-2:]] // _UNITS["Mi"]
    return f"{mebibytes + _OWN_STORAGE_MEBIBYTES}Mi"
