"""A registry in the bucket of a stack: its four roles use it through the library, on the sandbox's S3, KMS and IAM."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sklearn.linear_model import LogisticRegression

from components.registry_rights import ROLES, registry_policy, role_policy
from model_store import Keyring, ModelRegistry
from model_store.errors import AccessDenied, StorageForbidden
from model_store.keys.keyring import generate_key
from model_store.registry.aliases import Aliases
from model_store.registry.measuring.proofs import prove_version
from model_store.registry.promotion import promote_version
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.upkeep.maintenance import cleanup, verify_everything
from sandbox.certificates import make_certificates
from sandbox.processes import free_ports, wait_for_port
from tests.checkout import SOURCE

_ACCOUNT = "123456789012"
_REGION = "eu-central-1"
_KEY = generate_key()
_SIGNER = Ed25519PrivateKey.generate()


@dataclass
class Bucket:
    """A bucket with the policies that a stack gives it."""

    name: str
    key_arn: str
    monkeypatch: pytest.MonkeyPatch

    @property
    def arn(self) -> str:
        return f"arn:aws:s3:::{self.name}"

    def become(self, role: str) -> ModelRegistry:
        """Takes the credentials of a role, and opens the registry with them."""
        self.leave()
        arn = f"arn:aws:iam::{_ACCOUNT}:role/{self.name}-{role}"
        found = boto3.client("sts").assume_role(RoleArn=arn, RoleSessionName="tests")["Credentials"]
        self.monkeypatch.setenv("AWS_ACCESS_KEY_ID", found["AccessKeyId"])
        self.monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", found["SecretAccessKey"])
        self.monkeypatch.setenv("AWS_SESSION_TOKEN", found["SessionToken"])
        self.monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        return ModelRegistry(f"s3://{self.name}", keys=Keyring.of(_KEY))

    def leave(self) -> None:
        """Takes the account's own credentials."""
        self.monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
        self.monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
        self.monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        self.monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the credentials of before

    def names(self) -> set[str]:
        listed = boto3.client("s3").list_objects_v2(Bucket=self.name)
        return {item["Key"] for item in listed.get("Contents", ())}

    def put(self, key: str, **more: Any) -> None:
        named = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.key_arn}
        boto3.client("s3").put_object(Bucket=self.name, Key=key, Body=b"x", **{**named, **more})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    here = tmp_path_factory.mktemp("cloud")
    make_certificates(here, _REGION)
    https, http = free_ports(2)
    command = [sys.executable, "-m", "sandbox.aws", f"--port={https}", f"--http-port={http}"]
    command += [f"--certificate={here / 'server.pem'}", f"--key={here / 'server.key'}"]
    variables = {
        "AWS_ENDPOINT_URL": f"https://localhost:{https}",
        "AWS_CA_BUNDLE": str(here / "ca.pem"),
        "AWS_REGION": _REGION,
        "AWS_DEFAULT_REGION": _REGION,
    }
    with subprocess.Popen(command, cwd=SOURCE, env={"PATH": "/usr/bin:/bin", **variables}) as process:
        try:
            assert wait_for_port(https, 120)
            yield variables
        finally:
            process.terminate()


@pytest.fixture
def bucket(server: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bucket:
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    made = Bucket(f"registry-{time.monotonic_ns()}", "", monkeypatch)
    made.leave()
    make_bucket(made)
    return made


def make_bucket(made: Bucket) -> None:
    """The bucket and the roles as a stack makes them."""
    s3, iam = boto3.client("s3"), boto3.client("iam")
    made.key_arn = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
    s3.create_bucket(Bucket=made.name, CreateBucketConfiguration={"LocationConstraint": _REGION})
    s3.put_bucket_versioning(Bucket=made.name, VersioningConfiguration={"Status": "Enabled"})
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": made.key_arn}
    rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}]}
    s3.put_bucket_encryption(Bucket=made.name, ServerSideEncryptionConfiguration=rules)
    s3.put_bucket_policy(Bucket=made.name, Policy=json.dumps(registry_policy(made.arn, made.key_arn)))
    for role in ROLES:
        name = f"{made.name}-{role}"
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        policy = json.dumps(role_policy(role, made.arn, made.key_arn))
        iam.put_role_policy(RoleName=name, PolicyName="registry", PolicyDocument=policy)


