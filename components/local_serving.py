"""LocalServing: the endpoint as supervised processes on this machine, without Docker or a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pulumi

from components.local_process import LocalProcess
from conventions import variables

LOCAL_TYPE = "fraud-detection:local_serving:LocalServing"
DOCKER_TYPE = "fraud-detection:docker_serving:DockerServing"
_ANY_NUMBER = "1000000"


@dataclass(frozen=True)
class LocalVersion:
    """A model version that a process serves."""

    model_id: pulumi.Input[str]
    """The update is done when the service answers with this model version."""
    uri: pulumi.Input[str]
    """`file://` directory with manifest and artifact."""
    digest: pulumi.Input[str]
    """The artifact's digest, `sha256:<hex>`; the service refuses any other."""
    runtime_digest: pulumi.Input[str] = ""
    """Digest of the model's optimized form; empty: the service uses the model's own library."""


@dataclass(frozen=True)
class LocalSlots:
    """Two slots behind a traffic splitter, in place of one process."""

    stable: str
    """The slot of the stable version: `blue` or `green`."""
    other: LocalVersion | None = None
    """The version in the other slot; None when the slot is empty."""
    weight: int = 0
    """Percent of the predictions that the other slot answers, 0 to 100."""
    shadow: bool = False
    """Whether the other slot gets a copy of every prediction."""


@dataclass(frozen=True)
class LocalServingArgs:
    """Arguments of LocalServing: the model version and the endpoint's address."""

    deployment_name: str
    """Name of the run directory and the log; a checkout runs one endpoint of each name."""
    environment: str
    """`development`, `staging` or `production`; the service gets it as `ENVIRONMENT`."""
    version: LocalVersion
    """The stable version."""
    host: str
    """Address of this machine to listen on."""
    port: int
    """TCP port, 1 to 65535."""
    model_key_file: str
    """File with the key that decrypts the artifact; the state records only its path."""
    api_keys_file: str
    """File with the hashes of the API keys that may call the service."""
    checkout: str
    """Directory the process runs in; holds `.run/` and `logs/`."""
    ready_timeout_seconds: float = 120.0
    """Seconds that a process may take to load its model; then the update fails and the old process keeps serving."""
    slots: LocalSlots | None = None
    """None: one process without a traffic splitter."""
    service_variables: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables of the service: limits, rates, threshold, traces."""
    tls_variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that name the endpoint's certificate; with slots, those of the traffic splitter alone."""
    development_host: str = ""
    """Host for which a certificate of development is made; empty for none."""


