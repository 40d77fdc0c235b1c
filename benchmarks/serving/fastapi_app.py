"""A service as in tutorials: FastAPI with a pydantic model and XGBoost's scikit-learn interface."""

import os
from pathlib import Path

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, create_model
from xgboost import XGBClassifier

_FEATURES = [f"f{number}" for number in range(30)]
_model = XGBClassifier()
_model.load_model(Path(os.environ["MODEL_DIRECTORY"]) / "model.ubj")
Transaction: type[BaseModel] = create_model("Transaction", **dict.fromkeys(_FEATURES, (float, ...)))  # type: ignore[call-overload]


class Body(BaseModel):
    """One transaction, or several."""

    transaction: Transaction | None = None  # type: ignore[valid-type]
    transactions: list[Transaction] = []  # type: ignore[valid-type]


app = FastAPI()


@app.get("/health/ready")
def ready() -> dict[str, str]:
    """Whether it answers."""
    return {"status": "ready"}


@app.post("/predict")
def predict(body: Body) -> dict[str, list[float]]:
    """Probabilities."""
    rows = [body.transaction] if body.transaction else body.transactions
    array = np.array([[getattr(row, name) for name in _FEATURES] for row in rows])
    return {"predictions": _model.predict_proba(array)[:, 1].tolist()}
