#!/usr/bin/env python3
"""Shows as Markdown what a stack's config would change; changes nothing.

The config is the stack's file. Model version and rollout are the state's, unless the file names a version. Key files
are not needed: a preview takes the keys that the stack has.
With --drift it compares what runs with the stack.

exit codes: 0 the preview went through, 4 the state is damaged, 6 the passphrase is missing, 9 it was refused or the
stack has nothing to preview, 12 the state cannot be read, 14 there is no engine, 17 there is no such stack, 26 with
--drift: something differs
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

import yaml  # noqa: E402

from conventions import config_keys, exit_codes  # noqa: E402
from infra.errors import ConfigError, require_stack_config  # noqa: E402
from infra.yaml_files import read_yaml_file  # noqa: E402
from model_store.errors import ModelStoreError  # noqa: E402
from scripts.command_line import complain, progress  # noqa: E402
from scripts.preview_comment import Preview  # noqa: E402
from stacks.engine.reading import cannot_be_opened  # noqa: E402
from stacks.environments import DeploymentEnvironment  # noqa: E402
from stacks.errors import EngineMissing, StacksError  # noqa: E402

_EXAMPLES = """examples:
  make preview STACK=staging
  python scripts/preview_stack.py staging --model fraud_detector:12
  python scripts/preview_stack.py production --config-file changed.yaml
  python scripts/preview_stack.py production --drift"""
_OWN = f"{config_keys.PROJECT}:"


def main(arguments: list[str] | None = None) -> int:
    """Prints the Markdown; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        stack = DeploymentEnvironment.named(options.stack).stack
    except StacksError as error:
        complain(str(error))
        return error.exit_code
    try:
        found = _previewed(stack, options)
    except (ConfigError, ModelStoreError, StacksError) as error:
        complain(str(error))
        refused = {"steps": [], "diagnostics": [{"severity": "error", "message": str(error)}]}
        _write(stack, Preview.of(json.dumps(refused)).markdown(stack))
        return error.exit_code
    text = found.markdown(stack)
    _write(stack, text)
    print(text)
    if found.errors:
        return exit_codes.CONFIG_ERROR
    return exit_codes.DRIFTED if options.drift and found.changes else exit_codes.DONE


def _write(stack: str, text: str) -> None:
    """Keeps the Markdown for a job's summary and comment."""
    directory = CHECKOUT / ".run"
    directory.mkdir(exist_ok=True)
    (directory / f"preview-{stack}.md").write_text(text + "\n", encoding="utf-8")


def _previewed(stack: str, options: argparse.Namespace) -> Preview:
    from stacks.engine.workspace import exported_state

    directory = CHECKOUT / ".run"
    directory.mkdir(exist_ok=True)
    state = exported_state(CHECKOUT, stack)
    document = _document(stack, options, state)
    with TemporaryDirectory(prefix="preview-", dir=directory) as name:
        scratch = Path(name)
        variables, secrets = _backend_of(stack, state, scratch)
        file = scratch / f"Pulumi.{stack}.yaml"
        file.write_text(yaml.safe_dump({**secrets, **document}, sort_keys=False), encoding="utf-8")
        command = ["preview", "--json", "--stack", stack, "--non-interactive", "--config-file", str(file)]
        if options.drift:
            command += ["--refresh", "--expect-no-changes"]
        progress(f"previewing stack {stack}")
        done = _pulumi(*command, variables=variables)
    (directory / f"preview-{stack}.json").write_text(done.stdout, encoding="utf-8")
    try:
        found = Preview.of(done.stdout)
    except ValueError:
        raise ConfigError(cannot_be_opened(CHECKOUT, stack, f"{done.stderr}\n{done.stdout}")) from None
    sys.stderr.write(done.stderr)
    return found


