"""Runs under MLflow's own Python: makes models with MLflow, and reads exported ones. Imports nothing of this project.

mlflow_peer.py make DIRECTORY             models, and `answers.json` with what each answers to ROWS
mlflow_peer.py read QUESTIONS ANSWERS     {directory: {"columns", "rows"}} in, {directory: answers} out
"""

import json
import os
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
THREE = os.environ["RELEASE"] == "3"
ROWS = [[0.7, 3.0, 1.5], [-0.4, 12.0, -0.2], [2.2, 23.0, 0.1], [0.3, 0.0, -1.0]]
COLUMNS = ["amount", "hour", "distance"]


def make(directory: Path) -> None:
    """Models of every flavour, one of them logged in a run with metrics, parameters and tags."""
    import mlflow
    import numpy as np
    import pandas as pd
    from lightgbm import LGBMClassifier
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from xgboost import XGBClassifier

    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(300, 3)), columns=COLUMNS)
    fraud = (frame["amount"] + frame["hour"] > 0.3).astype(int)
    asked = pd.DataFrame(ROWS, columns=COLUMNS)
    signature = infer_signature(frame, fraud.to_numpy())
    answers: dict[str, list[float]] = {}
    pinned = {"pip_requirements": ["mlflow"]}

    def kept(name: str, model: object, rows: object = asked) -> Path:
        answers[name] = np.asarray(model.predict_proba(rows))[:, 1].tolist()
        return directory / name

    logistic = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, fraud)
    unnamed = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame.to_numpy(), fraud)
    booster = XGBClassifier(n_estimators=4, max_depth=2).fit(frame, fraud)
    nameless = XGBClassifier(n_estimators=4, max_depth=2).fit(frame.to_numpy(), fraud)
    light = LGBMClassifier(n_estimators=4, num_leaves=4, verbose=-1, n_jobs=1).fit(frame, fraud)
    sklearn, xgboost, lightgbm = mlflow.sklearn.save_model, mlflow.xgboost.save_model, mlflow.lightgbm.save_model

    cloud = {"serialization_format": "cloudpickle", "signature": signature, **pinned}
    sklearn(logistic, kept("sklearn-cloudpickle", logistic), **{**cloud, "metadata": {"owner": {"team": "cards"}}})
    sklearn(unnamed, kept("sklearn-unnamed", unnamed, asked.to_numpy()), **{**cloud, "serialization_format": "pickle"})
    xgboost(booster, kept("xgboost-class", booster), signature=signature, **pinned)
    xgboost(booster.get_booster(), kept("xgboost-booster", booster), model_format="json", **pinned)
    xgboost(
        nameless, kept("xgboost-xgb", nameless, asked.to_numpy()), model_format="xgb", signature=signature, **pinned
    )
    lightgbm(light, kept("lightgbm-class", light), signature=signature, **pinned)
    lightgbm(light.booster_, kept("lightgbm-booster", light), **pinned)
    if THREE:
        about = {**cloud, "serialization_format": "skops", "metadata": {"owner": {"team": "cards"}}}
        sklearn(logistic, kept("sklearn-skops", logistic), **about)
    own = make_pipeline(FunctionTransformer(lambda rows: rows * 2), LogisticRegression()).fit(frame, fraud)
    sklearn(own, directory / "own-code", **cloud)
    turned = infer_signature(frame[COLUMNS[::-1]], fraud.to_numpy())
    xgboost(booster, directory / "contradiction", signature=turned, **pinned)
    wide = infer_signature(np.zeros((2, 5)), np.zeros(2))
    xgboost(nameless, directory / "too-wide", signature=wide, **pinned)
    _log_a_run(directory, logistic, signature, frame)
    (directory / "answers.json").write_text(json.dumps({"columns": COLUMNS, "rows": ROWS, "answers": answers}))


def _log_a_run(directory: Path, model: object, signature: object, frame: object) -> None:
    import mlflow

    mlflow.set_tracking_uri((directory / "mlruns").as_uri())
    mlflow.set_experiment("cards")
    with mlflow.start_run(run_name="october-try") as run:
        mlflow.log_params({"C": 7, "rows": 300, "notes": "two\nlines | here"})
        for step, value in enumerate((0.91, 0.95, 0.94)):
            mlflow.log_metric("auc", value, step=step)
        mlflow.log_metric("val/precision", 0.5)
        mlflow.log_metric("lost", float("nan"))
        mlflow.set_tags({"team": "cards", "mlflow.note.content": "first try", "mlflow.user": "dana"})
        where = {"name": "model"} if THREE else {"artifact_path": "model"}
        mlflow.sklearn.log_model(
            model, **where, signature=signature, input_example=frame.head(2), serialization_format="cloudpickle",
            pip_requirements=["mlflow"], registered_model_name="card fraud",
        )  # fmt: skip
    (directory / "run_id").write_text(run.info.run_id)
    mlflow.artifacts.download_artifacts("models:/card fraud/1", dst_path=str(directory / "downloaded"))


def read(questions: Path, answers: Path) -> None:
    """What `pyfunc` and the flavour's own `load_model` answer to rows."""
    import mlflow
    import numpy as np
    import pandas as pd

    found = {}
    for directory, asked in json.loads(questions.read_text()).items():
        frame = pd.DataFrame(asked["rows"], columns=asked["columns"])
        if asked["categories"]:
            frame["merchant"] = frame["merchant"].astype("category")
        loaded = mlflow.pyfunc.load_model(directory)
        flavour = next(name for name in loaded.metadata.flavors if name != "python_function")
        own = getattr(mlflow, flavour).load_model(directory)
        rows = frame if asked["framed"] else frame.to_numpy()
        if not asked["framed"] and rows.shape[1] == 1:
            rows = rows[:, 0]
        scores = own.predict_proba(rows)[:, 1] if hasattr(own, "predict_proba") else own.predict(rows)
        inputs = loaded.metadata.get_input_schema()
        found[directory] = {
            "flavour": flavour,
            "predicted": np.asarray(loaded.predict(rows)).tolist(),
            "scores": np.asarray(scores).tolist(),
            "metadata": loaded.metadata.metadata,
            "inputs": inputs.input_names() if inputs is not None and inputs.has_input_names() else None,
        }
    answers.write_text(json.dumps(found))


if __name__ == "__main__":
    {"make": make, "read": read}[sys.argv[1]](*map(Path, sys.argv[2:]))
