"""Forms of the boosters of XGBoost and LightGBM: their models are parsed before the library sees them."""

from collections.abc import Mapping
from typing import Any

from model_store.serialization.structure.boosters import require_lightgbm, require_xgboost, xgboost_document
from model_store.serialization.structure.forms.objects import ObjectForm, run_check
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Form, Rule


class XGBoostForm(ObjectForm):
    """`xgboost.core.Booster`: its model in UBJSON or JSON."""

    needs_state = True

    def look(self, machine: Machine, rule: Rule, instance: Any, state: dict[str, Any]) -> None:
        """Checks the model's numbers."""
        handle = state.get("handle")
        if type(handle) is not bytearray:
            machine.refuse("state", "a booster of XGBoost has no model", rule.name)
        version = run_check(machine, rule, require_xgboost, run_check(machine, rule, xgboost_document, handle))
        if version:
            machine.versions["xgboost"] = version


class LightGBMForm(ObjectForm):
    """`lightgbm.basic.Booster`: its model as a text."""

    needs_state = True

    def look(self, machine: Machine, rule: Rule, instance: Any, state: dict[str, Any]) -> None:
        """Checks the model's numbers."""
        found = [state[name] for name in ("_handle", "handle") if name in state]
        if len(found) != 1 or type(found[0]) is not str:
            machine.refuse("state", "a booster of LightGBM has no model", rule.name)
        run_check(machine, rule, require_lightgbm, found[0])


FORMS: Mapping[str, Form] = {
    "XGBoost": XGBoostForm(),
    "LightGBM": LightGBMForm(),
}