class LocalServing(pulumi.ComponentResource):
    """Serves one model version in a supervised process, or two versions behind a traffic splitter.

    Guarantees: an update is done once `/health/ready` answers with the expected model id; it refuses no connection,
    because the listening socket outlives the processes; a process that does not become ready fails the update, and the
    old process keeps serving; the next preview, update or refresh finds a process that has died. With slots, a version
    is ready before the traffic splitter sends it requests, the splitter changes before a slot is emptied, and a version
    that becomes stable keeps its process.
    """

    id_: pulumi.Output[str]
    """The deployment name."""
    url: pulumi.Output[str]
    model_id: pulumi.Output[str]

    def __init__(self, name: str, args: LocalServingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(LOCAL_TYPE, name, {}, opts)
        self._name, self._args = name, args
        if args.slots is None:
            process = self._process("", args.version, {"port": args.port, **self._secured(args.service_variables)})
        else:
            process = self._traffic_splitter(args.slots)
        self.id_ = process.id
        self.url = process.url
        self.model_id = process.model_id
        self.register_outputs({"id": self.id_, "url": self.url, "model_id": self.model_id})

    def _traffic_splitter(self, slots: LocalSlots) -> LocalProcess:
        stable_slot, other_slot = ("blue", "green") if slots.stable == "blue" else ("green", "blue")
        behind = [self._slot(stable_slot, self._args.version)]
        if slots.other is not None:
            behind.append(self._slot(other_slot, slots.other))
        directories = [self._run_directory(slot) for slot in (stable_slot, other_slot)]
        told = splitter_variables(self._run_directory(""), directories, slots, self._args.service_variables)
        more = {"port": self._args.port, "module": "serving.traffic_splitter", **self._secured(told)}
        return self._process("", self._args.version, more, behind)

    def _secured(self, told: Mapping[str, pulumi.Input[str]]) -> dict[str, Any]:
        return secured_arguments(told, self._args.tls_variables, self._args.development_host)

    def _slot(self, slot: str, version: LocalVersion) -> LocalProcess:
        # On any free port of the loopback: the traffic splitter reads it from the slot's run directory.
        more: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "run_name": self._run_name(slot)}
        if told := behind_splitter(self._args.service_variables):
            more["variables"] = told
        return self._process(f"-{slot}", version, more)

    def _process(
        self, suffix: str, version: LocalVersion, more: dict[str, Any], after: list[LocalProcess] | None = None
    ) -> LocalProcess:
        args = self._args
        arguments = {
            "deployment_name": args.deployment_name,
            "environment": args.environment,
            "model_id": version.model_id,
            "model_uri": version.uri,
            "model_digest": version.digest,
            "model_runtime_digest": version.runtime_digest,
            "host": args.host,
            "model_key_file": args.model_key_file,
            "api_keys_file": args.api_keys_file,
            "checkout": args.checkout,
            "log_level": "INFO",
            "ready_timeout_seconds": args.ready_timeout_seconds,
            **({"variables": dict(args.service_variables)} if args.service_variables else {}),
            **more,
        }
        # On platform docker the same process has another parent: a change of platform moves it, and it goes on.
        aliases = [] if suffix else [pulumi.Alias(parent=pulumi.create_urn(self._name, DOCKER_TYPE))]
        opts = pulumi.ResourceOptions(parent=self, depends_on=after or [], aliases=aliases)
        return LocalProcess(f"{self._name}{suffix}-process", arguments, opts)

    def _run_name(self, slot: str) -> str:
        return f"{self._args.deployment_name}-{slot}" if slot else self._args.deployment_name

    def _run_directory(self, slot: str) -> str:
        """The run directory, relative to the checkout: processes run in the checkout."""
        return f".run/{self._run_name(slot)}"


def secured_arguments(
    told: Mapping[str, pulumi.Input[str]], tls_variables: Mapping[str, str], development_host: str
) -> dict[str, Any]:
    """Inputs of the process that clients connect to: its variables, and whom a certificate is made for.

    Args:
        told: variables beside those of the certificate.
        tls_variables: name the certificate's files; empty for plain HTTP.
        development_host: a certificate of development is made for it; empty for none.
    """
    variables_of_process = {**told, **tls_variables}
    return {
        **({"variables": variables_of_process} if variables_of_process else {}),
        **({"development_host": development_host} if development_host else {}),
    }


def behind_splitter(service_variables: Mapping[str, str]) -> dict[str, str]:
    """The service's variables where all its clients have one address, that of the traffic splitter.

    Args:
        service_variables: of the service; the splitter keeps the limit of each client's address.
    """
    told = dict(service_variables)
    if {variables.MAX_CONNECTIONS, variables.MAX_CONNECTIONS_PER_ADDRESS, variables.MAX_IN_FLIGHT} & set(told):
        told[variables.MAX_CONNECTIONS_PER_ADDRESS] = _ANY_NUMBER
    return told


def splitter_variables(
    directory: str, behind: Sequence[str], slots: LocalSlots, service_variables: Mapping[str, str] | None = None
) -> dict[str, pulumi.Input[str]]:
    """The environment variables that tell a traffic splitter what stands behind it.

    Args:
        directory: run directory of the splitter, relative to the checkout.
        behind: run directories of the stable and the other slot.
        slots: what the other slot holds.
        service_variables: of the service; its bounds hold for the splitter, too.
    """
    told: dict[str, pulumi.Input[str]] = {
        **(service_variables or {}),
        variables.FRONT_DIRECTORY: directory,
        variables.FRONT_STABLE: behind[0],
    }
    if slots.other is not None:
        told |= {
            variables.FRONT_CANDIDATE: behind[1],
            variables.CANDIDATE_MODEL_ID: slots.other.model_id,
            variables.FRONT_WEIGHT: str(slots.weight),
            variables.FRONT_SHADOW: "1" if slots.shadow else "",
        }
    return told


def directory_of(uri: str) -> str:
    """The directory that a `file://` URI names."""
    return str(Path(unquote(urlsplit(uri).path)))
