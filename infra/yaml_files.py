"""Reads the YAML files that people write: each key once, values of a bounded number, errors in one line."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from conventions.regular_files import read_text
from infra.errors import ConfigError, describe_yaml_error

_MOST_VALUES = 100_000
_DEEPEST = 50


class _Loader(yaml.SafeLoader):
    """Refuses a key that an object has twice: readers differ in which of the two counts."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        found = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in found:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value[:100]!r} is there twice", problem_mark=key.start_mark
                )
            found.add(name)
        return node


def read_yaml_file(path: Path, what: str) -> Any:
    """The value of a file with one YAML document.

    Args:
        path: of the file.
        what: what the file is, for messages, such as `the template`.

    Raises:
        ConfigError: it cannot be read or is not valid YAML, has a key twice, or is too large by its aliases.
    """
    try:
        loader = _Loader(read_text(path))
        value = loader.get_single_data()
        _require_bounded(value)
    except OSError as error:
        raise ConfigError(f"{path}: {what} cannot be read ({error.strerror})") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML (it is nested too deeply)") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not valid YAML ({describe_yaml_error(error)})") from None
    return value


def _require_bounded(value: Any) -> None:
    """Raises ValueError where aliases refer to themselves, or make many values of few."""
    count, level = 0, [value]
    for _ in range(_DEEPEST):
        following = []
        for item in (item for each in level for item in _items(each)):
            following.append(item)
            count += 1
            if count > _MOST_VALUES:
                raise ValueError(f"it has more than {_MOST_VALUES} values")
        if not following:
            return
        level = following
    raise ValueError(f"it is nested more than {_DEEPEST} levels deep")


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return chain(value.keys(), value.values())
    return value if isinstance(value, list | tuple | set) else ()
