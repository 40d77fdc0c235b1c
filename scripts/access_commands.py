"""The commands `access …` of manage_models.py: who may do what in the registry."""

import click

from scripts.command_line import Argument, Option, Options, Program, add_command, add_group, show, table
from scripts.registry_commands import open_registry


def access_show(options: Options) -> int:
    """Shows the registry's access policy, the actor's role, and what enforces it."""
    from model_store.registry.granting import describe_access

    found = describe_access(open_registry())
    rows = [{"actor": name, "role": entry.get("role", "reader"), "aliases": entry.get("aliases", {})}
            for name, entry in sorted(found["actors"].items())]  # fmt: skip
    if found["own_policy"]:
        rows.append({"actor": "everybody else", "role": found["default"], "aliases": {}})
    lines = [
        table(("actor", "role", "aliases"), rows, empty="the registry has no policy of its own"),
        "",
        f"you are {found['actor']}: {found['role']}",
    ]
    lines += [f"MODEL_ACCESS_POLICY narrows this: {found['narrowed_by']}"] if found["narrowed_by"] else []
    show(options, found, "\n".join([*lines, found["meaning"]]))
    return 0


def access_grant(options: Options) -> int:
    """Gives an actor a role."""
    from model_store.registry.granting import grant

    grant(open_registry(), options.actor, options.role, options.reason)
    show(options, {"actor": options.actor, "role": options.role}, f"{options.actor} is a {options.role} now")
    return 0


def access_revoke(options: Options) -> int:
    """Takes an actor's role away."""
    from model_store.registry.granting import revoke

    revoke(open_registry(), options.actor, options.reason)
    show(options, {"actor": options.actor}, f"{options.actor} has the default role now")
    return 0


def access_take_over(options: Options) -> int:
    """Makes the actor an admin of a registry that was copied here."""
    from model_store.registry.granting import take_over

    registry = open_registry()
    take_over(registry, options.reason)
    show(options, {"actor": registry.actor, "role": "admin"}, f"{registry.actor} is an admin now")
    return 0


def add_access_commands(commands: Program, program: str) -> None:
    """Adds show, grant, revoke and take-over.

    Args:
        commands: the program.
        program: its name, for examples.
    """
    access = add_group(commands, "access", "who may do what in the registry")
    actor = Argument("actor", "an account, an ARN or oidc:ISSUER:SUBJECT; * at the end for all that begin so")
    reason = Option("--reason", default="", metavar="WHY", help="why; recorded in the audit log")
    add_command(
        access, "show", access_show, "show the policy, your role, and what enforces it", f"{program} access show"
    )
    add_command(
        access,
        "grant",
        access_grant,
        "give an actor a role",
        f"{program} access grant alice publisher --reason 'joins the team'\n"
        f"  {program} access grant 'arn:aws:sts::123456789012:assumed-role/registry-publisher/*' publisher",
        actor,
        Argument("role", "what the actor may do", type=click.Choice(("reader", "publisher", "promoter", "admin"))),
        reason,
    )
    add_command(
        access,
        "revoke",
        access_revoke,
        "take an actor's role away; the last admin stays",
        f"{program} access revoke alice --reason 'left the team'",
        actor,
        reason,
    )
    add_command(
        access,
        "take-over",
        access_take_over,
        "become an admin of a registry that was copied to you; the directory has to be yours",
        f"{program} access take-over --reason 'moved to this machine'",
        Option("--reason", required=True, metavar="WHY", help="why; recorded in the audit log"),
    )
