"""Accounts as they are: boundary, path, tags, two regions, and who is told of an alarm."""

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml

from infra.settings import CHECKOUT
from tests.rendered.conftest import Rendered, rendered_stack

_BOUNDARY = "arn:aws:iam::123456789012:policy/ci-boundary"


def _stack(**changes: Any) -> Rendered:
    config = yaml.safe_load((CHECKOUT / "Pulumi.production.yaml").read_text())["config"]["fraud-detection:cloud"]
    return rendered_stack("production", cloud=json.dumps({**config, **changes}))


def test_every_role_has_the_boundary_and_the_path_of_the_account() -> None:
    roles = _stack(permissions_boundary=_BOUNDARY, role_path="/fraud/").all("iam/role:Role")
    assert len(roles) >= 6
    assert {role["permissionsBoundary"] for role in roles} == {_BOUNDARY}
    assert {role["path"] for role in roles} == {"/fraud/"}


def test_every_resource_gets_the_tags_of_the_stack() -> None:
    provider = _stack(tags={"cost-centre": "4711"}).one("pulumi:providers:aws")
    assert json.loads(provider["defaultTags"]) == {"tags": {"cost-centre": "4711"}}


def test_the_same_deployment_stands_in_two_regions_of_an_account() -> None:
    def names(stack: Rendered) -> set[str]:
        found = {role["name"] for role in stack.all("iam/role:Role")}
        return found | {item["dashboardName"] for item in stack.all("dashboard:Dashboard")}

    here = _stack(regional_names=True)
    there = _stack(regional_names=True, region="eu-west-1", registry_bucket="fraud-detection-registry-ireland")
    assert not names(here) & names(there)
    assert "fraud-detection-prod-serving-eu-west-1" in names(there)


def test_a_function_that_is_told_of_alarms_may_be_called_by_their_topic() -> None:
    function = "arn:aws:lambda:eu-central-1:123456789012:function:page"
    stack = _stack(alarm_subscribers=[{"protocol": "lambda", "address": function}])
    permission = stack.one("lambda/permission:Permission")
    assert permission["function"] == function
    assert permission["principal"] == "sns.amazonaws.com"
    assert permission["sourceArn"].endswith(":fraud-detection-prod-alarms")


def test_a_queue_that_is_told_of_alarms_takes_them_where_the_stack_may_write_its_policy() -> None:
    queue = "arn:aws:sqs:eu-central-1:123456789012:pages"
    told = {"protocol": "sqs", "address": queue}
    untouched = _stack(alarm_subscribers=[told])
    assert not [item for item in untouched.resources if item["type"].endswith(":QueuePolicy")]
    policy = _stack(alarm_subscribers=[{**told, "replace_queue_policy": True}]).one("queuePolicy:QueuePolicy")
    assert policy["queueUrl"] == "https://sqs.eu-central-1.amazonaws.com/123456789012/pages"
    (statement,) = json.loads(policy["policy"])["Statement"]
    assert statement["Resource"] == queue
    assert statement["Condition"]["ArnEquals"]["aws:SourceArn"].endswith(":fraud-detection-prod-alarms")


_PIPELINES = {
    "oidc_provider_arn": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
    "repository": "acme/fraud",
    "state_bucket": "acme-state",
    "state_key_arn": "arn:aws:kms:eu-central-1:123456789012:key/of-the-state",
}


def _roles_of_ci(**changes: Any) -> dict[str, dict[str, Any]]:
    stack = _stack(permissions_boundary=_BOUNDARY, role_path="/ci/", pipelines={**_PIPELINES, **changes})
    roles = [item for item in stack.all("iam/role:Role") if "-ci-" in item["name"]]
    return {item["name"].split("-ci-")[1]: item for item in roles}


def test_the_stack_makes_a_role_for_each_environment_of_ci_which_its_jobs_alone_take() -> None:
    roles = _roles_of_ci()
    assert set(roles) == {"registry", "signing", "approval", "preview", "deploy"}
    for name, role in roles.items():
        (statement,) = json.loads(role["assumeRolePolicy"])["Statement"]
        assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
        issuer = "token.actions.githubusercontent.com"
        environment = "production" if name == "deploy" else name
        assert statement["Condition"] == {
            "StringEquals": {f"{issuer}:aud": "sts.amazonaws.com"},
            "StringLike": {f"{issuer}:sub": [f"repo:acme/fraud:environment:{environment}"]},
        }
        assert role["permissionsBoundary"] == _BOUNDARY
        assert role["path"] == "/ci/"


