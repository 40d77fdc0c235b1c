"""The rules: what a pickle may name (`rules.json`), and what each name may be used for (the forms).

`scripts/list_rules.py` writes `rules.json` from what the supported libraries really write, and says how.
"""

from collections.abc import Mapping
from functools import cache

from model_store.serialization.allow_list import listed
from model_store.serialization.structure.forms import (
    arrays,
    arrow,
    boosters,
    compiled,
    joblib_arrays,
    objects,
    pandas_objects,
    python_types,
    random_generators,
    scikit_learn,
    scipy_objects,
    stand_ins,
)
from model_store.serialization.structure.rule import Form, Rule, Rulebook

FORMS: Mapping[str, Form] = {
    **objects.FORMS,
    **python_types.FORMS,
    **compiled.FORMS,
    **stand_ins.FORMS,
    **arrays.FORMS,
    **random_generators.FORMS,
    **joblib_arrays.FORMS,
    **scikit_learn.FORMS,
    **boosters.FORMS,
    **scipy_objects.FORMS,
    **pandas_objects.FORMS,
    **arrow.FORMS,
}
"""Every form by its name in `rules.json`."""


@cache
def rules() -> Rulebook:
    """Every rule."""
    by_name = {
        name: Rule(each.module, each.attribute, FORMS[each.form], each.held, each.because)
        for name, each in listed().items()
    }
    return Rulebook(by_name, FORMS["granted"])
