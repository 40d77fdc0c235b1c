"""Names, tags and rules of an account are checked before anything is asked of it."""

from typing import Any

import pytest

from infra.cloud_config import CloudConfig, parse_object, require_account_names
from infra.errors import ConfigError

_CLOUD = {"region": "eu-central-1", "registry_bucket": "fraud-registry"}


def _parsed(**changes: Any) -> CloudConfig:
    return parse_object({**_CLOUD, **changes}, "fraud-detection:cloud", CloudConfig, "Pulumi.staging.yaml")


def test_a_bucket_whose_roles_iam_would_refuse_is_refused_by_its_key() -> None:
    assert _parsed(registry_bucket="b" * 54).registry_bucket == "b" * 54
    with pytest.raises(ConfigError) as caught:
        _parsed(registry_bucket="b" * 55)
    message = str(caught.value)
    assert message.startswith("Pulumi.staging.yaml: fraud-detection:cloud.registry_bucket: ")
    assert "it has 55 letters, and at most 54 are allowed: the role " in message


@pytest.mark.parametrize("region", ["eu-central-1", "us-gov-west-1", "us-isob-east-1", "eusc-de-east-1"])
def test_regions_of_every_partition_are_allowed(region: str) -> None:
    assert _parsed(region=region, backup_schedule="17 3 * * *", backup_region=region).region == region


@pytest.mark.parametrize(
    "region", ["eu-central", "EU-central-1", "eu_central_1", "eu-central-1a", "", "eu-central-1\n"]
)
def test_what_is_no_region_is_refused(region: str) -> None:
    with pytest.raises(ConfigError, match=r"cloud\.region: "):
        _parsed(region=region)


@pytest.mark.parametrize("name", ["xn--fraud", "sthree-fraud", "fraud-s3alias", "fraud--x-s3"])
def test_a_name_that_s3_keeps_for_itself_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"cloud\.registry_bucket: .* S3 keeps names that begin with"):
        _parsed(registry_bucket=name)


def test_a_deployment_whose_roles_iam_would_refuse_is_refused_by_its_key() -> None:
    require_account_names(_parsed(), "d" * 50, "Pulumi.staging.yaml")
    with pytest.raises(ConfigError, match=r"deployment_name: 'd+' is not allowed: .* 77 letters.*at most 37 letters"):
        require_account_names(_parsed(regional_names=True), "d" * 50, "Pulumi.staging.yaml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"permissions_boundary": "boundary"}, "cloud.permissions_boundary: 'boundary' is not allowed"),
        ({"role_path": "ci"}, "cloud.role_path: 'ci' is not allowed"),
        ({"tags": {"aws:owner": "x"}}, "no name that begins with aws:"),
        ({"tags": {"owner": "x" * 257}}, "at most 128"),
        ({"tags": {"owner": "a;b"}}, "the tag owner=a;b is not allowed"),
        ({"alarm_subscribers": [{"protocol": "email", "address": "nobody"}]}, "an address with @"),
        ({"backup_region": "eu-west-1"}, "backup_region and backup_role where there is a backup_schedule"),
        ({"backup_schedule": "17 3 * * *", "backup_role": "backup"}, "cloud.backup_role: 'backup' is not allowed"),
        ({"backup_alarm_hours": 169}, "cloud.backup_alarm_hours: 169 is not allowed"),
        ({"alarm_subscribers": [{"protocol": "email", "address": "a@b", "who": "me"}]}, "allowed: protocol, address, "),
        ({"alarm_subscribers": [{"protocol": "sqs", "address": "queue"}]}, "arn:aws:sqs:"),
        ({"alarm_subscribers": [{"protocol": "lambda", "address": "arn:aws:sqs:r:1:q"}]}, "arn:aws:lambda:"),
        ({"alarm_subscribers": [{"protocol": "https", "address": "http://example.com"}]}, "https://"),
    ],
)
def test_what_an_account_would_refuse_is_refused_by_its_key(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _parsed(**changes)
    assert words in str(caught.value)
    assert str(caught.value).count("\n") == 0


_PIPELINES = {
    "oidc_provider_arn": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
    "repository": "acme/fraud",
    "state_bucket": "acme-state",
    "state_key_arn": "arn:aws:kms:eu-central-1:123456789012:key/of-the-state",
}


def test_who_takes_the_roles_of_ci_and_what_they_reach_is_named_key_by_key() -> None:
    with pytest.raises(ConfigError) as caught:
        _parsed(pipelines={"repository": "acme", "secret": "x"})
    message = str(caught.value)
    assert "cloud.pipelines.oidc_provider_arn: this key is required" in message
    assert "cloud.pipelines.repository: 'acme' is not allowed" in message
    assert "cloud.pipelines.secret: unknown key; allowed: oidc_provider_arn, repository, " in message


def test_roles_of_ci_need_a_boundary() -> None:
    boundary = "arn:aws:iam::123456789012:policy/ci-boundary"
    assert _parsed(pipelines=_PIPELINES, permissions_boundary=boundary).pipelines is not None
    with pytest.raises(ConfigError, match="pipelines with a permissions_boundary: CI changes the roles of the pods"):
        _parsed(pipelines=_PIPELINES)


def test_a_registry_elsewhere_is_named_with_its_key() -> None:
    with pytest.raises(ConfigError, match="registry_bucket with registry_key_arn, or neither"):
        _parsed(pipelines={**_PIPELINES, "registry_bucket": "acme-registry"})


def test_a_deployment_whose_backup_job_kubernetes_would_refuse_is_refused_by_its_key() -> None:
    with_backup = _parsed(backup_schedule="17 3 * * *")
    require_account_names(with_backup, "d" * 45, "Pulumi.staging.yaml")
    with pytest.raises(
        ConfigError, match=r"the CronJob d+-backup has 53 letters, and Kubernetes allows 52.*at most 45"
    ):
        require_account_names(with_backup, "d" * 46, "Pulumi.staging.yaml")
