"""The rules as data: what a pickle may name, and what each name may be used for (`rules.json`).

`scripts/list_rules.py` writes the file from what the supported libraries really write, and says how.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_store.serialization.names import present_name

if TYPE_CHECKING:
    from model_store.serialization.structure.forms import Form

RULES_FILE = Path(__file__).with_name("rules.json")


@dataclass(frozen=True)
class Rule:
    """What a pickle may do with one class or function.

    Attributes:
        module: where it is.
        attribute: its name there.
        form: how it is called, made and filled.
        held: whether a model may hold the class or function itself.
        because: why it is there.
    """

    module: str
    attribute: str
    form: "Form"
    held: bool
    because: str

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.module}.{self.attribute}"

    @classmethod
    def granted(cls, module: str, attribute: str) -> "Rule":
        """The rule for what a caller trusts by name: everything that a pickle can do with it."""
        from model_store.serialization.structure.forms import FORMS

        return cls(module, attribute, FORMS["granted"], held=True, because="the caller trusts it")


@cache
def rules() -> Mapping[str, Rule]:
    """Every rule by the full name."""
    from model_store.serialization.structure import arrays, forms, libraries

    known = {**forms.FORMS, **arrays.FORMS, **libraries.FORMS}
    content = json.loads(RULES_FILE.read_text(encoding="utf-8"))
    found = {}
    for heading, group in content.items():
        form = heading.removesuffix(", held")
        for module, names in group["names"].items():
            for name in names:
                found[f"{module}.{name}"] = Rule(module, name, known[form], group["held"], group["because"])
    return found


def rule_of(module: str, name: str) -> Rule | None:
    """The rule of a global as a pickle names it; names of Python 2 and of earlier versions are known."""
    module, name = present_name(module, name)
    return rules().get(f"{module}.{name}")


def full_name_of(value: Any) -> str:
    """The full name of a class or function, or that of an object's class."""
    if type(value).__module__.startswith("model_store."):
        return str(getattr(value, "full_name", None) or getattr(value, "name", type(value).__name__))
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', type(value).__name__)}"
