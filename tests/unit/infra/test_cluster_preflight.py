"""The cluster is looked at before anything is declared in it: which one it is, and whose namespace."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from infra.cloud_config import CloudConfig, KubernetesConfig, parse_object
from infra.cluster_preflight import cluster_client, inspect_cluster, require_same_account
from infra.errors import ConfigError
from infra.preflight import Account

_ISSUER = "oidc.eks.eu-central-1.amazonaws.com/id/A1B2"
_CLOUD = CloudConfig(region="eu-central-1", registry_bucket="fraud-registry")
_ACCOUNT = Account("123456789012", "aws")
_EKS = "arn:aws:eks:{region}:{account}:cluster/fraud"


def _config(**changes: Any) -> KubernetesConfig:
    found = {
        "namespace": "fraud",
        "oidc_provider_arn": f"arn:aws:iam::123456789012:oidc-provider/{_ISSUER}",
        "gateway": "public",
        "gateway_namespace": "gateways",
        **changes,
    }
    return parse_object(found, "fraud-detection:kubernetes", KubernetesConfig, "Pulumi.staging.yaml")


class _ApiServer(ThreadingHTTPServer):
    """What an API server answers to three questions; a path that it does not know is a 404."""

    answers: dict[str, Any]


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _ApiServer)
        found = self.server.answers.get(self.path, 404)
        body = json.dumps({} if isinstance(found, int) else found).encode()
        self.send_response(found if isinstance(found, int) else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def api_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    server = _ApiServer(("127.0.0.1", 0), _Answer)
    server.answers = {"/api/v1/": {"groupVersion": "v1", "resources": []}}
    server.answers["/.well-known/openid-configuration/"] = {"issuer": f"https://{_ISSUER}"}
    server.answers["/.well-known/openid-configuration"] = {"issuer": f"https://{_ISSUER}"}
    Thread(target=server.serve_forever, daemon=True).start()
    _write_kubeconfig(tmp_path / "kubeconfig", monkeypatch, server.server_address[1], "fraud")
    yield server.answers
    server.shutdown()
    server.server_close()


def _write_kubeconfig(path: Path, monkeypatch: pytest.MonkeyPatch, port: int, *contexts: str) -> None:
    content = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in contexts],
        "current-context": contexts[0],
    }
    path.write_text(yaml.safe_dump(content))
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))


def _refused(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        inspect_cluster(_config(**changes), "fraud-detection-staging", "Pulumi.staging.yaml")
    message = str(caught.value)
    assert message.startswith("Pulumi.staging.yaml: fraud-detection:kubernetes")
    assert message.endswith("; nothing was changed")
    return message


def test_a_free_namespace_of_the_configs_own_cluster_is_taken(api_server: dict[str, Any]) -> None:
    assert len(api_server) == 3
    inspect_cluster(_config(), "fraud-detection-staging", "Pulumi.staging.yaml")


def test_another_cluster_than_the_identity_providers_is_refused(api_server: dict[str, Any]) -> None:
    for path in [each for each in api_server if "openid" in each]:
        api_server[path] = {"issuer": "https://oidc.eks.eu-central-1.amazonaws.com/id/OTHER"}
    message = _refused()
    assert "signs tokens as https://oidc.eks.eu-central-1.amazonaws.com/id/OTHER" in message
    assert f"oidc_provider_arn names {_ISSUER}" in message


def test_a_user_who_may_not_ask_for_the_issuer_goes_on(api_server: dict[str, Any]) -> None:
    for path in [each for each in api_server if "openid" in each]:
        api_server[path] = 403
    inspect_cluster(_config(), "fraud-detection-staging", "Pulumi.staging.yaml")


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"app.kubernetes.io/managed-by": "pulumi"},
        {"app.kubernetes.io/managed-by": "pulumi", "app.kubernetes.io/name": "payments"},
    ],
)
def test_a_namespace_of_somebody_else_is_not_adopted(api_server: dict[str, Any], labels: dict[str, str]) -> None:
    api_server["/api/v1/namespaces/fraud"] = {"metadata": {"name": "fraud", "labels": labels}}
    assert "namespace: 'fraud' is in the cluster and is not this stack's" in _refused()


def test_the_stacks_own_namespace_is_kept(api_server: dict[str, Any]) -> None:
    labels = {"app.kubernetes.io/managed-by": "pulumi", "app.kubernetes.io/name": "fraud-detection-staging"}
    api_server["/api/v1/namespaces/fraud"] = {"metadata": {"name": "fraud", "labels": labels}}
    inspect_cluster(_config(), "fraud-detection-staging", "Pulumi.staging.yaml")


def test_an_empty_context_is_refused_where_the_kubeconfig_has_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_kubeconfig(tmp_path / "kubeconfig", monkeypatch, 1, "production", "a-colleagues")
    assert "context: is empty, and the kubeconfig" in (message := _refused())
    assert "name one of a-colleagues, production" in message
    cluster_client(_config(context="a-colleagues"), "Pulumi.staging.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"oidc_provider_arn": f"arn:aws:iam::210987654321:oidc-provider/{_ISSUER}"},
            "oidc_provider_arn: is of the account 210987654321, and the AWS credentials are of 123456789012",
        ),
        ({"context": _EKS.format(region="eu-central-1", account="210987654321")}, "is of the account 210987654321"),
        ({"context": _EKS.format(region="eu-west-1", account="123456789012")}, "is of the region eu-west-1"),
    ],
)
def test_a_cluster_of_another_account_or_region_is_refused_by_its_key(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        require_same_account(_config(**changes), _CLOUD, _ACCOUNT, "Pulumi.staging.yaml")
    assert said in str(caught.value)


def test_a_current_context_of_another_account_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, own = (_EKS.format(region="eu-central-1", account=each) for each in ("210987654321", "123456789012"))
    _write_kubeconfig(tmp_path / "kubeconfig", monkeypatch, 1, theirs)
    with pytest.raises(ConfigError, match="is of the account 210987654321"):
        require_same_account(_config(), _CLOUD, _ACCOUNT, "Pulumi.staging.yaml")
    _write_kubeconfig(tmp_path / "kubeconfig", monkeypatch, 1, own)
    require_same_account(_config(), _CLOUD, _ACCOUNT, "Pulumi.staging.yaml")
