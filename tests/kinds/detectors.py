"""Anomaly detectors: the order of their own scores, and their own decisions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import SGDOneClassSVM
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from tests.kinds.data import numbers
from tests.kinds.kind import Group, Trained

anomalies = Group("anomaly detectors")

_DETECTORS: dict[str, Callable[[], Any]] = {
    "IsolationForest": lambda: IsolationForest(n_estimators=10, random_state=0),
    "IsolationForest, contamination 0.05": lambda: IsolationForest(n_estimators=10, contamination=0.05, random_state=0),
    "LocalOutlierFactor(novelty=True)": lambda: LocalOutlierFactor(novelty=True),
    "OneClassSVM": lambda: OneClassSVM(nu=0.1),
    "EllipticEnvelope": lambda: EllipticEnvelope(random_state=0),
    "SGDOneClassSVM": lambda: make_pipeline(Nystroem(n_components=20, random_state=0), SGDOneClassSVM(random_state=0)),
    "scaler before IsolationForest": lambda: make_pipeline(
        StandardScaler(), IsolationForest(n_estimators=10, random_state=0)
    ),
    "imputer before OneClassSVM": lambda: make_pipeline(SimpleImputer(), OneClassSVM(nu=0.1)),
}


def _add(name: str, make: Callable[[], Any]) -> None:
    def train(directory: Path) -> Trained:
        data = numbers(gaps=0.1 if name.startswith("imputer") else 0.0)
        model = make().fit(data.train)
        return Trained(
            model,
            data.rows,
            # The lower a detector's score, the more a row stands out.
            scores=lambda rows: -np.asarray(model.score_samples(rows), dtype=np.float64),
            threshold=None,
            frauds=lambda rows: model.predict(rows) == -1,
        )

    anomalies.add(name, cheap=name == "IsolationForest")(train)


for _name, _make in _DETECTORS.items():
    _add(_name, _make)
