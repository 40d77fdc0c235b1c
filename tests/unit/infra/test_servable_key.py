"""A version that the service could not open is refused before anything is declared."""

from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from infra.artifact import require_servable_key
from infra.errors import ConfigError
from model_store import Keyring, ModelRegistry
from model_store.keys.keyring import generate_key
from model_store.keys.kms import KmsKey
from model_store.registry.upkeep.key_rotation import rotate_keys

_WHERE = "Pulumi.staging.yaml: fraud-detection:modelVersion"


@mock_aws
def test_a_version_that_a_kms_key_alone_opens_is_refused_until_it_has_the_services_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
    ):
        monkeypatch.setenv(name, value)
    kms_key = KmsKey(boto3.client("kms").create_key()["KeyMetadata"]["Arn"])
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring((kms_key,)))
    model_id = registry.register_model(model=1, model_name="m", model_type="T", registry_only=True)
    with pytest.raises(ConfigError) as caught:
        require_servable_key(registry, model_id, _WHERE)
    assert str(caught.value).startswith(f"{_WHERE}: {model_id} is encrypted with {kms_key.key_id} alone, and the ")
    assert "rotate-key --new-key FILE" in str(caught.value)
    rotate_keys(registry, [model_id], [kms_key, *Keyring.of(generate_key()).providers])
    require_servable_key(registry, model_id, _WHERE)
