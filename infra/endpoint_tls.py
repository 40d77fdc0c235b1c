"""How a stack's endpoint is secured: by the files or the Secret of its config, or by a certificate of development."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conventions import config_keys, variables
from conventions.endpoint_tls import CERTIFICATE_FILE, KEY_FILE
from infra.deployment_config import DeploymentConfig
from infra.errors import ConfigError


@dataclass(frozen=True)
class EndpointTls:
    """How the endpoint of this machine is secured."""

    variables: dict[str, str] = field(default_factory=dict)
    """Environment variables of the process that clients connect to; empty for plain HTTP."""
    development_host: str = ""
    """The host that a certificate of development is made for; empty where the config names one."""


def endpoint_tls(deployment: DeploymentConfig, platform: str, checkout: Path) -> EndpointTls:
    """How an endpoint of this machine is secured; pods read a Secret in place of files.

    Args:
        deployment: of the stack's config, as `require_address` lets it pass.
        platform: of the stack.
        checkout: the project's root; files of the config are relative to it.
    """
    service = deployment.service
    if platform == "kubernetes" or not _is_https(deployment):
        return EndpointTls()
    certificate, key = service.tls_certificate_file, service.tls_key_file
    client_ca = _file(checkout, variables.TLS_CLIENT_CA_FILE, service.tls_client_ca_file)
    return EndpointTls(
        {
            **_file(checkout, variables.TLS_CERTIFICATE_FILE, certificate or CERTIFICATE_FILE),
            **_file(checkout, variables.TLS_KEY_FILE, key or KEY_FILE),
            **client_ca,
        },
        "" if certificate else deployment.host,
    )


def require_address(deployment: DeploymentConfig, platform: str, where: str) -> None:
    """Raises ConfigError unless the platform can answer at the address of a deployment.

    Raises:
        ConfigError: an https address without a certificate, a certificate without an https address, or settings of TLS
            that belong to another platform; each in a line of its own.
    """
    key = f"{where}: {config_keys.DEPLOYMENT}"
    if problems := list(_problems(deployment, platform)):
        raise ConfigError("\n".join(f"{key}.{problem}" for problem in problems))


def _problems(deployment: DeploymentConfig, platform: str) -> Iterator[str]:
    service, address = deployment.service, deployment.api_endpoint
    of_files = ("tls_certificate_file", "tls_key_file", "tls_client_ca_file")
    of_secrets = ("tls_secret", "tls_client_ca_secret", "tls_authority")
    for name in of_files if platform == "kubernetes" else of_secrets:
        if getattr(service, name) is not None:
            instead = "tls_secret" if platform == "kubernetes" else "tls_certificate_file and tls_key_file"
            yield f"service.{name}: is not allowed on platform {platform}; allowed there: {instead}"
    if platform == "kubernetes":
        return
    if _is_https(deployment) and service.tls_certificate_file is None and deployment.environment != "development":
        yield (
            f"api_endpoint: {address!r} is not allowed without a certificate; allowed: service.tls_certificate_file "
            "and service.tls_key_file, or http:// (only development makes a certificate of its own)"
        )
    if not _is_https(deployment):
        for name in of_files:
            if getattr(service, name) is not None:
                yield f"api_endpoint: {address!r} is not allowed with service.{name}; allowed: an https:// address"


def _is_https(deployment: DeploymentConfig) -> bool:
    return deployment.api_endpoint.startswith("https:")


def _file(checkout: Path, variable: str, name: str | None) -> dict[str, str]:
    return {variable: str(checkout / name)} if name else {}
