#!/usr/bin/env python3
"""Renders a stack with Pulumi's mocks in the engine's place: what the program would ask the providers for.

    python -m tests.rendered.render production --as manifests
    python -m tests.rendered.render production --as terraform > main.tf.json

`manifests` are the Kubernetes objects, `terraform` the AWS resources in the words of the provider below Pulumi's, with
references in place of addresses, as scanners expect them; `resources` are all resources with their inputs.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pulumi
import pulumi.runtime
import yaml

from infra.settings import CHECKOUT, STACKS

MODEL_ID = "fraud_detector_XGBoost_20260102_030405"
DIGEST, OTHER_DIGEST = "sha256:" + "5" * 64, "sha256:" + "6" * 64
OTHER_ID = "fraud_detector_XGBoost_20260203_040506"
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/fraud-detection/serving@sha256:" + "a" * 64
PROMOTED = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/fraud-detection/staging@sha256:" + "d" * 64
ACCOUNT = "123456789012"
MODEL_KEY, API_KEYS = "the key of the rendered model", "the hashes of the rendered keys"
_SECRET = "[secret]"
_SIGNATURE, _SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
"""How the engine marks a secret on the wire: Pulumi's sdk/go/common/resource/sig."""
_TERRAFORM_NAMES = {
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": "aws_cloudwatch_composite_alarm",
    "aws:cloudwatch/dashboard:Dashboard": "aws_cloudwatch_dashboard",
    "aws:cloudwatch/logGroup:LogGroup": "aws_cloudwatch_log_group",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "aws_cloudwatch_metric_alarm",
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": "aws_ecr_lifecycle_policy",
    "aws:ecr/repository:Repository": "aws_ecr_repository",
    "aws:iam/role:Role": "aws_iam_role",
    "aws:iam/rolePolicy:RolePolicy": "aws_iam_role_policy",
    "aws:kms/alias:Alias": "aws_kms_alias",
    "aws:kms/key:Key": "aws_kms_key",
    "aws:s3/bucket:Bucket": "aws_s3_bucket",
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": "aws_s3_bucket_lifecycle_configuration",
    "aws:s3/bucketLogging:BucketLogging": "aws_s3_bucket_logging",
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": "aws_s3_bucket_object_lock_configuration",
    "aws:s3/bucketObjectv2:BucketObjectv2": "aws_s3_object",
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": "aws_s3_bucket_ownership_controls",
    "aws:s3/bucketPolicy:BucketPolicy": "aws_s3_bucket_policy",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": "aws_s3_bucket_public_access_block",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        "aws_s3_bucket_server_side_encryption_configuration"
    ),
    "aws:s3/bucketVersioning:BucketVersioning": "aws_s3_bucket_versioning",
    "aws:sns/topic:Topic": "aws_sns_topic",
    "aws:sns/topicPolicy:TopicPolicy": "aws_sns_topic_policy",
    "aws:sns/topicSubscription:TopicSubscription": "aws_sns_topic_subscription",
}
_SINGULAR = {"rules": "rule", "metric_queries": "metric_query", "encryption_configurations": "encryption_configuration"}
"""Where Pulumi has a plural for a block that may be there several times."""
_RENAMED = {
    ("aws_cloudwatch_metric_alarm", "name"): "alarm_name",
    ("aws_sns_topic_subscription", "topic"): "topic_arn",
}
"""What Pulumi calls otherwise, by resource."""


