"""Ways to abuse files that are not pickles: skops, ONNX, XGBoost, LightGBM."""

from tests.unit.model_store.serialization.booster_mechanisms import BOOSTERS
from tests.unit.model_store.serialization.onnx_mechanisms import ONNX
from tests.unit.model_store.serialization.skops_mechanisms import SKOPS

FILES = (*SKOPS, *ONNX, *BOOSTERS)
