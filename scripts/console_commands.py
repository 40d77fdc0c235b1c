"""The command of `deploy_model.py` that opens the console."""

import json
from pathlib import Path

import click

from scripts.command_line import Option, Options, Program, Run, add_command, path_type, progress

CHECKOUT = Path(__file__).resolve().parents[1]


def add_console_command(commands: Program, program: str) -> None:
    """Adds console.

    Args:
        commands: the program.
        program: its name, for examples.
    """

    def _console(options: Options) -> int:
        from console.oidc import OidcSettings
        from console.server import serve
        from console.settings import ConsoleSettings

        options.status_line.stop()
        if options.host is not None and options.oidc is None:
            raise click.UsageError("--host needs --oidc FILE: one-time addresses are for this machine alone")
        oidc = OidcSettings.from_file(options.oidc) if options.oidc is not None else None
        settings = ConsoleSettings(
            CHECKOUT,
            options.port,
            options.host or "127.0.0.1",
            oidc.public_url if oidc is not None else "",
            options.api_key_file,
        )

        def ready(url: str, sign_in: str) -> None:
            if options.json:
                click.echo(json.dumps({"url": url, "sign_in": sign_in}))
            else:
                once = "open" if oidc is not None else "open once, within ten minutes"
                click.echo(f"the console listens on {url}; Ctrl-C ends it\n{once}:\n  {sign_in}")

        def again(sign_in: str) -> None:
            progress(f"signed in; for another browser, once, within ten minutes: {sign_in}")

        serve(settings, ready, again, oidc)
        return 0

    _declare(commands, program, _console)


def _declare(commands: Program, program: str, run: Run) -> None:
    add_command(
        commands,
        "console",
        run,
        "open the console: versions, environments, rollouts, decisions and the audit log in a browser",
        f"{program} console\n  {program} console --port 0 --json",
        *_options(),
    )


def _options() -> list[Option]:
    return [
        Option(
            "--port",
            type=click.IntRange(min=0, max=65535),
            default=8765,
            metavar="PORT",
            help="on 127.0.0.1; 0 takes a free one (8765)",
        ),
        Option(
            "--oidc",
            type=path_type(),
            metavar="FILE",
            help="for a team: JSON with issuer, client_id, client_secret_file and public_url; people sign in there",
        ),
        Option("--host", metavar="ADDRESS", help="with --oidc, the address to listen on (127.0.0.1)"),
        Option(
            "--api-key-file",
            type=path_type(),
            metavar="FILE",
            help="file with an API key that has the scope admin, for the numbers of endpoints (.secrets/api_key)",
        ),
    ]
