"""The IAM policies that a stack made, run through a simulator that knows resources and conditions."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.conftest import Cloud
from tests.sandbox.simulator import installed, simulate

_ACCOUNT = "123456789012"
_STACK = "production"


@pytest.fixture(scope="module", autouse=True)
def _as_it_came_up(cloud: Cloud) -> None:
    cloud.reset(_STACK)


@pytest.fixture(scope="session")
def simulator() -> Path:
    """The simulator's package, installed once into the user's cache."""
    return installed()


class Rights:
    """Asks what a role of the stack may do."""

    def __init__(self, cloud: Cloud, simulator: Path) -> None:
        self._iam, self._simulator = cloud.aws("iam"), simulator
        outputs = cloud.outputs(_STACK)
        self.bucket = outputs["registryBucket"]
        self.model = f"models/fraud_detector/{outputs['modelVersion']}"
        s3, kms = cloud.aws("s3"), cloud.aws("kms")
        self.bucket_policy = json.loads(s3.get_bucket_policy(Bucket=self.bucket)["Policy"])
        rule = s3.get_bucket_encryption(Bucket=self.bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
        self.key = rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"]
        self.key_policy = json.loads(kms.get_key_policy(KeyId=self.key, PolicyName="default")["Policy"])
        self._questions: list[dict[str, Any]] = []

    def ask(self, role: str, questions: list[tuple[str, str, dict[str, str]]]) -> list[str]:
        """The answers for (action, object key or key ARN, condition keys)."""
        name = self._iam.list_role_policies(RoleName=role)["PolicyNames"][0]
        policy = self._iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        simulations = [self._simulation(role, policy, *question) for question in questions]
        return simulate(self._simulator, simulations)

    def _simulation(
        self, role: str, policy: dict[str, Any], action: str, target: str, context: dict[str, str]
    ) -> dict[str, Any]:
        own, about_key = f"arn:aws:s3:::{self.bucket}", action.startswith("kms:")
        resource = target if target.startswith(("arn:", "*")) else f"{own}/{target}" if target else own
        known = {"aws:SecureTransport": "true", "aws:PrincipalAccount": _ACCOUNT, **context}
        if about_key:
            known |= {"kms:CallerAccount": _ACCOUNT}
        simulation: dict[str, Any] = {
            "request": {
                "principal": f"arn:aws:sts::{_ACCOUNT}:assumed-role/{role}/tests",
                "action": action,
                "resource": {"resource": resource, "accountId": _ACCOUNT},
                "contextVariables": known,
            },
            "identityPolicies": [{"name": "role", "policy": policy}],
            "serviceControlPolicies": [],
            "resourceControlPolicies": [],
        }
        if resource == self.key:
            simulation["resourcePolicy"] = self.key_policy
        elif resource.startswith(own):
            simulation["resourcePolicy"] = self.bucket_policy
        elif about_key:
            # Another key of the account, that leaves everything to IAM: the hardest case.
            simulation["resourcePolicy"] = self.key_policy
        return simulation


@pytest.fixture(scope="session")
def rights(cloud: Cloud, simulator: Path) -> Rights:
    return Rights(cloud, simulator)


def _table(rights: Rights, role: str, rows: list[tuple[str, str, dict[str, str], bool]]) -> None:
    answers = rights.ask(role, [(action, target, context) for action, target, context, _ in rows])
    wrong = [
        f"{role}: {action} on {target or 'the bucket'} {context}: {answer}, expected {'yes' if allowed else 'no'}"
        for (action, target, context, allowed), answer in zip(rows, answers, strict=True)
        if (answer == "Allowed") is not allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_the_pods_role_reads_one_artifact_decrypts_with_one_key_and_can_do_no_more(rights: Rights) -> None:
    via_s3 = {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}
    other_key = f"arn:aws:kms:eu-central-1:{_ACCOUNT}:key/00000000-0000-0000-0000-000000000000"
    ours = {"cloudwatch:namespace": "FraudDetection"}
    _table(
        rights,
        "fraud-detection-prod-serving",
        [
            ("s3:GetObject", f"{rights.model}/artifact", {}, True),
            ("s3:GetObject", f"{rights.model}/manifest.json", {}, True),
            ("s3:GetObject", f"{rights.model}/runtime", {}, True),
            ("s3:GetObject", f"{rights.model}/artifact", {"aws:SecureTransport": "false"}, False),
            ("s3:GetObject", f"{rights.model}/state.json", {}, False),
            ("s3:GetObject", "models/fraud_detector/another/artifact", {}, False),
            ("s3:GetObject", "audit/000000/1.json", {}, False),
            ("s3:GetObject", "arn:aws:s3:::another-bucket/artifact", {}, False),
            ("s3:ListBucket", "", {}, False),
            ("s3:PutObject", f"{rights.model}/artifact", {}, False),
            ("s3:DeleteObject", f"{rights.model}/artifact", {}, False),
            ("s3:PutObject", "models/fraud_detector/another/artifact", {}, False),
            ("kms:Decrypt", rights.key, via_s3, True),
            ("kms:Decrypt", rights.key, {}, False),
            ("kms:Decrypt", other_key, via_s3, False),
            ("kms:Encrypt", rights.key, via_s3, False),
            ("kms:GenerateDataKey", rights.key, via_s3, False),
            ("kms:ScheduleKeyDeletion", rights.key, {}, False),
            ("cloudwatch:PutMetricData", "*", ours, True),
            ("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "Other"}, False),
            ("iam:PassRole", f"arn:aws:iam::{_ACCOUNT}:role/other", {}, False),
        ],
    )


_MAY = {
    # object, then who may write it, then who may delete it
    "models/fraud_detector/m/artifact": (("publisher", "admin"), ("admin",)),
    "models/fraud_detector/m/manifest.json": (("publisher", "admin"), ("admin",)),
    "models/fraud_detector/m/golden": (("publisher", "admin"), ("admin",)),
    "models/fraud_detector/m/signature.json": (("publisher", "admin"), ("admin",)),
    "models/fraud_detector/.versions/1": (("publisher", "admin"), ("admin",)),
    "models/fraud_detector/m/state.json": (("promoter", "admin"), ("admin",)),
    "models/fraud_detector/m/evidence/e": (("promoter", "admin"), ("admin",)),
    "aliases/fraud_detector.json": (("promoter", "admin"), ("admin",)),
    "audit/000000/1.json": (("publisher", "promoter", "admin"), ()),
    "audit/head": (("publisher", "promoter", "admin"), ()),
    "access.json": (("admin",), ()),
}


_CREATED_ONCE = ("manifest.json", "audit/000000/1.json")


@pytest.mark.parametrize("role", ["reader", "publisher", "promoter", "admin"])
def test_a_registry_role_may_do_its_part_and_no_more(rights: Rights, role: str) -> None:
    kms, key_id = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"
    other_key = f"arn:aws:kms:eu-central-1:{_ACCOUNT}:key/00000000-0000-0000-0000-000000000000"
    over = {kms: "aws:kms", key_id: rights.key}
    new = {**over, "s3:if-none-match": "*"}
    rows: list[tuple[str, str, dict[str, str], bool]] = [
        ("s3:ListBucket", "", {}, True),
        ("s3:ListBucketVersions", "", {}, True),
    ]
    for target, (writers, removers) in _MAY.items():
        rows += [
            ("s3:GetObject", target, {}, True),
            ("s3:GetObject", target, {"aws:SecureTransport": "false"}, False),
            ("s3:PutObject", target, new, role in writers),
            ("s3:PutObject", target, over, role in writers and not target.endswith(_CREATED_ONCE)),
            ("s3:PutObject", target, {**new, kms: "AES256"}, False),
            ("s3:PutObject", target, {**new, key_id: other_key}, False),
            # A put with `aws:kms` and no key id takes the account's own key.
            ("s3:PutObject", target, {kms: "aws:kms", "s3:if-none-match": "*"}, False),
            ("s3:PutObject", target, {"s3:if-none-match": "*"}, False),
            ("s3:DeleteObject", target, {}, role in removers),
            ("s3:DeleteObjectVersion", target, {}, False),
            ("s3:BypassGovernanceRetention", target, {}, False),
        ]
    rows += [
        ("kms:Decrypt", rights.key, {}, True),
        ("kms:GenerateDataKey", rights.key, {}, role != "reader"),
        ("kms:ScheduleKeyDeletion", rights.key, {}, False),
        ("s3:GetObject", "arn:aws:s3:::another-bucket/artifact", {}, False),
        ("s3:PutBucketPolicy", "", {}, False),
    ]
    _table(rights, f"{rights.bucket}-{role}", rows)


def test_nobody_but_the_pods_of_this_deployment_takes_their_role(cloud: Cloud) -> None:
    trust = cloud.aws("iam").get_role(RoleName="fraud-detection-prod-serving")["Role"]["AssumeRolePolicyDocument"]
    (statement,) = trust["Statement"]
    conditions = statement["Condition"]["StringEquals"]
    subject = next(value for name, value in conditions.items() if name.endswith(":sub"))
    assert subject == "system:serviceaccount:fraud-detection-production:fraud-detection-prod"
    assert [value for name, value in conditions.items() if name.endswith(":aud")] == ["sts.amazonaws.com"]
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"


_DEPLOYERS_MAY = {
    ("get", "apps", "deployments"),
    ("list", "", "pods"),
    ("get", "", "pods/log"),
    ("create", "", "pods/eviction"),
    ("get", "autoscaling", "horizontalpodautoscalers"),
}
_DEPLOYERS_MAY_NOT = {
    *((verb, "", "secrets") for verb in ("get", "list", "watch", "create", "patch")),
    # Whoever writes a pod's template can mount the model key in it and use the pods' role.
    *((verb, "apps", "deployments") for verb in ("patch", "update", "create", "delete")),
    *((verb, "apps", "replicasets") for verb in ("patch", "update", "create")),
    *((verb, "", "pods") for verb in ("create", "patch", "update")),
    ("create", "", "pods/exec"),
    ("create", "", "pods/attach"),
    ("patch", "", "pods/ephemeralcontainers"),
    ("create", "", "serviceaccounts/token"),
    ("create", "batch", "jobs"),
    ("create", "batch", "cronjobs"),
    ("create", "rbac.authorization.k8s.io", "rolebindings"),
}


def test_deployers_look_after_the_deployment_and_reach_no_secret(cloud: Cloud) -> None:
    from kubernetes import client

    api = cloud.kubernetes("AuthorizationV1Api")

    def may(verb: str, group: str, resource: str) -> bool:
        name, _, part = resource.partition("/")
        asked = client.V1ResourceAttributes(
            namespace=f"fraud-detection-{_STACK}", verb=verb, group=group, resource=name, subresource=part or None
        )
        spec = client.V1SubjectAccessReviewSpec(
            user="dana", groups=["fraud-detection-deployers"], resource_attributes=asked
        )
        answer = api.create_subject_access_review(client.V1SubjectAccessReview(spec=spec))
        return bool(answer.status.allowed)

    assert {each for each in _DEPLOYERS_MAY if not may(*each)} == set()
    assert {each for each in _DEPLOYERS_MAY_NOT if may(*each)} == set()
