"""The clients of S3: each is made here, with its region, credentials, certificates, timeouts and retries.

Objects are read and written by obstore. boto3 answers the one question that obstore does not: whose bucket it is.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from model_store.errors import InvalidInput, StorageFailed
from model_store.storage.system_trust import system_authorities

if TYPE_CHECKING:
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import ClientConfig, S3Config, S3Store

_ADDRESS = re.compile(r"https?://[^/\s]+")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_KEY_ARN = re.compile(r"arn:[^:]+:kms:([a-z0-9-]+):")
_CONNECT_SECONDS = 10
_SILENCE_SECONDS = 60
"""How long a connection may be silent; a large model takes as long as it takes."""
_ATTEMPTS = 2
_ENTIRE = "1d"


def object_store(bucket: str, kms_key: str = "") -> "S3Store":
    """A client for the objects of a bucket.

    Args:
        bucket: name of the bucket; credentials, region, endpoint and `AWS_CA_BUNDLE` come from the environment.
        kms_key: the KMS key that every write names; empty: writes name no encryption, and the bucket decides.

    Raises:
        InvalidInput: the endpoint is not an http or https address, or a key has no secret.
        StorageFailed: the file of `AWS_CA_BUNDLE` cannot be read.
    """
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    endpoint = _endpoint()
    # A bucket with an object lock takes nothing without a checksum.
    settings: S3Config = {"conditional_put": "etag", "checksum_algorithm": "SHA256"}
    if endpoint:
        settings = {**settings, "endpoint": endpoint, "virtual_hosted_style_request": False}
    if kms_key:
        encryption = {"server_side_encryption": "aws:kms", "sse_kms_key_id": kms_key, "sse_bucket_key_enabled": True}
        settings = cast("S3Config", {**settings, **encryption})
        # A key lies in the region of its bucket, which may be another one than the process's own.
        if found := _KEY_ARN.match(kms_key):
            settings = {**settings, "region": found[1]}
    options: ClientConfig = {
        "allow_http": endpoint is not None and endpoint.startswith("http://"),
        "connect_timeout": f"{_CONNECT_SECONDS}s",
        "read_timeout": f"{_SILENCE_SECONDS}s",
        "timeout": _ENTIRE,
    }
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        options = {**options, "root_certificate": _certificates(Path(bundle))}
    try:
        return S3Store(bucket, config=settings, client_options=options, credential_provider=_credentials())
    except BaseError as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"s3://{bucket} cannot be opened with the variables AWS_… ({reason})") from None


def _endpoint() -> str | None:
    """The address that the environment names; obstore reads these variables too, and takes an empty one for an address.

    Raises:
        InvalidInput: one is not an address.
    """
    for name in _ENDPOINTS:
        value = os.environ.get(name)
        if value == "":
            del os.environ[name]
        elif value and not _ADDRESS.match(value):
            raise InvalidInput(f"{name} is {value!r}; allowed: an address such as https://s3.example.com:9000")
    return next((os.environ[name] for name in _ENDPOINTS if name in os.environ), None)


def bucket_client(region: str) -> Any:
    """A boto3 client for questions about buckets.

    Args:
        region: such as `eu-central-1`.
    """
    return account_client("s3", region)


def region_here() -> str:
    """The region that the environment names; us-east-1 where it names none."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def default_key_of(bucket: str) -> str:
    """The KMS key of a bucket's default encryption; empty when it has none, or the credentials may not ask.

    A bucket that a stack makes refuses every write that does not name this key.

    Args:
        bucket: name of the bucket.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        answer = bucket_client(region_here()).get_bucket_encryption(Bucket=bucket)
        default = answer["ServerSideEncryptionConfiguration"]["Rules"][0]["ApplyServerSideEncryptionByDefault"]
    except (BotoCoreError, ClientError, ResponseParserError, KeyError, IndexError):
        return ""
    return str(default.get("KMSMasterKeyID", "")) if default.get("SSEAlgorithm") == "aws:kms" else ""


def is_owner(bucket: str, account: str) -> bool:
    """Whether a bucket belongs to an account; false where S3 does not say so.

    Args:
        bucket: name of the bucket.
        account: 12 digits.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    endpoint = _endpoint() or ""
    client = account_client("s3", region_here(), only_aws=not endpoint, endpoint=endpoint)
    try:
        client.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
    except (BotoCoreError, ClientError, ResponseParserError):
        return False
    return True


def account_client(service: str, region: str, *, only_aws: bool = False, endpoint: str = "") -> Any:
    """A boto3 client for questions about the account.

    Args:
        service: such as `sts`.
        region: such as `eu-central-1`.
        only_aws: asks AWS, whatever endpoint the environment and the profile name, and trusts the authorities of the
            system, whatever `AWS_CA_BUNDLE` names.
        endpoint: the address to ask; empty: the service's own.
    """
    import boto3
    from botocore.config import Config

    retries = {"total_max_attempts": _ATTEMPTS}
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_CONNECT_SECONDS,
        retries=retries,
        ignore_configured_endpoint_urls=only_aws,
    )
    trust = (system_authorities() or True) if only_aws else None
    return boto3.client(service, region_name=region, config=config, endpoint_url=endpoint or None, verify=trust)


def _credentials() -> "Boto3CredentialProvider | None":
    """Profiles, roles and whatever else boto3 knows; None for keys in the environment, which obstore reads itself."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return None
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider

    # boto3 does not read AWS_REGION, which pods are given.
    session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
    return None if session.get_credentials() is None else Boto3CredentialProvider(session)


def _certificates(bundle: Path) -> bytes:
    try:
        return bundle.read_bytes()
    except OSError as error:
        raise StorageFailed(f"AWS_CA_BUNDLE: {bundle} cannot be read ({error.strerror})") from None
