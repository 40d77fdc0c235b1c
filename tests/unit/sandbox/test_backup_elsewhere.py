"""The scheduled copy goes into a bucket of another account and region, and tells its alarm, on the sandbox."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from components.registry_backup import backup_policy
from components.registry_rights import registry_policy
from conventions import exit_codes
from model_store import backup as backup_command
from tests.unit.sandbox.test_registry_in_a_bucket import Bucket, _register, bucket, server  # noqa: F401 - fixtures

_ELSEWHERE, _FAR = "210987654321", "eu-west-1"
_JOB = "arn:aws:iam::123456789012:role/fraud-backup"


def _client(service: str, credentials: dict[str, str], region: str) -> Any:
    return boto3.client(
        service,
        region_name=region,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )


@pytest.fixture
def vault(bucket: Bucket) -> Iterator[Any]:  # noqa: F811
    """A client of the other account, which has a bucket that lets the job in."""
    maker = f"arn:aws:iam::{_ELSEWHERE}:role/makes-backups"
    found = boto3.client("sts").assume_role(RoleArn=maker, RoleSessionName="stack")["Credentials"]
    s3, name = _client("s3", found, _FAR), f"{bucket.name}-backup"
    key = _client("kms", found, _FAR).create_key()["KeyMetadata"]["Arn"]
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": _FAR})
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    policy = registry_policy(f"arn:aws:s3:::{name}", key, _JOB)
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))
    iam = boto3.client("iam")
    iam.create_role(RoleName="fraud-backup", AssumeRolePolicyDocument="{}")
    rights = backup_policy(bucket.arn, bucket.key_arn, f"arn:aws:s3:::{name}", key, "FraudDetection")
    iam.put_role_policy(RoleName="fraud-backup", PolicyName="backup", PolicyDocument=json.dumps(rights))
    yield s3
    iam.delete_role_policy(RoleName="fraud-backup", PolicyName="backup")
    iam.delete_role(RoleName="fraud-backup")


def _become_the_job(bucket: Bucket) -> None:  # noqa: F811
    bucket.leave()
    found = boto3.client("sts").assume_role(RoleArn=_JOB, RoleSessionName="job")["Credentials"]
    for name, key in (
        ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
        ("AWS_SESSION_TOKEN", "SessionToken"),
    ):
        bucket.monkeypatch.setenv(name, found[key])
    bucket.monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    told = {
        "MODEL_REGISTRY_URL": f"s3://{bucket.name}",
        "METRICS_NAMESPACE": "FraudDetection",
        "ENVIRONMENT": "production",
        "DEPLOYMENT_NAME": bucket.name,
    }
    for name, value in told.items():
        bucket.monkeypatch.setenv(name, value)


def _counted(bucket: Bucket) -> int:  # noqa: F811
    bucket.leave()
    found = boto3.client("cloudwatch").list_metrics(Namespace="FraudDetection", MetricName="Backups")["Metrics"]
    wanted = {"Environment": "production", "Deployment": bucket.name}
    return sum({item["Name"]: item["Value"] for item in each["Dimensions"]} == wanted for each in found)


def test_a_copy_goes_to_another_account_and_region_and_is_counted(
    bucket: Bucket,  # noqa: F811
    vault: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model_id = _register(bucket.become("publisher"))
    _become_the_job(bucket)
    assert backup_command.main([f"s3://{bucket.name}-backup"]) == 0
    assert json.loads(capsys.readouterr().out)["copied"] > 2
    copied = {item["Key"] for item in vault.list_objects_v2(Bucket=f"{bucket.name}-backup")["Contents"]}
    assert f"models/m/{model_id}/manifest.json" in copied
    assert _counted(bucket) == 1


def test_nobody_but_the_job_adds_to_the_backup_and_the_job_removes_nothing(bucket: Bucket, vault: Any) -> None:  # noqa: F811
    name = f"{bucket.name}-backup"
    key = vault.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"][0]
    named = {
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": key["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"],
    }
    _become_the_job(bucket)
    boto3.client("s3").put_object(Bucket=name, Key="models/x", Body=b"x", **named)
    with pytest.raises(ClientError, match="AccessDenied"):
        boto3.client("s3").delete_object(Bucket=name, Key="models/x")
    with pytest.raises(ClientError, match="AccessDenied"):
        boto3.client("s3").put_object(Bucket=name, Key="models/x", Body=b"x")
    bucket.become("admin")
    with pytest.raises(ClientError, match="AccessDenied"):
        boto3.client("s3").put_object(Bucket=name, Key="models/x", Body=b"x", **named)


def test_a_copy_that_fails_is_not_counted(bucket: Bucket, vault: Any) -> None:  # noqa: F811
    _register(bucket.become("publisher"))
    _become_the_job(bucket)
    assert backup_command.main([f"s3://{bucket.name}-nobody"]) not in (0, exit_codes.INCOMPLETE)
    assert _counted(bucket) == 0


def test_a_bucket_is_addressed_in_the_region_of_its_key(bucket: Bucket) -> None:  # noqa: F811
    from model_store.storage.s3_clients import object_store

    key = f"arn:aws:kms:{_FAR}:{_ELSEWHERE}:key/00000000-0000-0000-0000-000000000000"
    assert (object_store("any", key).config or {})["region"] == _FAR
    assert (object_store("any", bucket.key_arn).config or {})["region"] == "eu-central-1"
