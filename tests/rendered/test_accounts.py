"""Accounts as they are: boundary, path, tags, two regions, and who is told of an alarm."""

import json
from typing import Any

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
