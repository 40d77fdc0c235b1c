"""DockerServing: the endpoint as one container of this machine's Docker, with a health check."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_docker as docker

from conventions import variables

_PORT = 8000
_SECRETS = "/var/run/secrets/fraud-detection"
_MODEL = "/var/lib/fraud-detection/model"


@dataclass(frozen=True)
class DockerServingArgs:
    """Arguments of DockerServing: the model version and the endpoint's address."""

    deployment_name: str
    environment: str
    image: pulumi.Input[str]
    model_id: pulumi.Input[str]
    model_directory: pulumi.Input[str]
    """Directory of this machine with manifest and artifact."""
    model_digest: pulumi.Input[str]
    host: str
    port: int
    model_key_file: str
    api_keys_file: str
    memory_mib: int
    cpu_shares: int
    """1024 for one core."""
    model_runtime_digest: pulumi.Input[str] = ""
    """Digest of the model's optimized form; empty: the service uses the model's own library."""
    health_check_interval: int = 30
    """Seconds."""
    service_variables: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables of the service: limits, rates, threshold, traces."""


class DockerServing(pulumi.ComponentResource):
    """One container that serves one model version.

    Guarantees: the container runs as an unprivileged user with a read-only root and no capabilities; model, key and API
    keys are mounted read-only; the update fails unless the health check passes.
    """

    id_: pulumi.Output[str]
    url: pulumi.Output[str]

    def __init__(self, name: str, args: DockerServingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("fraud-detection:docker_serving:DockerServing", name, {}, opts)
        environment = {
            variables.ENVIRONMENT: args.environment,
            variables.DEPLOYMENT_NAME: args.deployment_name,
            variables.MODEL_ID: args.model_id,
            variables.MODEL_URI: _MODEL,
            variables.MODEL_SHA256: args.model_digest,
            variables.MODEL_RUNTIME_SHA256: args.model_runtime_digest,
            variables.MODEL_KEY_FILE: f"{_SECRETS}/model.key",
            variables.API_KEYS_FILE: f"{_SECRETS}/api_keys.json",
            variables.API_HOST: "0.0.0.0",  # noqa: S104 - the container's own network
            variables.API_PORT: str(_PORT),
            variables.LOG_LEVEL: "INFO",
            **args.service_variables,
        }
        mounts = {
            _MODEL: args.model_directory,
            f"{_SECRETS}/model.key": args.model_key_file,
            f"{_SECRETS}/api_keys.json": args.api_keys_file,
        }
        container = docker.Container(
            f"{name}-container",
            name=args.deployment_name,
            image=args.image,
            envs=[pulumi.Output.concat(key, "=", value) for key, value in environment.items()],
            ports=[{"internal": _PORT, "external": args.port, "ip": args.host}],
            volumes=[
                {"container_path": target, "host_path": source, "read_only": True} for target, source in mounts.items()
            ],
            tmpfs={"/tmp": "rw,noexec,nosuid,size=64m"},  # noqa: S108 - a directory of the container's own
            read_only=True,
            capabilities={"drops": ["ALL"]},
            security_opts=["no-new-privileges:true"],
            memory=args.memory_mib,
            cpu_shares=args.cpu_shares,
            restart="unless-stopped",
            must_run=True,
            wait=True,
            healthcheck={
                "tests": ["CMD", "python3", "-m", "serving.healthcheck"],
                "interval": f"{args.health_check_interval}s",
                "timeout": "10s",
                "retries": 3,
                "start_period": "60s",
            },
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        self.id_ = container.id
        self.url = pulumi.Output.from_input(f"http://{args.host}:{args.port}")
        self.register_outputs({"id": self.id_, "url": self.url})
