"""What the shell offers after a Tab: environments, and what a registry in a directory holds.

A registry elsewhere is not asked, and no engine is started: an answer takes less time than a keystroke. A file that
cannot be read offers nothing, because a message would stand in the middle of the command that is being typed.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click

from conventions import variables
from conventions.environments import ENVIRONMENTS

_STATUSES = ("trained", "validated", "staged", "deployed", "deprecated", "archived")
_CHECKOUT = Path(__file__).resolve().parents[1]


def environments(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """The environments that begin with what is typed."""
    return [name for name in ENVIRONMENTS if name.startswith(typed)]


def statuses(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """The statuses of a model version that begin with what is typed."""
    return [name for name in _STATUSES if name.startswith(typed)]


def models(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """The model ids, and the aliases in the form `name@alias`, that begin with what is typed."""
    root = _registry()
    found = [path.name for path in _paths(root, "models/*/*")]
    for file in _paths(root, "aliases/*.json"):
        found += [f"{file.stem}@{alias}" for alias, entry in _entries(file) if entry.get("model_id")]
    return sorted(name for name in found if name.startswith(typed))


def model_names(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """The model names that begin with what is typed."""
    return sorted(path.name for path in _paths(_registry(), "models/*") if path.name.startswith(typed))


def aliases(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """The aliases that begin with what is typed: of the model that is named, else of all."""
    name = context.params.get("name") or "*"
    found = {
        alias
        for file in _paths(_registry(), "aliases/*.json")
        if name in ("*", file.stem)
        for alias, entry in _entries(file)
        if entry.get("model_id")
    }
    return sorted(alias for alias in found if alias.startswith(typed))


def deployments(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """The deployment ids that begin with what is typed, newest first."""
    found: set[str] = set()
    for file in _paths(_registry(), "models/*/*/state.json"):
        for key, value in _entries(file):
            if key == "deployments" and isinstance(value, list):
                found.update(str(each.get("deployment_id", "")) for each in value if isinstance(each, dict))
    # A plain `pulumi up` has its id in the stack's history alone.
    offered = [each for each in found if each.startswith("deploy_") and each.startswith(typed)]
    return sorted(offered, key=lambda each: each[-15:], reverse=True)


def _registry() -> Path | None:
    location = os.environ.get(variables.MODEL_REGISTRY_URL) or str(_CHECKOUT / "registry")
    if location.startswith("file://"):
        return Path(unquote(urlsplit(location).path))
    return None if "://" in location else Path(location)


def _paths(root: Path | None, pattern: str) -> list[Path]:
    try:
        return [path for path in root.glob(pattern) if not path.name.startswith(".")] if root else []
    except OSError:
        return []


def _entries(file: Path) -> Iterator[tuple[str, Any]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(content, dict):
        yield from content.items()
