"""Checks the cluster before any resource is declared: it answers, it is the stack's own, and its namespace is free."""

import os
import re
from typing import Any

from conventions import config_keys
from conventions.regular_files import parse_json
from infra.cloud_config import CloudConfig, KubernetesConfig
from infra.errors import ConfigError
from infra.preflight import Account

_TIMEOUT_SECONDS = 10
_FORBIDDEN, _NOT_FOUND = 403, 404
_EKS_CONTEXT = re.compile(r"arn:aws[a-z-]*:eks:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):cluster/.+")
"""How `aws eks update-kubeconfig` names a context."""


def inspect_cluster(kubernetes: KubernetesConfig, deployment_name: str, where: str) -> None:
    """Asks the cluster, with the credentials of the kubeconfig, who it is and whether the namespace is free.

    Raises:
        ConfigError: there is no kubeconfig or no such context, the cluster does not answer, it refuses the user, it is
            not the cluster of `oidc_provider_arn`, or the namespace belongs to somebody else.
    """
    from kubernetes import client
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    path = kubeconfig()
    try:
        api = cluster_client(kubernetes, where)
        client.CoreV1Api(api).get_api_resources(_request_timeout=_TIMEOUT_SECONDS)
        _require_issuer(api, kubernetes, where)
        _require_namespace(client.CoreV1Api(api), kubernetes, deployment_name, where)
    except ApiException as error:
        raise ConfigError(
            f"the cluster of {path} refuses the user ({error.status} {error.reason}): the kubeconfig has expired or "
            "lacks rights; nothing was changed"
        ) from None
    except HTTPError as error:
        reason = getattr(error, "reason", error)
        raise ConfigError(f"the cluster of {path} cannot be reached ({reason}); nothing was changed") from None


def require_same_account(kubernetes: KubernetesConfig, cloud: CloudConfig, account: Account, where: str) -> None:
    """Raises ConfigError unless the cluster's identity provider, and an EKS context, are of the credentials' account.

    Raises:
        ConfigError: names the key, the account or region that it names, and the one that it should be.
    """
    named = kubernetes.oidc_provider_arn.split(":")[4]
    if named != account.account_id:
        raise ConfigError(
            f"{where}: {config_keys.KUBERNETES}.oidc_provider_arn: is of the account {named}, and the AWS credentials "
            f"are of {account.account_id}: name this account's provider, or sign in to the other one; "
            "nothing was changed"
        )
    context = _EKS_CONTEXT.fullmatch(kubernetes.context or _current_context())
    if context is None:
        return
    for what, found, wanted in (
        ("account", context["account"], account.account_id),
        ("region", context["region"], cloud.region),
    ):
        if found != wanted:
            raise ConfigError(
                f"{where}: {config_keys.KUBERNETES}.context: {context[0]} is of the {what} {found}, and the stack's "
                f"{what} is {wanted}: name a context of this {what} (aws eks update-kubeconfig); nothing was changed"
            )


def cluster_client(kubernetes: KubernetesConfig, where: str) -> Any:
    """A client of the cluster that the kubeconfig's context names.

    Raises:
        ConfigError: there is no kubeconfig, it has no such context, or it has several and none is named.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        if not kubernetes.context:
            _require_one_context(config.list_kube_config_contexts()[0], where)  # type: ignore[no-untyped-call]
        config.load_kube_config(  # type: ignore[no-untyped-call]
            context=kubernetes.context or None, client_configuration=configuration
        )
    except (config.ConfigException, OSError, KeyError, TypeError) as error:
        detail = str(error).split("\n", maxsplit=1)[0]
        raise ConfigError(
            f"{where}: {config_keys.KUBERNETES}: the kubeconfig {kubeconfig()} names no usable cluster ({detail}); "
            "set KUBECONFIG; nothing was changed"
        ) from None
    configuration.retries = 1
    return client.ApiClient(configuration)


def kubeconfig() -> str:
    """Where the kubeconfig is, for messages."""
    return os.environ.get("KUBECONFIG") or "~/.kube/config"


def _require_one_context(contexts: list[dict[str, Any]], where: str) -> None:
    """Whichever context is the current one decides nothing: another program may have changed it."""
    names = [str(each["name"]) for each in contexts]
    if len(names) > 1:
        raise ConfigError(
            f"{where}: {config_keys.KUBERNETES}.context: is empty, and the kubeconfig {kubeconfig()} has several "
            f"contexts: name one of {', '.join(sorted(names))}; nothing was changed"
        )


def _current_context() -> str:
    """The current context of the kubeconfig; empty where there is none."""
    from kubernetes import config

    try:
        return str(config.list_kube_config_contexts()[1]["name"])  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError, KeyError, TypeError):
        return ""


def _require_issuer(api: Any, kubernetes: KubernetesConfig, where: str) -> None:
    """Compares who signs the cluster's tokens with the identity provider that the pods' roles trust.

    A user who may not ask is let through: the pods' roles then trust the config alone, as before.
    """
    from kubernetes import client
    from kubernetes.client.exceptions import ApiException

    try:
        answer: Any = client.WellKnownApi(api).get_service_account_issuer_open_id_configuration(
            _request_timeout=_TIMEOUT_SECONDS, _preload_content=False
        )
    except ApiException as error:
        if error.status in (_FORBIDDEN, _NOT_FOUND):
            return
        raise
    issuer = _issuer_of(answer.data)
    wanted = kubernetes.oidc_provider_arn.split(":oidc-provider/", 1)[1]
    if issuer.removeprefix("https://") != wanted:
        raise ConfigError(
            f"{where}: {config_keys.KUBERNETES}: the cluster of {kubeconfig()} signs tokens as {issuer}, and "
            f"oidc_provider_arn names {wanted}: it is another cluster, or another cluster's provider; "
            "nothing was changed"
        )


def _issuer_of(document: bytes) -> str:
    try:
        found = parse_json(document)
    except ValueError:
        return ""
    return str(found.get("issuer", "")) if isinstance(found, dict) else ""


def _require_namespace(core: Any, kubernetes: KubernetesConfig, deployment_name: str, where: str) -> None:
    """The stack makes its namespace, and deletes it with all that is in it: it never takes one that is there."""
    from kubernetes.client.exceptions import ApiException

    try:
        found = core.read_namespace(kubernetes.namespace, _request_timeout=_TIMEOUT_SECONDS)
    except ApiException as error:
        if error.status in (_FORBIDDEN, _NOT_FOUND):
            return
        raise
    labels = found.metadata.labels or {}
    own = {"app.kubernetes.io/name": deployment_name, "app.kubernetes.io/managed-by": "pulumi"}
    if not own.items() <= labels.items():
        raise ConfigError(
            f"{where}: {config_keys.KUBERNETES}.namespace: {kubernetes.namespace!r} is in the cluster and is not this "
            "stack's; the stack makes its namespace and deletes it with all that is in it: choose another name; "
            "nothing was changed"
        )
