"""`deploy_model.py api-key`: makes, lists, rotates and revokes the API keys of an environment."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts.command_line import Argument, Option, Options, Program, add_command, path_type, show

if TYPE_CHECKING:
    from stacks.deployment import ModelDeployment

CHECKOUT = Path(__file__).resolve().parents[1]
_DEFAULT_OVERLAP_DAYS = 7.0


def add_api_key_command(
    commands: Program, program: str, make: Callable[[], "ModelDeployment"], environment: Argument
) -> None:
    """Adds api-key.

    Args:
        commands: the program.
        program: its name, for examples.
        make: makes what deploys.
        environment: the argument of that name.
    """
    examples = (
        f"{program} api-key staging checkout-service --scope predict --expires 2027-06-30\n"
        f"{program} api-key list staging\n"
        f"{program} api-key rotate staging checkout-service --overlap-days 7\n"
        f"{program} api-key revoke staging checkout-service"
    )
    add_command(
        commands,
        "api-key",
        lambda options: _run(options, make),
        "make an API key for an environment and print it; or list, rotate or revoke keys",
        examples,
        Argument("environment", "the environment; or list, rotate or revoke, and then the environment",
                 shell_complete=environment.shell_complete),
        Argument("name", "who calls with it; shown in logs"),
        Argument("more", "the name, after rotate or revoke", required=False, metavar="NAME"),
        Option(
            "--scope",
            multiple=True,
            type=click.Choice(("predict", "feedback", "admin")),
            help="may be repeated (predict, feedback)",
        ),
        Option(
            "--requests-per-second",
            type=float,
            metavar="NUMBER",
            help="a limit of its own; the service's when not given",
        ),
        Option("--expires", metavar="TIME", help="the key is unknown from then on, such as 2027-06-30"),
        Option(
            "--overlap-days",
            type=float,
            metavar="DAYS",
            help="rotate: how long the key of before stays valid beside the new one (7)",
        ),
        Option("--api-key-file", type=path_type(), metavar="FILE",
               help="list: file with a key of the scope admin, to ask the endpoint when each key was last used"),
    )  # fmt: skip


def _run(options: Options, make: Callable[[], "ModelDeployment"]) -> int:
    if options.environment in ("rotate", "revoke") and not options.more:
        raise click.UsageError(f"api-key {options.environment} takes an environment and the name of a key")
    if options.environment == "list" and not options.more:
        return _list(options, options.name, make)
    if options.environment == "rotate" and options.more:
        return _rotate(options, options.name, options.more)
    if options.environment == "revoke" and options.more:
        return _revoke(options, options.name, options.more)
    if options.more:
        raise click.UsageError(f"{options.more!r} is one argument too many")
    return _add(options)


def _add(options: Options) -> int:
    from stacks.development.api_keys import add_api_key, recorded_key_change
    from stacks.registry_access import open_registry

    scopes = options.scope or ["predict", "feedback"]
    wanted = (options.environment, options.name, scopes, options.requests_per_second, options.expires)
    key, path = recorded_key_change(
        open_registry(CHECKOUT),
        options.environment,
        options.name,
        f"{options.name}: {', '.join(sorted(set(scopes)))}",
        lambda: add_api_key(CHECKOUT, *wanted),
    )
    answer = {"environment": options.environment, "name": options.name, "api_key": key, "file": str(path)}
    text = f"{key}\n  of {options.name} in {options.environment}; it is shown only now; {path} has its hash"
    show(options, answer, text)
    return 0


def _rotate(options: Options, environment: str, name: str) -> int:
    from stacks.development.api_keys import recorded_key_change, rotate_api_key
    from stacks.registry_access import open_registry

    days = _DEFAULT_OVERLAP_DAYS if options.overlap_days is None else options.overlap_days
    key, until, path = recorded_key_change(
        open_registry(CHECKOUT),
        environment,
        name,
        f"{name}: rotated, {days:g} days beside the key of before",
        lambda: rotate_api_key(CHECKOUT, environment, name, days, options.expires),
    )
    answer = {"environment": environment, "name": name, "api_key": key, "former_until": until, "file": str(path)}
    text = f"{key}\n  of {name} in {environment}; it is shown only now. The key of before is valid until {until}"
    show(options, answer, text)
    return 0


def _revoke(options: Options, environment: str, name: str) -> int:
    from stacks.development.api_keys import recorded_key_change, revoke_api_key
    from stacks.registry_access import open_registry

    removed, path = recorded_key_change(
        open_registry(CHECKOUT),
        environment,
        name,
        f"{name}: revoked",
        lambda: revoke_api_key(CHECKOUT, environment, name),
    )
    answer = {"environment": environment, "name": name, "removed": removed, "file": str(path)}
    text = (
        f"{name}: {removed} key(s) removed from {path}. An endpoint on this machine refuses them within seconds; "
        f"pods do after the next deploy_model.py deploy or up"
    )
    show(options, answer, text)
    return 0


def _list(options: Options, environment: str, make: Callable[[], "ModelDeployment"]) -> int:
    from stacks.development.api_keys import list_api_keys

    keys = list_api_keys(CHECKOUT, environment)
    used: dict[str, Any] = {}
    if options.api_key_file is not None:
        numbers, _ = make().measure(environment, options.api_key_file)
        used = {each["sha256"]: each["last_used"] for each in numbers.get("keys", [])}
    for key in keys:
        at = used.get(key["sha256"])
        key["last_used"] = at and datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="seconds")
    answer = {"environment": environment, "keys": keys}
    lines = [
        f"{key['name']}  {key['sha256']}  {','.join(key['scopes'])}  made {key['created'] or 'unknown'}  "
        f"expires {key['expires'] or 'never'}  last used {key['last_used'] or _unknown(used)}"
        for key in keys
    ]
    show(options, answer, "\n".join(lines) or f"{environment} has no API keys")
    return 0


def _unknown(used: dict[str, Any]) -> str:
    return "not since the process started" if used else "unknown: give --api-key-file"
