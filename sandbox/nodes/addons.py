"""What the cluster has beside its nodes: DNS, measurements and a gateway, in pods."""

import base64
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import Template
from typing import Any

import yaml

from sandbox.images import make_image, push
from sandbox.nodes.addresses import (
    CLOUD,
    DNS_SERVICE,
    HTTP_NODE_PORT,
    HTTPS_NODE_PORT,
    NODES,
    registry_name,
)

_MANIFESTS = Path(__file__).parent / "manifests"
_PROGRAMS = ("pause", "coredns", "metrics-server", "contour", "envoy")
_READY_SECONDS = 300.0
_DEFINED_SECONDS = 30.0


def push_images(programs: dict[str, Path], url: str, authority: Path) -> None:
    """Makes an image of each program, and pushes it as `sandbox/<program>:1`.

    Args:
        programs: the directory of each tool's programs.
        url: of the image registry.
        authority: file with the certificate that the registry's is signed by.
    """

    def make_and_push(name: str) -> None:
        with tempfile.TemporaryDirectory() as directory:
            program = programs[name] / name
            files = {f"/{name}": program, **_libraries(program)}
            image = make_image(Path(directory), files, {"Entrypoint": [f"/{name}"]})
            push(image, url, authority, f"sandbox/{name}", "1")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make_and_push, _PROGRAMS))


def _libraries(program: Path) -> dict[str, Path]:
    """The shared libraries of a program by their paths; none for a static one."""
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    places = [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]
    return {place: Path(place) for place in places}


def install_addons(kubeconfig: Path, definitions: list[Path], here: Path, region: str) -> None:
    """Installs the definitions, DNS, measurements and the gateway.

    Args:
        kubeconfig: of an administrator.
        definitions: directories with custom resource definitions.
        here: the sandbox's directory, with the gateway's certificate.
        region: of the cloud.
    """
    values = {
        "cloud": CLOUD,
        "dns": DNS_SERVICE,
        "registry": registry_name(region),
        "http_port": str(HTTP_NODE_PORT),
        "https_port": str(HTTPS_NODE_PORT),
        "certificate": base64.b64encode((here / "gateway.pem").read_bytes()).decode(),
        "key": base64.b64encode((here / "gateway.key").read_bytes()).decode(),
    }
    client = _client(kubeconfig)
    for directory in definitions:
        for file in sorted(directory.glob("*.yaml")):
            _create(client, file.read_text(encoding="utf-8"), only="CustomResourceDefinition")
    for name in ("coredns", "metrics-server", "contour", "gateway"):
        text = (_MANIFESTS / f"{name}.yaml").read_text(encoding="utf-8")
        _create(client, Template(text).substitute(values))


def wait_until_ready(kubeconfig: Path) -> None:
    """Waits until the nodes, the pods of the cluster and the gateway are ready.

    Raises:
        RuntimeError: something is not ready in time; the message names it.
    """
    client = _client(kubeconfig)
    until = time.monotonic() + _READY_SECONDS
    while missing := list(_missing(client)):
        if time.monotonic() > until:
            raise RuntimeError(f"not ready after {_READY_SECONDS:.0f} s: {'; '.join(missing)}")
        time.sleep(0.5)


def _missing(client: Any) -> Iterator[str]:
    nodes = _get(client, "v1", "Node").items
    ready = [node.metadata.name for node in nodes if _condition(node, "Ready")]
    if len(ready) < len(NODES):
        yield f"{len(NODES) - len(ready)} node(s)"
    for kind in ("Deployment", "DaemonSet"):
        for each in _get(client, "apps/v1", kind).items:
            status = each.status.to_dict()
            wanted = status.get("desiredNumberScheduled", each.spec.get("replicas", 1))
            have = status.get("numberReady", status.get("readyReplicas", 0)) or 0
            if have < max(wanted, 1) or status.get("observedGeneration") != each.metadata.generation:
                yield f"{kind} {each.metadata.namespace}/{each.metadata.name} ({have} of {wanted})"
    for each in _get(client, "apiregistration.k8s.io/v1", "APIService").items:
        if not _condition(each, "Available"):
            yield f"APIService {each.metadata.name}"
    for each in _get(client, "gateway.networking.k8s.io/v1", "Gateway").items:
        if not _condition(each, "Programmed"):
            yield f"Gateway {each.metadata.namespace}/{each.metadata.name}"


def _condition(each: Any, kind: str) -> bool:
    conditions = (each.to_dict().get("status") or {}).get("conditions") or []
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)


def _get(client: Any, version: str, kind: str) -> Any:
    return client.resources.get(api_version=version, kind=kind).get()


def _create(client: Any, text: str, only: str = "") -> None:
    for document in yaml.safe_load_all(text):
        if document and (not only or document["kind"] == only):
            _apply(client, document)


def _apply(client: Any, document: dict[str, Any]) -> None:
    """Applies an object; a kind that was defined just now takes a moment to be known."""
    from kubernetes.client import ApiException
    from kubernetes.dynamic.exceptions import ResourceNotFoundError

    until = time.monotonic() + _DEFINED_SECONDS
    while True:
        try:
            api = client.resources.get(api_version=document["apiVersion"], kind=document["kind"])
            api.server_side_apply(
                body=document,
                name=document["metadata"]["name"],
                namespace=document["metadata"].get("namespace"),
                field_manager="sandbox",
                force_conflicts=True,
            )
        except (ResourceNotFoundError, ApiException):
            if time.monotonic() > until:
                raise
            time.sleep(0.3)
            client.resources.invalidate_cache()
        else:
            return


def _client(kubeconfig: Path) -> Any:
    from kubernetes import client, config, dynamic

    configuration = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    return dynamic.DynamicClient(client.ApiClient(configuration))  # type: ignore[no-untyped-call]
