"""Checks the AWS account before any resource is declared."""

from dataclasses import dataclass
from typing import Any

from conventions import config_keys
from infra.cloud_config import CloudConfig
from infra.errors import ConfigError
from model_store.storage.s3_clients import account_client, bucket_client

_SERVICES = ("s3", "kms", "sns", "cloudwatch", "logs", "ecr", "sts")

CREDENTIALS_ADVICE = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or sign in (aws sso login)"


@dataclass(frozen=True)
class Account:
    """AWS account of the credentials."""

    account_id: str
    """Twelve digits."""
    partition: str
    """`aws`, `aws-cn` or `aws-us-gov`."""


def inspect_account(cloud: CloudConfig, where: str) -> Account:
    """Returns the account of the credentials, after a check of the region and the registry bucket's owner.

    Raises:
        ConfigError: there are no credentials or they are refused, the region lacks a service, or the bucket's name is
            taken by somebody else.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    _require_region(cloud, where)
    try:
        answer = account_client("sts", cloud.region).get_caller_identity()
    except NoCredentialsError:
        raise ConfigError(f"there are no AWS credentials: {CREDENTIALS_ADVICE}; nothing was changed") from None
    except ClientError as error:
        raise ConfigError(f"AWS refuses the credentials ({_code(error)}); nothing was changed") from None
    except BotoCoreError as error:
        raise ConfigError(f"AWS cannot be reached ({error}); nothing was changed") from None
    account = Account(answer["Account"], answer["Arn"].split(":")[1])
    try:
        bucket_client(cloud.region).head_bucket(Bucket=cloud.registry_bucket, ExpectedBucketOwner=account.account_id)
    except ClientError as error:
        if _code(error) in ("403", "AccessDenied", "301"):
            raise ConfigError(
                f"{where}: {config_keys.CLOUD}.registry_bucket: the name {cloud.registry_bucket!r} is taken by "
                "another account or lies in another region; choose another one; nothing was changed"
            ) from None
    except BotoCoreError as error:
        raise ConfigError(f"S3 cannot be reached ({error}); nothing was changed") from None
    return account


def _require_region(cloud: CloudConfig, where: str) -> None:
    import boto3

    session = boto3.Session()
    for service in _SERVICES:
        regions = [
            region
            for partition in session.get_available_partitions()
            for region in session.get_available_regions(service, partition_name=partition)
        ]
        if cloud.region not in regions:
            raise ConfigError(
                f"{where}: {config_keys.CLOUD}.region: {cloud.region!r} does not have the service {service}; "
                "nothing was changed"
            )


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", "refused"))
