"""Model files in the libraries' own formats: XGBoost's `.json` and `.ubj`, LightGBM's `.txt`.

Some malformed bytes make both libraries end the process, so this module checks the bytes first.
"""

from typing import TYPE_CHECKING, Any

from model_store.errors import InvalidInput, UnreadableModel
from model_store.serialization import native_models
from model_store.serialization.ubjson import read_ubjson

if TYPE_CHECKING:
    from model_store.serialization.native_models import LightGBMModel

_XGBOOST_CLASSIFIER = "xgboost.sklearn.XGBClassifier"
_NO_PROBABILITY = ("binary:logitraw",)
_LIGHTGBM_PROBABILITIES = ("binary", "multiclass", "multiclassova", "cross_entropy")


def xgboost_classifier(content: bytes, *, json_text: bool, versions: dict[str, str] | None = None) -> Any:
    """An `XGBClassifier` from what `save_model` wrote.

    Args:
        content: the file.
        json_text: whether it has to be JSON; UBJSON otherwise.
        versions: gets the version of XGBoost that wrote it, as it says.

    Raises:
        InvalidInput: its objective gives no probability.
        UnreadableModel: it is not an XGBoost model.
    """
    from model_store.serialization.structure.boosters import read_xgboost_json, require_xgboost

    try:
        document = read_xgboost_json(content) if json_text else read_ubjson(content, arrays=True)
        objective = document["learner"]["objective"]["name"]
        version = require_xgboost(document)
    except (ValueError, RecursionError) as error:
        raise UnreadableModel(f"not an XGBoost model in {'JSON' if json_text else 'UBJSON'} ({error})") from None
    except (KeyError, TypeError, IndexError):
        raise UnreadableModel("not an XGBoost model: it names no objective") from None
    if not str(objective).startswith(("binary:", "multi:")) or objective in _NO_PROBABILITY:
        raise InvalidInput(
            f"an XGBoost model with the objective {objective} gives no probability of a class; "
            "allowed: binary: and multi: objectives, without binary:logitraw"
        )
    if versions is not None and version:
        versions["xgboost"] = version
    return native_models.load_xgboost(content.strip() if json_text else content, _XGBOOST_CLASSIFIER)


def lightgbm_model(content: bytes) -> "LightGBMModel":
    """A model from what LightGBM's `Booster.save_model` wrote.

    Raises:
        InvalidInput: its objective gives no probability.
        UnreadableModel: it is not a LightGBM model.
    """
    if b"\r\n" in content[:4096]:
        raise UnreadableModel(
            "not a LightGBM model as LightGBM writes it: its lines end as on Windows, and it counts bytes; copy the "
            "file without changing its line ends"
        )
    from model_store.serialization.structure.boosters import require_lightgbm

    try:
        text = content.decode("utf-8")
        header = require_lightgbm(text)
    except ValueError as error:
        raise UnreadableModel(f"not a LightGBM model ({error})") from None
    objective = (header.get("objective") or "none").split()[0]
    if objective not in _LIGHTGBM_PROBABILITIES:
        raise InvalidInput(
            f"a LightGBM model with the objective {objective} gives no probability of a class; "
            f"allowed: {', '.join(_LIGHTGBM_PROBABILITIES)}"
        )
    return native_models.LightGBMModel(text)
