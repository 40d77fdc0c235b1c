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