def _register(registry: ModelRegistry, value: Any = 1) -> str:
    return registry.register_model(model=value, model_name="m", model_type="T", registry_only=True)


def _evidence(directory: Path) -> Path:
    path = directory / "report.txt"
    path.write_text("accuracy 0.97 on the holdout")
    return path


def test_a_publisher_registers_and_a_promoter_decides(bucket: Bucket, tmp_path: Path) -> None:
    model_id = _register(bucket.become("publisher"))
    prefix = f"models/m/{model_id}"
    assert f"{prefix}/manifest.json" in bucket.names()
    assert f"{prefix}/state.json" not in bucket.names(), "a publisher may not write a state"
    publisher = bucket.become("publisher")
    assert [str(each.status) for each in publisher.list_models()] == ["trained"]
    with pytest.raises(StorageForbidden, match="use those of another role"):
        publisher.update_model_status(model_id, "validated", evidence=_evidence(tmp_path))
    promoter = bucket.become("promoter")
    promoter.update_model_status(model_id, "validated", "passed", evidence=_evidence(tmp_path))
    Aliases(promoter).set("m", "champion", model_id)
    with pytest.raises(StorageForbidden):
        _register(promoter)
    reader = bucket.become("reader")
    assert [str(each.status) for each in reader.list_models()] == ["validated"]
    assert Aliases(reader).resolve("m@champion") == model_id
    assert [entry["status"] for entry in reader.state(model_id)["history"]] == ["trained", "validated"]


def test_a_reader_loads_and_verifies_and_writes_nothing(bucket: Bucket) -> None:
    model_id = _register(bucket.become("publisher"), [1, 2])
    before = bucket.names()
    reader = bucket.become("reader")
    with pytest.warns(UserWarning, match="not recorded in its audit log: load"):
        assert reader.load_model(model_id)[0] == [1, 2]
    assert all(each.intact for each in verify_everything(reader))
    with pytest.raises(StorageForbidden):
        _register(reader)
    for key in (*before, "audit/000000/000000099.json", "access.json", "anything"):
        with pytest.raises(ClientError, match="AccessDenied"):
            bucket.put(key, IfNoneMatch="*")
    bucket.leave()
    assert bucket.names() == before


def test_an_admin_backs_up_restores_and_cleans_up(bucket: Bucket, tmp_path: Path) -> None:
    versions = [_register(bucket.become("publisher"), number) for number in range(3)]
    admin = bucket.become("admin")
    told = backup(admin, tmp_path / "copy")
    assert not told["damaged"]
    assert all(each.intact for each in verify_everything(ModelRegistry(tmp_path / "copy")))
    removed, _ = cleanup(bucket.become("admin"), 1, dry_run=False)
    assert removed == versions[:2]
    assert [each.model_id for each in bucket.become("reader").list_models()] == versions[2:]
    # A lost bucket is another one with the same policies.
    other = Bucket(f"{bucket.name}-new", "", bucket.monkeypatch)
    bucket.leave()
    make_bucket(other)
    assert not restore(other.become("admin"), tmp_path / "copy")["damaged"]
    reader = other.become("reader")
    assert [each.model_id for each in reader.list_models()] == versions
    assert all(each.intact for each in verify_everything(reader))


def test_a_version_is_promoted_into_a_bucket_in_two_parts_and_again(bucket: Bucket, tmp_path: Path) -> None:
    local = ModelRegistry(tmp_path / "registry", keys=Keyring.of(_KEY), actor="alice")
    model_id = _register(local)
    local.update_model_status(model_id, "validated", "passed", evidence=_evidence(tmp_path))
    told = promote_version(local, bucket.become("publisher"), model_id)
    assert (told.state, told.status) == ("left to a promoter", "trained")
    told = promote_version(local, bucket.become("promoter"), model_id)
    assert (told.state, told.status) == ("carried", "validated")
    assert promote_version(local, bucket.become("promoter"), model_id).copied == []
    reader = bucket.become("reader")
    assert all(each.intact for each in verify_everything(reader))
    assert [each["status"] for each in reader.state(model_id)["history"]][-1] == "validated"
    assert [record.action for record in reader.audit.records()] == ["import", "status"]


