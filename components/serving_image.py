"""ServingImage: the image that pods run, built and pushed to a repository that scans it, or given by digest."""

import json
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_docker as docker

from components.account_key import account_key_policy

_UNTAGGED_DAYS = 30


@dataclass(frozen=True)
class ServingImageArgs:
    """Arguments of ServingImage: a ready image, or the repository to build into."""

    reference: str = ""
    """A ready image, `repository@sha256:…`; empty to build one."""
    repository: str = ""
    """Name of a repository to make; needed to build."""
    tag: str = ""
    """Tag of the built image, such as the source's commit."""
    context: str = "."
    """Directory with the Dockerfile."""
    architecture: str = "amd64"
    """Of the image: `amd64` or `arm64`."""
    build_args: dict[str, str] = field(default_factory=dict)
    account_id: pulumi.Input[str] = ""
    partition: pulumi.Input[str] = "aws"


class ServingImage(pulumi.ComponentResource):
    """One image by its digest.

    Guarantees: a deployment names the image by digest; the repository scans pushed images, refuses to move a tag, has
    its own encryption key, and expires only untagged images; a deployed image keeps its tag. Repository and
    images go with the stack.
    """

    reference: pulumi.Output[str]

    def __init__(self, name: str, args: ServingImageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("fraud-detection:serving_image:ServingImage", name, {}, opts)
        self._name, self._args = name, args
        repository = self._repository() if args.repository else None
        if args.reference:
            self.reference = pulumi.Output.from_input(args.reference)
        elif repository is not None:
            self.reference = self._built(repository)
        else:
            raise pulumi.RunError(
                "the image has neither a reference nor a repository to build into; set one of them in image"
            )
        self.register_outputs({"reference": self.reference})

    def _child(self, **options: Any) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, **options)

    def _repository(self) -> aws.ecr.Repository:
        args, name = self._args, self._name
        policy = pulumi.Output.all(account_id=args.account_id, partition=args.partition).apply(
            lambda known: json.dumps(account_key_policy(**known))
        )
        key = aws.kms.Key(
            f"{name}-key",
            description=f"images in {args.repository}",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            policy=policy,
            opts=self._child(),
        )
        repository = aws.ecr.Repository(
            f"{name}-repository",
            name=args.repository,
            image_tag_mutability="IMMUTABLE",
            # Without it a repository with images cannot be removed, and a stack is left half destroyed.
            force_delete=True,
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[{"encryption_type": "KMS", "kms_key": key.arn}],
            opts=self._child(),
        )
        aws.ecr.LifecyclePolicy(
            f"{name}-lifecycle", repository=repository.name, policy=json.dumps(lifecycle_policy()), opts=self._child()
        )
        return repository

    def _built(self, repository: aws.ecr.Repository) -> pulumi.Output[str]:
        args = self._args
        token = aws.ecr.get_authorization_token_output(registry_id=repository.registry_id)
        image = docker.Image(
            f"{self._name}-image",
            image_name=pulumi.Output.concat(repository.repository_url, ":", args.tag),
            build={"context": args.context, "platform": f"linux/{args.architecture}", "args": args.build_args},
            registry={
                "server": repository.repository_url,
                "username": token.user_name,
                "password": pulumi.Output.secret(token.password),
            },
            opts=self._child(),
        )
        return image.repo_digest


def lifecycle_policy() -> dict[str, Any]:
    """Expires untagged images; tags cannot move, so a deployed image keeps its tag."""
    return {
        "rules": [
            {
                "rulePriority": 1,
                "description": "images that no tag names",
                "selection": {
                    "tagStatus": "untagged",
                    "countType": "sinceImagePushed",
                    "countUnit": "days",
                    "countNumber": _UNTAGGED_DAYS,
                },
                "action": {"type": "expire"},
            }
        ]
    }