def test_roles_of_ci_that_run_the_program_may_take_the_role_of_a_backup_elsewhere() -> None:
    elsewhere = "arn:aws:iam::210987654321:role/makes-backups"
    stack = _stack(permissions_boundary=_BOUNDARY, pipelines=_PIPELINES, backup_role=elsewhere)
    policies = [item for item in stack.all("iam/rolePolicy:RolePolicy") if item["name"] == "pipeline"]
    taking = {item["role"] for item in policies if elsewhere in item["policy"]}
    assert {role.split("-ci-")[1].split("_")[0] for role in taking} == {"preview", "deploy"}


def test_a_stack_that_does_not_own_the_registry_leaves_the_releases_roles_to_the_one_that_does() -> None:
    key = "arn:aws:kms:eu-central-1:123456789012:key/of-the-registry"
    assert set(_roles_of_ci(registry_bucket="acme-registry", registry_key_arn=key)) == {"preview", "deploy"}


def test_roles_of_gitlab_are_taken_on_release_tags_and_the_default_branch() -> None:
    roles = _roles_of_ci(
        oidc_provider_arn="arn:aws:iam::123456789012:oidc-provider/gitlab.example.com", repository="acme/ml/fraud"
    )
    subjects = {
        name: json.loads(role["assumeRolePolicy"])["Statement"][0]["Condition"]["StringLike"]["gitlab.example.com:sub"]
        for name, role in roles.items()
    }
    tag = "project_path:acme/ml/fraud:ref_type:tag:ref:model-v*"
    branch = "project_path:acme/ml/fraud:ref_type:branch:ref:main"
    assert subjects["signing"] == [tag]
    assert subjects["preview"] == [branch]
    assert subjects["deploy"] == [tag, branch]


def test_a_backup_in_another_account_and_region_lets_its_job_in_and_nobody_else() -> None:
    elsewhere = "arn:aws:iam::210987654321:role/makes-backups"
    stack = _stack(backup_role=elsewhere, backup_region="eu-west-1")
    providers = {item["region"]: item for item in stack.all("pulumi:providers:aws")}
    assert json.loads(providers["eu-west-1"]["assumeRoles"]) == [{"role_arn": elsewhere}]
    job = "arn:aws:iam::123456789012:role/fraud-detection-prod-backup"
    policies = [json.loads(item["policy"])["Statement"] for item in stack.all("s3/bucketPolicy:BucketPolicy")]
    let_in = [each for policy in policies for each in policy if each["Sid"].startswith("Copier")]
    assert len(let_in) == 2
    keys = [json.loads(item["policy"])["Statement"] for item in stack.all("kms/key:Key")]
    let_in += [each for policy in keys for each in policy if each["Sid"] == "CopierUsesTheKey"]
    assert len(let_in) == 3
    for statement in let_in:
        assert statement["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"}
        assert statement["Condition"] == {"ArnEquals": {"aws:PrincipalArn": job}}
        assert not [action for action in statement["Action"] if "Delete" in action or action.endswith("*")]
    owners = [
        statement["Principal"]["AWS"] for policy in keys for statement in policy if "AWS" in statement["Principal"]
    ]
    assert "arn:aws:iam::210987654321:root" in owners


def test_a_backup_that_is_not_made_begins_an_alarm_of_its_own() -> None:
    stack = _stack(backup_alarm_hours=50)
    (alarm,) = [item for item in stack.all("metricAlarm:MetricAlarm") if item["name"].endswith("-no-backup")]
    assert alarm["metricName"] == "Backups"
    assert alarm["treatMissingData"] == "breaching"
    assert (alarm["period"], alarm["evaluationPeriods"], alarm["threshold"]) == (3600, 50, 1)
    assert alarm["alarmActions"]
    env = stack.one("batch/v1:CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["env"]
    told = {item["name"]: item["value"] for item in env}
    assert told["METRICS_NAMESPACE"] == "FraudDetection"
    dimensions = {"Environment": told["ENVIRONMENT"], "Deployment": told["DEPLOYMENT_NAME"]}
    assert alarm["dimensions"] == dimensions


@pytest.mark.parametrize("key", ["MODEL_KEY", "API_KEYS"])
def test_a_key_file_that_is_empty_makes_no_secret(key: str) -> None:
    """A secret that nobody has defined arrives so, and pods that get it do not start."""
    program = f"from tests.rendered import render; render.{key} = '\\n'; render.render('production')"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "Pulumi.production.yaml: the key file" in done.stderr
    assert "is empty; name another one in" in done.stderr
