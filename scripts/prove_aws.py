#!/usr/bin/env python3
"""Proves on an AWS account what the sandbox only imitates: the policies of a registry's bucket and of its four roles.

    python scripts/prove_aws.py --region eu-central-1

Makes a key, a bucket and four roles of its own, as a stack makes them; asks S3 for what each role may do and may not
do; registers, promotes, reads and copies a version with the library; removes everything. It tells the cost and asks
first. It needs no cluster. Exit codes: 0 all as expected, 1 something else was seen, 2 not started.
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from components.registry_rights import ROLES, registry_policy, role_policy  # noqa: E402

COST = """\
What it costs: less than 0.10 USD. One KMS key (1 USD a month, removed after minutes), four roles (free), one bucket
with a few hundred requests. It takes about three minutes. What it makes is named fraud-detection-proof-… and is
removed at the end; KMS keeps the key for seven days before it is gone, without cost."""
_WAIT_SECONDS = 90
_PART_BYTES = 12 << 20
_OTHER = "models/m/m_T_20260101_000000"


@dataclass
class Proof:
    """The things that were made, and what was seen."""

    region: str
    name: str
    account: str
    role_arguments: dict[str, Any]
    key_arn: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)

    @property
    def arn(self) -> str:
        """Of the bucket."""
        return f"arn:aws:s3:::{self.name}"

    def note(self, role: str, what: str, expected: bool, allowed: bool) -> None:
        """Keeps and prints one line of the table."""
        self.seen.append({"role": role, "call": what, "expected": expected, "allowed": allowed})
        words = "allowed" if allowed else "denied "
        print(f"{'ok   ' if expected is allowed else 'WRONG'} {words} {role:9} {what}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Tells the cost, asks, proves, removes."""
    options = _parser().parse_args(arguments)
    print(COST)
    if not options.yes and input("Go on? yes or no: ").strip().lower() != "yes":
        print("nothing was made")
        return 2
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = options.region
    rules = {"Path": options.role_path, "PermissionsBoundary": options.permissions_boundary}
    account = _client("sts").get_caller_identity()["Account"]
    name = f"fraud-detection-proof-{secrets.token_hex(5)}"
    proof = Proof(options.region, name, account, {key: value for key, value in rules.items() if value})
    try:
        _make(proof)
        _use(proof)
        for role in ROLES:
            _ask(proof, role)
    finally:
        _remove(proof)
    wrong = [each for each in proof.seen if each["expected"] is not each["allowed"]]
    print(f"{len(proof.seen)} calls, {len(wrong)} not as expected; {name} was removed")
    return 1 if wrong else 0


def _client(service: str, credentials: dict[str, str] | None = None) -> Any:
    import boto3

    names = {"AccessKeyId": "aws_access_key_id", "SecretAccessKey": "aws_secret_access_key"}
    names["SessionToken"] = "aws_session_token"
    given = {names[key]: value for key, value in (credentials or {}).items() if key in names}
    return boto3.Session(**given).client(service, region_name=os.environ["AWS_REGION"])


def _make(proof: Proof) -> None:
    """Key, bucket and roles with the policies of a stack."""
    s3, iam = _client("s3"), _client("iam")
    proof.key_arn = _client("kms").create_key(Description=proof.name)["KeyMetadata"]["Arn"]
    place = {} if proof.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": proof.region}}
    s3.create_bucket(Bucket=proof.name, **place)
    s3.put_bucket_versioning(Bucket=proof.name, VersioningConfiguration={"Status": "Enabled"})
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": proof.key_arn}
    rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}]}
    s3.put_bucket_encryption(Bucket=proof.name, ServerSideEncryptionConfiguration=rules)
    s3.put_bucket_policy(Bucket=proof.name, Policy=json.dumps(registry_policy(proof.arn, proof.key_arn)))
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{proof.account}:root"}, "Action": "sts:AssumeRole"}
    for role in ROLES:
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        name = f"{proof.name}-{role}"
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=document, **proof.role_arguments)
        policy = json.dumps(role_policy(role, proof.arn, proof.key_arn))
        iam.put_role_policy(RoleName=name, PolicyName="registry", PolicyDocument=policy)


def _credentials(proof: Proof, role: str) -> dict[str, str]:
    """Of a role; IAM takes some seconds until a new role can be taken and its policy counts."""
    from botocore.exceptions import ClientError

    path = proof.role_arguments.get("Path", "/")
    arn = f"arn:aws:iam::{proof.account}:role{path}{proof.name}-{role}"
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            found: dict[str, str] = _client("sts").assume_role(RoleArn=arn, RoleSessionName="proof")["Credentials"]
            _client("s3", found).list_objects_v2(Bucket=proof.name)
        except ClientError:
            if time.monotonic() > until:
                raise
            time.sleep(3)
        else:
            return found


