"""Key files that a preview does without: it shows what the stack has, and needs no secret beside it."""

import os
from pathlib import Path
from typing import Any

import pulumi

_ABSENT = "absent"
_IGNORED = {
    "kubernetes:core/v1:Secret": ["stringData", "data"],
    "kubernetes:apps/v1:Deployment": ['spec.template.metadata.annotations["fraud-detection/secrets"]'],
}
"""What is made from key files, by type of resource: a preview without them takes what the stack has."""


def absent_key(path: Path, variable: str) -> pulumi.Output[str] | None:
    """What stands for a key file that is missing: in a preview a text that changes nothing, else None.

    Args:
        path: of the file.
        variable: names another file; one that it names and that is missing is a mistake.
    """
    if not pulumi.runtime.is_dry_run() or os.environ.get(variable):
        return None
    pulumi.log.warn(f"the key file {path} is missing: this preview takes the key that the stack has")
    pulumi.runtime.register_stack_transformation(_as_the_stack_has_it)
    return pulumi.Output.secret(_ABSENT)


def _as_the_stack_has_it(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
    ignored = _IGNORED.get(args.type_)
    if ignored is None:
        return None
    options: Any = pulumi.ResourceOptions.merge(args.opts, pulumi.ResourceOptions(ignore_changes=ignored))
    return pulumi.ResourceTransformationResult(args.props, options)