class _Mocks(pulumi.runtime.Mocks):
    def __init__(self, *, references: bool) -> None:
        self.resources: list[dict[str, Any]] = []
        self._references = references

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        inputs = _without_secrets(dict(args.inputs))
        self.resources.append({"type": args.typ, "name": args.name, "inputs": inputs})
        outputs = dict(inputs)
        if args.typ.startswith("aws:"):
            outputs |= self._addresses(args.typ, args.name, inputs)
        if args.typ == "docker:index/image:Image":
            outputs["repoDigest"] = IMAGE
        if "LocalProcess" in args.typ:
            outputs |= {"url": f"http://{inputs['host']}:{int(inputs['port'])}", "pid": 1}
        return str(outputs.get("id", f"{args.name}-id")), outputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, Any]:
        if args.token == "aws:ecr/getAuthorizationToken:getAuthorizationToken":
            return {"userName": "AWS", "password": "token", "proxyEndpoint": "https://registry"}
        if args.token == "pulumi:pulumi:readStackOutputs":
            # Staging has deployed an image, and every other stack nothing.
            outputs = {"image": PROMOTED} if str(args.args["name"]).endswith("/staging") else {}
            return {"name": args.args["name"], "outputs": outputs}
        raise AssertionError(f"the program calls {args.token}, which has no mock")

    def _addresses(self, kind: str, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
        if self._references and kind in _TERRAFORM_NAMES:
            address = f"{_TERRAFORM_NAMES[kind]}.{_identifier(name)}"
            fields = {"id": "id", "arn": "arn", "bucket": "id", "keyId": "key_id", "name": "name"}
            fields |= {"repositoryUrl": "repository_url", "registryId": "registry_id"}
            asked = {"id", "arn", "keyId", *inputs, *(("repositoryUrl", "registryId") if "ecr" in kind else ())}
            return {ours: f"${{{address}.{theirs}}}" for ours, theirs in fields.items() if ours in asked}
        own = str(inputs.get("bucket") or inputs.get("name") or name)
        kinds = {
            "aws:s3/bucket:Bucket": f"arn:aws:s3:::{own}",
            "aws:kms/key:Key": f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/{name}",
            "aws:iam/role:Role": f"arn:aws:iam::{ACCOUNT}:role/{own}",
            "aws:sns/topic:Topic": f"arn:aws:sns:eu-central-1:{ACCOUNT}:{own}",
            "aws:cloudwatch/logGroup:LogGroup": f"arn:aws:logs:eu-central-1:{ACCOUNT}:log-group:{own}",
        }
        server = f"{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com"
        found = {"arn": kinds.get(kind, f"arn:aws:service:eu-central-1:{ACCOUNT}:{name}"), "keyId": name}
        if kind == "aws:ecr/repository:Repository":
            found |= {"repositoryUrl": f"{server}/{own}", "registryId": ACCOUNT}
        return {**found, "name": own} if "aws:iam" in kind else found


def render(stack: str, *, references: bool = False, changes: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """All resources of a stack, `type`, `name` and `inputs` of each, sorted by type and name.

    Args:
        stack: `dev`, `staging` or `production`; its committed config file is what is rendered.
        references: whether addresses are Terraform's references to the resource that has them.
        changes: of the config, such as `{"platform": "docker"}`.
    """
    os.environ |= {"MODEL_KEY_FILE": _file("model.key", MODEL_KEY), "API_KEYS_FILE": _file("api_keys.json", API_KEYS)}
    os.environ.pop("AWS_ENDPOINT_URL", None)
    os.environ["IMAGE_TAG"] = "v1"
    mocks = _Mocks(references=references)
    pulumi.runtime.set_mocks(mocks, project="fraud-detection", stack=stack, preview=False)
    changed = {f"fraud-detection:{key}": value for key, value in (changes or {}).items()}
    pulumi.runtime.set_all_config({**_config(stack), **changed})

    from components.model_artifact import ModelArtifactArgs
    from infra.artifact import Versions
    from infra.cloud import declare_cloud
    from infra.container import declare_container
    from infra.docker_preflight import DockerHost
    from infra.environment_policy import require_environment_policy
    from infra.preflight import Account
    from infra.program import declare_on_this_machine
    from infra.settings import load_settings

    settings = load_settings()
    require_environment_policy(settings)
    in_cluster = settings.platform == "kubernetes"

    def model(model_id: str, digest: str) -> ModelArtifactArgs:
        prefix = f"models/fraud_detector/{model_id}"
        files = tuple(f"{prefix}/{name}" for name in ("manifest.json", "artifact")) if in_cluster else ()
        uri = prefix if in_cluster else f"file:///registry/{prefix}"
        return ModelArtifactArgs(model_id, uri, digest, digest, files=files, revision=f"{digest}/key")

    other = model(settings.rollout.other, OTHER_DIGEST) if settings.rollout.other else None
    versions = Versions(model(MODEL_ID, DIGEST), other)
    if in_cluster:
        _run(lambda: declare_cloud(settings, Account(ACCOUNT, "aws"), versions))
    elif settings.platform == "docker":
        with patch("infra.container._inspect", return_value=DockerHost(IMAGE, "1000:1000", "", 2.0, 8192, "")):
            _run(lambda: declare_container(settings, versions))
    else:
        _run(lambda: declare_on_this_machine(settings, versions))
    found = json.loads(json.dumps(mocks.resources, default=_asset, sort_keys=True))
    text = json.dumps(found).replace(str(CHECKOUT), ".").replace(_DIRECTORY, "/keys")
    return sorted(json.loads(text), key=lambda item: (item["type"], item["name"]))


def _run(work: Callable[[], dict[str, Any]]) -> None:
    """Declares, and waits until every resource has been asked for."""
    pulumi.runtime.test(lambda: pulumi.Output.from_input(work()))()  # type: ignore[no-untyped-call]


def manifests(resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The Kubernetes objects, as they are applied."""
    return [item["inputs"] for item in resources if item["type"].startswith("kubernetes:")]


def terraform(resources: list[dict[str, Any]]) -> dict[str, Any]:
    """The AWS resources as Terraform's JSON."""
    found: dict[str, dict[str, Any]] = {}
    for item in resources:
        if item["type"].startswith("aws:"):
            kind = _TERRAFORM_NAMES[item["type"]]
            words = _terraform_words(item["inputs"])
            words = {_RENAMED.get((kind, name), name): value for name, value in words.items()}
            found.setdefault(kind, {})[_identifier(item["name"])] = words
    return {"resource": found}


def _terraform_words(value: Any) -> Any:
    if isinstance(value, list):
        return [_terraform_words(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, item in value.items():
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        found[_SINGULAR.get(snake, snake)] = item if name in ("tags", "dimensions") else _terraform_words(item)
    return found


_DIRECTORY = tempfile.mkdtemp(prefix="rendered-")


def _file(name: str, content: str) -> str:
    path = Path(_DIRECTORY) / name
    path.write_text(content)
    return str(path)


def _config(stack: str) -> dict[str, str]:
    content = yaml.safe_load((CHECKOUT / f"Pulumi.{stack}.yaml").read_text())["config"]
    content["fraud-detection:modelVersion"] = MODEL_ID
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in content.items()}


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _without_secrets(value: Any) -> Any:
    """Plain values: what is secret is left out, and a number without a fraction is an integer."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict) and value.get(_SIGNATURE) == _SECRET_SIGNATURE:
        return _without_secrets(value["value"])
    if isinstance(value, dict):
        return {name: _without_secrets(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return _SECRET if value in (MODEL_KEY, API_KEYS, "token") else value


def _asset(value: Any) -> Any:
    if isinstance(value, pulumi.FileAsset):
        return {"file": value.path}
    return str(value)


def main() -> int:
    """Prints one stack."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.rendered.render",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stack", choices=list(STACKS))
    parser.add_argument("--as", dest="form", choices=["manifests", "terraform", "resources"], default="resources")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the stack's config")
    options = parser.parse_args()
    changes = dict(item.split("=", 1) for item in options.set)
    resources = render(options.stack, references=options.form == "terraform", changes=changes)
    if options.form == "manifests":
        print(yaml.safe_dump_all(manifests(resources), sort_keys=True), end="")
    else:
        print(json.dumps(terraform(resources) if options.form == "terraform" else resources, indent=1, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
