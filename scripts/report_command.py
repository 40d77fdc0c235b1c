"""The command of `deploy_model.py` that writes a report for an auditor."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import completion
from scripts.command_line import Argument, Option, Options, Program, add_command, path_type, show
from scripts.times import When

if TYPE_CHECKING:
    from stacks.deployment import ModelDeployment

_KEY = Path(__file__).resolve().parents[1] / ".secrets" / "api_key"
_BROWSERS = ("chromium", "google-chrome", "chromium-browser")
_PRINT_SECONDS = 120


def add_report_command(commands: Program, program: str, make: "Callable[[], ModelDeployment]") -> None:
    """Adds report.

    Args:
        commands: the program.
        program: its name, for examples.
        make: makes what knows the stacks.
    """

    def _report(options: Options) -> int:
        if options.verify is not None:
            return _verify(options)
        return _write(options, make())

    environment = Argument(
        "environment", "development, staging or production", required=False, shell_complete=completion.environments
    )
    add_command(
        commands,
        "report",
        _report,
        "write a signed page for an auditor: what served, by whom, why, with which evidence; or verify one",
        f"{program} report production --since 2026-10-01 --sign-key .secrets/signing.key --out october.html\n"
        f"  {program} report --verify october.html --public-key KEY",
        environment,
        Option("--since", type=When(), metavar="TIME", help="from when; a date is the day in UTC"),
        Option("--until", type=When(), metavar="TIME", help="until when; a date is the whole day in UTC (now)"),
        Option("--out", type=path_type(), metavar="FILE", help="where the page goes"),
        Option("--pdf", type=path_type(), metavar="FILE", help="also print the page to a PDF, by Chromium"),
        Option(
            "--sign-key", type=path_type(), metavar="FILE", help="an Ed25519 key: manage_models.py keygen --signing"
        ),
        Option("--verify", type=path_type(), metavar="FILE", help="verify a report's signature"),
        Option("--public-key", multiple=True, metavar="KEY", help="with --verify, a key that is trusted"),
        Option(
            "--api-key-file",
            type=path_type(),
            default=_KEY,
            metavar="FILE",
            help="file with an API key that has the scope admin, for what the endpoint measures (.secrets/api_key)",
        ),
    )


def _write(options: Options, deployments: "ModelDeployment") -> int:
    from console.report import Period, make_report, sign_report, signer
    from model_store.registry.signing import read_signing_key
    from model_store.storage.atomic_file import atomic_write
    from stacks.environments import DeploymentEnvironment

    lacking = [
        name
        for name, given in (
            ("ENVIRONMENT", options.environment),
            ("--since", options.since),
            ("--out", options.out),
            ("--sign-key", options.sign_key),
        )
        if given is None
    ]
    if lacking:
        raise click.UsageError(f"a report needs {', '.join(lacking)}")
    browser = _browser() if options.pdf is not None else ""
    named, key = DeploymentEnvironment.named(options.environment), read_signing_key(options.sign_key)
    page = make_report(deployments, str(named), Period.of(options.since, options.until), options.api_key_file)
    content = sign_report(page, key)
    with atomic_write(options.out) as file:
        file.write(content)
    if browser:
        _print(browser, options.out, options.pdf)
    told = {"out": str(options.out), "bytes": len(content), "key_id": signer(key), "environment": str(named)}
    show(options, told, f"wrote {options.out}, {len(content)} bytes, signed by {told['key_id']}")
    return 0


def _verify(options: Options) -> int:
    from console.report import verify_report
    from conventions.regular_files import open_regular
    from model_store.registry.signing import parse_public_key

    if not options.public_key:
        raise click.UsageError("--verify needs --public-key KEY: a signature by any key proves nothing")
    with open_regular(options.verify) as file:
        content = file.read()
    name = verify_report(content, [parse_public_key(text) for text in options.public_key])
    show(options, {"file": str(options.verify), "key_id": name}, f"{options.verify} is as {name} signed it")
    return 0


def _browser() -> str:
    for name in _BROWSERS:
        if found := shutil.which(name):
            return found
    raise click.UsageError("--pdf needs Chromium; on Debian: apt-get install chromium")


def _print(browser: str, page: Path, target: Path) -> None:
    command = [browser, "--headless=new", "--disable-gpu", "--no-pdf-header-footer"]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's own sandbox refuses root
    command += [f"--print-to-pdf={target.resolve()}", page.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PRINT_SECONDS)
    if done.returncode != 0 or not target.exists():
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise click.ClickException(f"Chromium did not print {page}: {last}")