def _ask(proof: Proof, role: str) -> None:
    """Puts as a role: each kind of object, and each way of encryption."""
    s3 = _client("s3", _credentials(proof, role))
    named = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": proof.key_arn}
    number = ROLES.index(role) + 1
    record = f"audit/000900/{number:09}.json"
    puts: list[tuple[str, dict[str, Any], bool]] = [
        (record, {**named, "IfNoneMatch": "*"}, role != "reader"),
        (record, named, False),
        (f"{_OTHER}/{role}/manifest.json", named, False),
        (f"{_OTHER}/artifact", named, role in ("publisher", "admin")),
        (f"{_OTHER}/artifact", {}, False),
        (f"{_OTHER}/artifact", {"ServerSideEncryption": "aws:kms"}, False),
        (f"{_OTHER}/artifact", {"ServerSideEncryption": "AES256"}, False),
        (f"{_OTHER}/state.json", named, role in ("promoter", "admin")),
        ("aliases/m.json", named, role in ("promoter", "admin")),
        ("access.json", named, role == "admin"),
    ]
    for key, headers, expected in puts:
        allowed = _is_allowed(partial(s3.put_object, Bucket=proof.name, Key=key, Body=b"{}", **headers))
        proof.note(role, f"put {key} ({', '.join(headers) or 'no header'})", expected, allowed)
    may_delete = {f"{_OTHER}/artifact": role == "admin", record: False}
    for key, expected in may_delete.items():
        allowed = _is_allowed(partial(s3.delete_object, Bucket=proof.name, Key=key))
        proof.note(role, f"delete {key}", expected, allowed)


def _is_allowed(call: Callable[[], Any]) -> bool:
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        if error.response["Error"]["Code"] in ("AccessDenied", "403"):
            return False
        raise
    return True


def _use(proof: Proof) -> None:
    """The library as each role: a version in parts, decided, read, copied."""
    from model_store import Keyring, ModelRegistry
    from model_store.keys.keyring import generate_key
    from model_store.registry.recovery.backups import backup

    keys = Keyring.of(generate_key())
    own = {name: os.environ.get(name) for name in _VARIABLES.values()}
    bucket = f"s3://{proof.name}"

    def opened(role: str) -> ModelRegistry:
        found = _credentials(proof, role)
        os.environ.update({name: found[key] for key, name in _VARIABLES.items()})
        return ModelRegistry(bucket, keys=keys, actor=role)

    try:
        with tempfile.TemporaryDirectory() as directory:
            report = Path(directory) / "report.txt"
            report.write_text("seen")
            model_id = opened("publisher").register_model(
                model=secrets.token_bytes(_PART_BYTES), model_name="proof", registry_only=True, compression="none"
            )
            proof.note("publisher", f"register {model_id} in parts", True, True)
            opened("promoter").update_model_status(model_id, "validated", "proof", evidence=report)
            proof.note("promoter", f"validate {model_id}", True, True)
            opened("reader").verify_artifact(model_id)
            proof.note("reader", f"verify {model_id}", True, True)
            copied = backup(opened("reader"), Path(directory) / "copy")["copied"]
            proof.note("reader", f"back up {copied} objects", True, copied > 0)
    finally:
        for name, value in own.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


_VARIABLES = {
    "AccessKeyId": "AWS_ACCESS_KEY_ID",
    "SecretAccessKey": "AWS_SECRET_ACCESS_KEY",
    "SessionToken": "AWS_SESSION_TOKEN",
}


def _remove(proof: Proof) -> None:
    """Everything that was made; each step is tried, whatever the one before did."""
    s3, iam = _client("s3"), _client("iam")
    _tried(lambda: s3.delete_bucket_policy(Bucket=proof.name))
    _tried(lambda: _empty(s3, proof.name))
    _tried(lambda: s3.delete_bucket(Bucket=proof.name))
    for role in ROLES:
        name = f"{proof.name}-{role}"
        _tried(partial(iam.delete_role_policy, RoleName=name, PolicyName="registry"))
        _tried(partial(iam.delete_role, RoleName=name))
    if proof.key_arn:
        key_id = proof.key_arn.rpartition("/")[2]
        _tried(lambda: _client("kms").schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7))


def _tried(step: Callable[[], Any]) -> None:
    from botocore.exceptions import ClientError

    try:
        step()
    except ClientError as error:
        sys.stderr.write(f"not removed: {error}\n")


def _empty(s3: Any, bucket: str) -> None:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        for each in found:
            s3.delete_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python scripts/prove_aws.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--region", default=os.environ.get("AWS_REGION", "eu-central-1"), help="such as eu-central-1")
    parser.add_argument("--role-path", default="", help="IAM path for the roles, where the account asks for one")
    parser.add_argument("--permissions-boundary", default="", help="ARN, where the account asks for one")
    parser.add_argument("--yes", action="store_true", help="go on without a question")
    return parser


if __name__ == "__main__":
    sys.exit(main())
