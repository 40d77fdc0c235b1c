"""The rules: what a pickle may name (`rules.json`), and what each name may be used for (the forms).

`scripts/list_rules.py` writes `rules.json` from what the supported libraries really write, and says how.
"""

from functools import cache

from model_store.serialization.allow_list import listed
from model_store.serialization.structure import arrays, forms, libraries
from model_store.serialization.structure.rule import Rule, Rulebook


@cache
def rules() -> Rulebook:
    """Every rule."""
    known = {**forms.FORMS, **arrays.FORMS, **libraries.FORMS}
    by_name = {
        name: Rule(each.module, each.attribute, known[each.form], each.held, each.because)
        for name, each in listed().items()
    }
    return Rulebook(by_name, forms.FORMS["granted"])
