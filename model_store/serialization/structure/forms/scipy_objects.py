"""Forms of scipy: sparse matrices and splines."""

from collections.abc import Mapping
from typing import Any

from model_store.serialization.structure import numbers
from model_store.serialization.structure.forms.objects import ObjectForm, run_check
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Form, Rule


class SparseForm(ObjectForm):
    """A sparse matrix in compressed rows or columns."""

    needs_state = True

    def __init__(self, *, by_column: bool) -> None:
        self._by_column = by_column

    def look(self, machine: Machine, rule: Rule, instance: Any, state: dict[str, Any]) -> None:
        """Checks its indexes."""
        run_check(machine, rule, numbers.require_sparse, state, by_column=self._by_column)


class SplineForm(ObjectForm):
    """`scipy.interpolate.BSpline`."""

    needs_state = True

    def look(self, machine: Machine, rule: Rule, instance: Any, state: dict[str, Any]) -> None:
        """Checks its knots."""
        knots, coefficients = (state.get(f"_{name}", state.get(name)) for name in "tc")
        run_check(machine, rule, numbers.require_spline, knots, coefficients, state.get("k"))


FORMS: Mapping[str, Form] = {
    "sparse rows": SparseForm(by_column=False),
    "sparse columns": SparseForm(by_column=True),
    "spline": SplineForm(),
}
