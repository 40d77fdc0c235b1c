"""LocalServing: the endpoint as a supervised process on this machine, the platform that needs nothing else."""

from dataclasses import dataclass, fields

import pulumi

from components.local_process import LocalProcess


@dataclass(frozen=True)
class LocalServingArgs:
    """What to serve, and where."""

    deployment_name: str
    """Names the run directory and the log; one endpoint of a name runs on a checkout at a time."""
    environment: str
    """`development`, `staging` or `production`, told to the service."""
    model_id: pulumi.Input[str]
    """The model version that has to answer before the update counts as done."""
    model_uri: pulumi.Input[str]
    """`file://` directory with manifest and artifact."""
    model_digest: pulumi.Input[str]
    """The artifact's digest, `sha256:<hex>`; the service refuses any other."""
    host: str
    """Address of this machine to listen on."""
    port: int
    """TCP port, 1 to 65535."""
    model_key_file: str
    """File with the key that decrypts the artifact; its path alone is recorded."""
    api_keys_file: str
    """File with the hashes of the API keys that are let in."""
    checkout: str
    """Directory the process runs in; holds `.run/` and `logs/`."""
    model_runtime_digest: pulumi.Input[str] = ""
    """Of the model's second form, which is served where it is given."""
    log_level: str = "INFO"
    ready_timeout_seconds: float = 120.0
    """How long a process may take to load its model before the update fails and the process before it goes on."""


class LocalServing(pulumi.ComponentResource):
    """One supervised process that serves one model version.

    Guarantees: an update counts as done once `/health/ready` answers with the expected model id; no connection is
    refused meanwhile, since one listening socket outlives both processes; a process that does not get ready fails the
    update and leaves the one before it serving; a process that has died is found by the next preview, update or
    refresh.
    """

    id_: pulumi.Output[str]
    """The deployment name."""
    url: pulumi.Output[str]
    model_id: pulumi.Output[str]

    def __init__(self, name: str, args: LocalServingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("fraud-detection:local_serving:LocalServing", name, {}, opts)
        arguments = {field.name: getattr(args, field.name) for field in fields(args)}
        process = LocalProcess(f"{name}-process", arguments, pulumi.ResourceOptions(parent=self))
        self.id_ = process.id
        self.url = process.url
        self.model_id = process.model_id
        self.register_outputs({"id": self.id_, "url": self.url, "model_id": self.model_id})
