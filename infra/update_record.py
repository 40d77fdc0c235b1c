"""The registry's records of a plain `pulumi up`: who changes the stack, and where a version serves afterwards.

The commands write their own records. An update goes on where a record cannot be written: a warning says so.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pulumi

from conventions.environments import STACKS
from infra.settings import CHECKOUT
from model_store import ModelRegistry
from model_store.keys.defaults import registry_location
from model_store.registry.log.audit import UPDATE
from model_store.registry.serving import begin_serving, serves_in


def record_update(outputs: Mapping[str, Any]) -> None:
    """Records an update before its resources change, and that its version serves once they have.

    A preview changes nothing and has no record.

    Args:
        outputs: of the stack; `modelVersion` is a text, `servingId` is known once the endpoint serves, `breakGlass` is
            there where requirements are passed.
    """
    if pulumi.runtime.is_dry_run():
        return
    stack = pulumi.get_stack()
    environment = STACKS.get(stack, stack)
    model_id = str(outputs["modelVersion"])
    registry = ModelRegistry(registry_location(CHECKOUT))
    glass = _glass_reason(outputs.get("breakGlass") or {}, model_id)
    told = {"break_glass": glass} if glass else {}
    try:
        registry.audit.append(UPDATE, model_id, environment=environment, intent="pulumi up", **told)
    except Exception as error:  # whatever the storage raises: the record is not worth the update
        pulumi.log.warn(f"the audit log has no record of this update: {error}")
    served = pulumi.Output.from_input(outputs["servingId"])
    served.apply(lambda _: _record_serving(registry, model_id, environment, glass))


def _glass_reason(glass: Mapping[str, Any], model_id: str) -> str:
    """Why the version may lack requirements now; empty when it may not."""
    holds = glass.get("model_id") == model_id and datetime.fromisoformat(glass["until"]) > datetime.now(UTC)
    return str(glass["reason"]) if holds else ""


def _record_serving(registry: ModelRegistry, model_id: str, environment: str, glass: str) -> None:
    """Enters in the states of the versions which one serves in the environment."""
    try:
        if environment in serves_in(registry, model_id):
            return
        registry.require_right("deploy", model_id, environment=environment, intent="pulumi up")
        # The engine numbers its updates by their begin, which a program is not told.
        deployment_id = f"up_{environment}_{datetime.now(UTC):%Y%m%d_%H%M%S}"
        # The program checks what the environment requires before anything changes.
        begin_serving(registry, model_id, environment, deployment_id, glass, checked=True)
    except Exception as error:  # the endpoint serves already
        pulumi.log.warn(f"the registry does not show that {model_id} serves in {environment}: {error}")
