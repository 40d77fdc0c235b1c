"""Who is told of an alarm, and the permissions that the topic needs to tell a function or a queue."""

import json
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import pulumi
import pulumi_aws as aws


def subscribe(
    name: str,
    topic_arn: pulumi.Output[str],
    subscribers: Sequence[tuple[str, str]],
    queues_to_open: Collection[str],
    opts: pulumi.ResourceOptions,
) -> None:
    """Subscribes receivers to a topic; a function gets the permission that lets the topic call it.

    Args:
        name: what names of resources begin with.
        topic_arn: of the topic.
        subscribers: protocol and address of each.
        queues_to_open: ARNs of the queues whose policy is written, in place of the one they have.
        opts: of the resources.
    """
    for number, (protocol, address) in enumerate(subscribers):
        aws.sns.TopicSubscription(
            f"{name}-subscriber-{number}", topic=topic_arn, protocol=protocol, endpoint=address, opts=opts
        )
        if protocol == "lambda":
            aws.lambda_.Permission(
                f"{name}-subscriber-{number}-permission",
                action="lambda:InvokeFunction",
                function=address,
                principal="sns.amazonaws.com",
                source_arn=topic_arn,
                opts=opts,
            )
        if protocol == "sqs" and address in queues_to_open:
            aws.sqs.QueuePolicy(
                f"{name}-subscriber-{number}-policy",
                queue_url=queue_url(address),
                policy=topic_arn.apply(partial(_queue_policy_text, address)),
                opts=opts,
            )


def queue_url(arn: str) -> str:
    """The address of a queue, from its ARN."""
    _, partition, _, region, account, queue = arn.split(":")
    return f"https://sqs.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}/{account}/{queue}"


def _queue_policy_text(queue_arn: str, topic_arn: str) -> str:
    return json.dumps(queue_policy(queue_arn, topic_arn))


def queue_policy(queue_arn: str, topic_arn: str) -> dict[str, Any]:
    """Lets one topic send to one queue."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AlarmsOfTheStack",
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
            }
        ],
    }
