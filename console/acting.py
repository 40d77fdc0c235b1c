"""Acts for the person who is signed in: the registry's roles count, and the audit log names person and process."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING

from console.sessions import Person

if TYPE_CHECKING:
    from model_store import ModelRegistry
    from model_store.registry.access import Rights


def open_registry_as(checkout: Path, actor: str) -> "ModelRegistry":
    """The registry of a checkout, in which an actor acts.

    Args:
        checkout: the project's root.
        actor: of a person who signed in by OIDC, with the rights that the registry's policy gives to this very name,
            or else its default; empty: the account that this process runs under, as for the commands.
    """
    from model_store import ModelRegistry
    from model_store.keys.defaults import default_keys, registry_location
    from model_store.registry.access import AccessPolicy
    from model_store.registry.identity import account_name

    location = registry_location(checkout)
    if actor:
        policy = AccessPolicy(rights_of(ModelRegistry(location), actor))
        registry = ModelRegistry(location, keys=lambda: default_keys(checkout), actor=actor, policy=policy)
    else:
        registry = ModelRegistry(location, keys=lambda: default_keys(checkout))
    registry.act_through(f"console of {account_name()} on {socket.gethostname()}")
    return registry


def rights_of(registry: "ModelRegistry", actor: str) -> "Rights":
    """The rights of a person; a reader's where the registry has no policy that names the person or a default.

    Args:
        registry: opened by this process itself.
        actor: of a person who signed in by OIDC; empty: this process.

    Raises:
        InvalidInput, UnreadableModel: a policy is damaged.
    """
    from model_store.registry.access import AccessPolicy, Rights, Role

    if not actor:
        return registry.access.rights()
    own, narrowing = registry.access.own(), AccessPolicy.from_environment()
    rights = own.find_rights(actor) if own is not None else Rights(Role.READER)
    return rights.narrowed(narrowing.find_rights(actor)) if narrowing is not None else rights


def system_person(registry: "ModelRegistry") -> Person:
    """The person who started this console on this machine."""
    return Person("", registry.actor)