def _backend_of(stack: str, state: Mapping[str, Any] | None, scratch: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The engine's variables for a preview, and what encrypts the stack's secrets.

    A stack that the backend does not have yet is previewed on an empty state of its own, which is removed afterwards.
    """
    from stacks.engine.backend import SecretsProvider
    from stacks.engine.secrets_provider import require_secrets_provider
    from stacks.engine.workspace import engine_environment

    if state is not None:
        provider = SecretsProvider.of(state)
        require_secrets_provider(CHECKOUT, stack, provider)
        return engine_environment(CHECKOUT, DeploymentEnvironment.named(stack)), provider.in_file if provider else {}
    progress(f"the backend has no stack {stack} yet: the preview shows what its first deployment would make")
    (scratch / "Pulumi.yaml").write_text(f"name: {config_keys.PROJECT}\nruntime: python\n", encoding="utf-8")
    (scratch / "state").mkdir()
    own = {"PULUMI_BACKEND_URL": f"file://{scratch / 'state'}", "PULUMI_CONFIG_PASSPHRASE": "of an empty state"}
    variables = {**engine_environment(CHECKOUT, DeploymentEnvironment.named(stack)), **own}
    made = _pulumi("stack", "init", stack, "--no-select", "--non-interactive", variables=variables, directory=scratch)
    if made.returncode != 0:
        raise ConfigError(cannot_be_opened(CHECKOUT, stack, made.stderr))
    found = _read(scratch / f"Pulumi.{stack}.yaml")
    return variables, {"encryptionsalt": found["encryptionsalt"]}


def _pulumi(
    *arguments: str, variables: Mapping[str, str], directory: Path = CHECKOUT
) -> subprocess.CompletedProcess[str]:
    """Runs the engine."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, **variables, "PATH": programs}
    try:
        return subprocess.run(
            ["pulumi", *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise EngineMissing("there is no `pulumi` to run; run: python -m toolchain") from None


def _document(stack: str, options: argparse.Namespace, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """The stack's file, with the version or the values that the options give."""
    from stacks.engine.workspace import outputs_of

    path = CHECKOUT / f"Pulumi.{stack}.yaml"
    document = _read(path)
    if options.config_file is not None:
        # Of a file from elsewhere the program's own values alone: no secrets provider, no setting of a plugin.
        changed = _read(options.config_file)["config"]
        values = {key: value for key, value in document["config"].items() if not key.startswith(_OWN)}
        values |= {key: value for key, value in changed.items() if key.startswith(_OWN)}
    else:
        values = document["config"]
    environment = DeploymentEnvironment.named(stack)
    if options.model:
        from model_store.registry.aliases import Aliases
        from stacks.registry_access import open_registry

        values[config_keys.MODEL_VERSION] = Aliases(open_registry(CHECKOUT)).resolve(options.model)
    # The program reads the version of the state by itself; it cannot tell a person of `make preview`.
    if options.drift and not outputs_of(state).get("modelVersion"):
        raise ConfigError(f"nothing is deployed in {environment}: there is nothing to compare with")
    if not values.get(config_keys.MODEL_VERSION) and not outputs_of(state).get("modelVersion"):
        raise ConfigError(
            f"{path.name}: {config_keys.MODEL_VERSION} is not set, and nothing is deployed in {environment} yet. "
            f"Name a version to preview: make preview STACK={stack} MODEL_ID=NAME:NUMBER "
            "(list them: python scripts/manage_models.py list)"
        )
    return {**document, "config": values}


def _read(path: Path) -> dict[str, Any]:
    """A stack's file, with an object at `config`."""
    document = read_yaml_file(path, "the stack's config") or {}
    require_stack_config(document, path)
    return {**document, "config": {str(key): value for key, value in (document.get("config") or {}).items()}}


def _parser() -> argparse.ArgumentParser:
    summary, _, rest = str(__doc__).partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="preview_stack.py",
        description=summary,
        epilog=f"{_EXAMPLES}\n\n{rest}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stack", metavar="STACK", help="dev, staging or production")
    parser.add_argument("--model", metavar="MODEL_ID", help="preview this version in place of the deployed one")
    parser.add_argument("--config-file", type=Path, metavar="FILE", help="values of another Pulumi.<stack>.yaml")
    parser.add_argument("--drift", action="store_true", help="compare what runs with the stack; 26 when it differs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