def test_a_version_goes_from_bucket_to_bucket_with_its_golden_rows(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LogisticRegression().fit([[0.0], [1.0], [0.2], [0.9]], [0, 1, 0, 1])
    model_id = bucket.become("publisher").register_model(model=model, model_name="m", signing_key=_SIGNER)
    target = Bucket(f"registry-{time.monotonic_ns()}", "", monkeypatch)
    bucket.leave()
    make_bucket(target)
    source, admin = (ModelRegistry(f"s3://{each.name}", keys=Keyring.of(_KEY)) for each in (bucket, target))
    assert "golden" in " ".join(promote_version(source, admin, model_id, "release 7").copied)
    proof = prove_version(admin, model_id)
    assert (proof.proven, proof.rows > 0) == (True, True)
    assert target.become("reader").verify_signature(model_id, [_SIGNER.public_key()])


def test_a_promotion_that_was_killed_is_finished(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = ModelRegistry(tmp_path / "registry", keys=Keyring.of(_KEY), actor="alice")
    model_id = _register(local)
    admin = bucket.become("admin")
    with monkeypatch.context() as killed:
        killed.setattr(type(admin.storage), "replace_file", _killed)
        with pytest.raises(KeyboardInterrupt):
            promote_version(local, admin, model_id)
    assert bucket.become("reader").list_models() == []
    promote_version(local, bucket.become("admin"), model_id)
    assert [each.model_id for each in bucket.become("reader").list_models()] == [model_id]


def _killed(*_arguments: object) -> None:
    raise KeyboardInterrupt


def test_the_bucket_takes_only_puts_that_name_its_key(bucket: Bucket) -> None:
    other = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
    s3 = boto3.client("s3")
    named: list[dict[str, Any]] = [
        {},
        {"ServerSideEncryption": "aws:kms"},
        {"ServerSideEncryption": "AES256"},
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": other},
    ]
    for headers in named:
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.put_object(Bucket=bucket.name, Key="models/x", Body=b"x", **headers)
    bucket.put("models/x")


@pytest.mark.parametrize("key", ["audit/000000/000000001.json", "models/m/m_T_20260101_000000/manifest.json"])
def test_audit_records_and_manifests_are_created_and_never_replaced(bucket: Bucket, key: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        bucket.put(key)
    bucket.put(key, IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        bucket.put(key, IfNoneMatch="*")


def test_nobody_removes_an_audit_record(bucket: Bucket) -> None:
    key = "audit/000000/000000001.json"
    bucket.put(key, IfNoneMatch="*")
    s3 = boto3.client("s3")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=bucket.name, Key=key)
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_objects(Bucket=bucket.name, Delete={"Objects": [{"Key": key}]})


def test_roles_keep_their_rights_in_a_bucket_whose_first_version_came_by_somebody_else(
    bucket: Bucket, tmp_path: Path
) -> None:
    _register(ModelRegistry(f"s3://{bucket.name}", keys=Keyring.of(_KEY)))
    assert "access.json" in bucket.names()
    model_id = _register(bucket.become("publisher"))
    bucket.become("promoter").update_model_status(model_id, "validated", evidence=_evidence(tmp_path))
    with (
        pytest.raises(AccessDenied, match="register needs the role publisher"),
        pytest.warns(UserWarning, match="not recorded"),
    ):
        _register(bucket.become("reader"))


def test_a_large_model_goes_in_parts_that_name_the_key(bucket: Bucket) -> None:
    value = bytes(range(256)) * (12 << 12)
    publisher = bucket.become("publisher")
    model_id = publisher.register_model(
        model=value, model_name="m", model_type="T", registry_only=True, compression="none"
    )
    assert bucket.become("reader").verify_artifact(model_id)


def test_the_proof_for_an_account_holds_on_the_sandbox_and_removes_what_it_made(bucket: Bucket) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox"}
    kept = {name: value for name, value in os.environ.items() if name.startswith("AWS_") and name not in keys}
    done = subprocess.run(
        [sys.executable, "scripts/prove_aws.py", "--yes", "--region", _REGION],
        cwd=SOURCE,
        env={"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"], **kept, **keys},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.index("What it costs") < done.stdout.index("ok ")
    assert "52 calls, 0 not as expected" in done.stdout
    left = [each["Name"] for each in boto3.client("s3").list_buckets()["Buckets"]]
    assert not [name for name in left if name.startswith("fraud-detection-proof-")]
    roles = boto3.client("iam").list_roles()["Roles"]
    assert not [each for each in roles if each["RoleName"].startswith("fraud-detection-proof-")]
