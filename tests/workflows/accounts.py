"""What an account's admins make before the first release: the registry's bucket, and a role for each job of CI."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from components.pipeline_rights import PipelineScope, pipeline_policy
from components.registry_rights import registry_policy
from tests.checkout import SOURCE
from tests.sandbox.conftest import ENVIRONMENTS, aws_client, deployment_name

ACCOUNT = "123456789012"
REGISTRY = "registry-of-all"
_JOBS = {
    "register": "registry",
    "sign": "signing",
    "approval": "approval",
    "preview": "preview",
    "drift": "preview",
    "staging": "deploy",
    "production": "deploy",
    "resume": "deploy",
    "rollback": "deploy",
}
"""The role of each job. In the account a job of an environment takes this environment's role."""
_DEPLOYERS = tuple(job for job, role in _JOBS.items() if role == "deploy")
_FIRST = "first-up"
_OF_STACKS = "arn:aws:s3:::fraud-detection-registry-*"


def make_registry(cloud: dict[str, str]) -> str:
    """The bucket of MODEL_REGISTRY_URL, as a stack makes it; returns the ARN of its key."""
    s3 = aws_client(cloud, "s3")
    key = str(aws_client(cloud, "kms").create_key()["KeyMetadata"]["Arn"])
    s3.create_bucket(Bucket=REGISTRY, CreateBucketConfiguration={"LocationConstraint": cloud["AWS_REGION"]})
    s3.put_bucket_versioning(Bucket=REGISTRY, VersioningConfiguration={"Status": "Enabled"})
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket=REGISTRY, ServerSideEncryptionConfiguration={"Rules": [rule]})
    policy = registry_policy(f"arn:aws:s3:::{REGISTRY}", key)
    s3.put_bucket_policy(Bucket=REGISTRY, Policy=json.dumps(policy))
    return key


def make_roles(cloud: dict[str, str], registry_key: str) -> None:
    """A role for each job, with the policy that the program gives the role of its environment.

    The jobs that deploy may also make the stacks' buckets until `first_up_is_over`: an admin does that otherwise.
    """
    iam = aws_client(cloud, "iam")
    for job, role in _JOBS.items():
        iam.create_role(RoleName=f"ci-{job}", AssumeRolePolicyDocument="{}")
        stacks = [job] if job in ENVIRONMENTS else ENVIRONMENTS
        for stack in stacks:
            text = json.dumps(pipeline_policy(role, _scope(cloud, stack, registry_key)))
            iam.put_role_policy(RoleName=f"ci-{job}", PolicyName=f"pipeline-{stack}", PolicyDocument=text)
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": [_OF_STACKS]}
    for job in _DEPLOYERS:
        text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_role_policy(RoleName=f"ci-{job}", PolicyName=_FIRST, PolicyDocument=text)


def first_up_is_over(cloud: dict[str, str]) -> None:
    """From now on CI changes no bucket."""
    for job in _DEPLOYERS:
        aws_client(cloud, "iam").delete_role_policy(RoleName=f"ci-{job}", PolicyName=_FIRST)


def grant_roles(variables: Mapping[str, str]) -> None:
    """Each job's role has its role in the registry's own access policy."""
    roles = {"sign": "publisher"} | dict.fromkeys(("register", "approval", *_DEPLOYERS), "promoter")
    for job, role in roles.items():
        actor = f"arn:aws:sts::{ACCOUNT}:assumed-role/ci-{job}/*"
        command = [sys.executable, str(SOURCE / "scripts" / "manage_models.py"), "access", "grant", actor, role]
        environment = {"PATH": os.environ["PATH"], **variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


def _scope(cloud: dict[str, str], stack: str, registry_key: str) -> PipelineScope:
    bucket = f"fraud-detection-registry-{stack}"
    return PipelineScope(
        project="fraud-detection",
        stack=stack,
        deployment_name=deployment_name(stack),
        region=cloud["AWS_REGION"],
        account_id=ACCOUNT,
        partition="aws",
        registry_arn=f"arn:aws:s3:::{REGISTRY}",
        registry_key_arn=registry_key,
        bucket_arn=f"arn:aws:s3:::{bucket}",
        bucket_key_arn=f"arn:aws:kms:{cloud['AWS_REGION']}:{ACCOUNT}:key/of-{stack}",
        inbox_bucket="inbox",
        state_bucket="state",
        state_key_arn=f"arn:aws:kms:{cloud['AWS_REGION']}:{ACCOUNT}:key/of-the-state",
        permissions_boundary=f"arn:aws:iam::{ACCOUNT}:policy/boundary",
    )


def state_address(cloud: Mapping[str, str], root: Path) -> str:
    """PULUMI_BACKEND_URL: a directory of this machine."""
    (root / "state").mkdir()
    return f"file://{root / 'state'}"
