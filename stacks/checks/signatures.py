"""Checks a model version's signature against the stack's policy, before an update starts."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from conventions.config_keys import SIGNING
from stacks.environments import DeploymentEnvironment

if TYPE_CHECKING:
    from model_store import ModelRegistry


def signature_problem(
    registry: "ModelRegistry", model_id: str, environment: DeploymentEnvironment, config: Mapping[str, Any]
) -> str:
    """Returns the problem with a model version's signature; empty when the policy is met or requires none.

    The Pulumi program reports errors in the config itself.
    """
    from model_store.errors import SignatureInvalid
    from model_store.registry.signing import SignaturePolicy, parse_public_key

    signing = config.get(SIGNING) or {}
    default = SignaturePolicy.OFF if environment is DeploymentEnvironment.DEVELOPMENT else SignaturePolicy.REQUIRE
    if not isinstance(signing, Mapping) or signing.get("policy", default) != SignaturePolicy.REQUIRE:
        return ""
    try:
        keys = [parse_public_key(text) for text in signing.get("public_keys", [])]
        registry.verify_signature(model_id, keys)
    except SignatureInvalid as error:
        return str(error)
    except (ValueError, TypeError):
        return ""
    return ""
