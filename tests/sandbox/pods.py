"""A pod of a stack as a process of this machine: the Deployment's own environment and files, against the sandbox."""

import base64
import os
from pathlib import Path
from typing import Any

from tests.checkout import free_port
from tests.sandbox.conftest import Cloud, deployment_name


def mounted(cloud: Cloud, stack: str, root: Path) -> dict[str, Path]:
    """Writes the files that a pod would have; returns where each mount's directory lies here."""
    pod = cloud.deployment(stack).spec.template.spec
    volumes = {volume.name: volume for volume in pod.volumes}
    directories: dict[str, Path] = {}
    for mount in pod.containers[0].volume_mounts:
        directory = root / mount.name
        directory.mkdir()
        directories[mount.mount_path] = directory
        for name, content in _content(cloud, stack, volumes[mount.name]).items():
            (directory / name).write_bytes(content)
            (directory / name).chmod(0o400)
    return directories


def _content(cloud: Cloud, stack: str, volume: Any) -> dict[str, bytes]:
    namespace = f"fraud-detection-{stack}"
    if volume.secret:
        secret = cloud.kubernetes("CoreV1Api").read_namespaced_secret(volume.secret.secret_name, namespace)
        return {name: base64.b64decode(value) for name, value in secret.data.items()}
    if volume.projected:
        (source,) = volume.projected.sources
        request = {"spec": {"audiences": [source.service_account_token.audience], "expirationSeconds": 3600}}
        api = cloud.kubernetes("CoreV1Api")
        answer = api.create_namespaced_service_account_token(deployment_name(stack), namespace, request)
        return {source.service_account_token.path: answer.status.token.encode()}
    return {}


def pod_environment(cloud: Cloud, stack: str, directories: dict[str, Path], port: int = 0) -> dict[str, str]:
    """Exactly the container's, but for where its mounts lie and the address that it listens on."""
    container = cloud.deployment(stack).spec.template.spec.containers[0]
    found = {}
    for item in container.env:
        value = item.value or ""
        for mount, directory in directories.items():
            if value == mount or value.startswith(f"{mount}/"):
                value = str(directory) + value.removeprefix(mount)
                break
        found[item.name] = value
    sandbox = {name: cloud.variables[name] for name in ("AWS_ENDPOINT_URL", "AWS_CA_BUNDLE")}
    address = {"API_HOST": "127.0.0.1", "API_PORT": str(port or free_port()), "PATH": os.environ["PATH"]}
    return {**found, **sandbox, **address}
