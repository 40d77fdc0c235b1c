"""The error of a stack's config, raised before anything changes."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from conventions import exit_codes

_LONGEST = 300


class ConfigError(Exception):
    """A template or a stack's config is not allowed; the message names file, key, value and the allowed values."""

    exit_code = exit_codes.CONFIG_ERROR


def require_stack_config(document: object, path: Path) -> None:
    """Raises unless a YAML document is a stack's config.

    Raises:
        ConfigError: it is not an object, or its `config` is not one.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("config") or {}, Mapping):
        raise ConfigError(f"{path}: not a stack's config; allowed: an object with config, an object")


def describe_yaml_error(error: Exception) -> str:
    """Returns where and why a text is not YAML in one line; PyYAML and ruamel.yaml name both alike."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or not problem:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def show_value(value: object) -> str:
    """Formats a value of a config for a message: objects and lists as JSON, without the password of an address."""
    structured = isinstance(value, Mapping | list | tuple)
    text = json.dumps(value, default=str, ensure_ascii=False) if structured else repr(value)
    text = re.sub(r"//[^/@\s]*@", "//…@", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
