"""XGBoost and LightGBM: every booster, their own files, gaps, categories and stopping early."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from lightgbm import LGBMClassifier
from xgboost import XGBClassifier, XGBRFClassifier

from tests.kinds.data import Data, codes, frame, numbers, part, sample_file, three_classes
from tests.kinds.kind import Group, Trained, probability, trained

xgb = Group("XGBoost")
lgb = Group("LightGBM")


def _xgb(**parameters: Any) -> XGBClassifier:
    return XGBClassifier(**{"n_estimators": 12, "n_jobs": 1, **parameters})


def _lgb(**parameters: Any) -> LGBMClassifier:
    return LGBMClassifier(**{"n_estimators": 12, "n_jobs": 1, "verbose": -1, **parameters})


def _add(group: Group, name: str, make: Callable[[], Any], data: Callable[[], Data], *, cheap: bool = False) -> None:
    def train(directory: Path) -> Trained:
        given = data()
        return trained(make().fit(given.train, given.target), given.rows)

    group.add(name, cheap=cheap)(train)


def _with_gaps() -> Data:
    return numbers(gaps=0.15)


def _with_zeros() -> Data:
    data = numbers(gaps=0.0)
    train, rows = (np.where(np.abs(part_) < 0.4, 0.0, part_) for part_ in (data.train, data.rows))
    return Data(train, ((train[:, 0] == 0) | (train[:, 1] > 0.6)).astype(int), rows)


_XGB: dict[str, tuple[Callable[[], Any], Callable[[], Data]]] = {
    "gbtree": (_xgb, numbers),
    "gbtree, gaps": (_xgb, _with_gaps),
    "dart": (lambda: _xgb(booster="dart", rate_drop=0.3), _with_gaps),
    "gblinear": (lambda: _xgb(booster="gblinear"), numbers),
    "exact tree method": (lambda: _xgb(tree_method="exact"), numbers),
    "num_parallel_tree": (lambda: _xgb(n_estimators=3, num_parallel_tree=4, subsample=0.5), numbers),
    "base_score": (lambda: _xgb(base_score=0.05), numbers),
    "leaves only": (lambda: _xgb(n_estimators=3, gamma=1e9, base_score=0.9), numbers),
    "colsample_bytree": (lambda: _xgb(colsample_bytree=0.6), numbers),
    "binary:hinge": (lambda: _xgb(objective="binary:hinge"), numbers),
    "multi:softprob of two classes": (lambda: _xgb(objective="multi:softprob", num_class=2), numbers),
    "XGBRFClassifier": (lambda: XGBRFClassifier(n_estimators=6, n_jobs=1), numbers),
    "categories by feature_types": (
        lambda: _xgb(enable_categorical=True, tree_method="hist", feature_types=["c", "q", "q", "q"]),
        lambda: codes(unseen=False),
    ),
}
for _name, (_make, _data) in _XGB.items():
    _add(xgb, _name, _make, _data, cheap=_name in ("gbtree, gaps", "gblinear"))


@xgb.add("missing=-999", cheap=True)
def missing_sentinel(directory: Path) -> Trained:
    data = numbers(gaps=0.2)
    train, rows = np.nan_to_num(data.train, nan=-999.0), np.nan_to_num(data.rows, nan=-999.0)
    target = ((train[:, 0] > 0) | (train[:, 1] == -999)).astype(int)
    return trained(_xgb(missing=-999.0).fit(train, target), rows)


@xgb.add("missing=0")
def missing_zero(directory: Path) -> Trained:
    data = _with_zeros()
    return trained(_xgb(missing=0.0).fit(data.train, data.target), data.rows)


@xgb.add("early stopping")
def early_stopping(directory: Path) -> Trained:
    data = numbers()
    model = _xgb(n_estimators=200, early_stopping_rounds=3)
    model.fit(data.train[:300], data.target[:300], eval_set=[(data.train[300:], data.target[300:])], verbose=False)
    return trained(model, data.rows)


@xgb.add("early stopping by callback")
def early_stopping_callback(directory: Path) -> Trained:
    data = numbers()
    model = _xgb(n_estimators=60, callbacks=[xgboost.callback.EarlyStopping(2, metric_name="logloss")])
    model.fit(data.train[:300], data.target[:300], eval_set=[(data.train[300:], data.target[300:])], verbose=False)
    return trained(model, data.rows)


@xgb.add("three classes")
def xgb_three_classes(directory: Path) -> Trained:
    data = three_classes()
    return trained(_xgb().fit(data.train, data.target), data.rows, 2, registration={"positive_class": 2})


@xgb.add("trained on a data frame", cheap=True)
def xgb_frame(directory: Path) -> Trained:
    data = part(frame(gaps=True), "amount", "age", "hour", "card_present")
    return trained(_xgb().fit(data.train, data.target), data.rows)


@xgb.add("categories of a data frame", cheap=True)
def xgb_categories(directory: Path) -> Trained:
    data = part(frame(gaps=True), "country", "amount", "age", "hour")
    assert isinstance(data.rows, pd.DataFrame)
    model = _xgb(enable_categorical=True).fit(data.train, data.target)
    unseen = data.rows[:2].assign(country=pd.Series(["XX", "DE"], dtype="category"))
    return trained(model, data.rows, refused=unseen[:1])


@xgb.add("a raw booster, pickled")
def raw_booster(directory: Path) -> Trained:
    data = numbers(gaps=0.15)
    booster = _xgb().fit(data.train, data.target).get_booster()
    return Trained(booster, data.rows, _xgb_scores(booster))


@xgb.add("a raw booster with names, stopped early")
def named_booster(directory: Path) -> Trained:
    data = numbers()
    names = ["amount", "age days", "score", "n"]
    first, second = (
        xgboost.DMatrix(data.train[where], data.target[where], feature_names=names)
        for where in (slice(0, 300), slice(300, None))
    )
    booster = xgboost.train(
        {"objective": "binary:logistic", "nthread": 1},
        first,
        200,
        evals=[(second, "second")],
        early_stopping_rounds=3,
        verbose_eval=False,
    )
    scores = _xgb_scores(booster, (0, booster.best_iteration + 1))
    return Trained(booster, pd.DataFrame(data.rows, columns=names), scores)


def _xgb_scores(booster: xgboost.Booster, iterations: tuple[int, int] = (0, 0)) -> Callable[[Any], np.ndarray]:
    """The booster's answers to rows as they are, as XGBoost's classifiers ask it.

    A DMatrix refuses numbers past 32 bits, which these do not.
    """

    def scores(rows: Any) -> np.ndarray:
        found = booster.inplace_predict(rows, iteration_range=iterations, missing=np.nan, validate_features=False)
        return np.asarray(found, dtype=np.float64)

    return scores


def _add_xgb_file(suffix: str) -> None:
    @xgb.add(f"its own file, .{suffix}")
    def own_file(directory: Path) -> Trained:
        data = numbers(gaps=0.15)
        model = _xgb().fit(data.train, data.target)
        path = directory / f"model.{suffix}"
        model.save_model(path)
        return Trained(path, data.rows, probability(model))

    @xgb.add(f"its own file, .{suffix}, of a data frame with categories")
    def own_file_of_a_frame(directory: Path) -> Trained:
        data = part(frame(), "country", "amount", "age", "card_present")
        model = _xgb(enable_categorical=True).fit(data.train, data.target)
        path = directory / f"model.{suffix}"
        model.save_model(path)
        return Trained(path, data.rows, probability(model))


for _suffix in ("json", "ubj"):
    _add_xgb_file(_suffix)


@xgb.add("its own file, three classes")
def own_file_three_classes(directory: Path) -> Trained:
    data = three_classes()
    model = _xgb().fit(data.train, data.target)
    path = directory / "model.json"
    model.save_model(path)
    return Trained(path, data.rows, probability(model, 0), registration={"positive_class": 0})


_LGB: dict[str, tuple[Callable[[], Any], Callable[[], Data]]] = {
    "gbdt": (_lgb, numbers),
    "gbdt, gaps": (_lgb, _with_gaps),
    "dart": (lambda: _lgb(boosting="dart", drop_rate=0.5), numbers),
    "rf": (lambda: _lgb(boosting="rf", bagging_freq=1, bagging_fraction=0.7), numbers),
    "goss": (lambda: _lgb(data_sample_strategy="goss"), numbers),
    "extra trees": (lambda: _lgb(extra_trees=True), numbers),
    "linear trees": (lambda: _lgb(linear_tree=True), numbers),
    "zero_as_missing": (lambda: _lgb(zero_as_missing=True), _with_zeros),
    "use_missing=False": (lambda: _lgb(use_missing=False), _with_gaps),
    "is_unbalance": (lambda: _lgb(is_unbalance=True), numbers),
    "cross entropy": (lambda: _lgb(objective="cross_entropy"), numbers),
}
for _name, (_make, _data) in _LGB.items():
    _add(lgb, _name, _make, _data, cheap=_name in ("gbdt, gaps", "linear trees", "zero_as_missing"))


@lgb.add("categories by index", cheap=True)
def lgb_codes(directory: Path) -> Trained:
    data = codes()
    return trained(_lgb().fit(data.train, data.target, categorical_feature=[0]), data.rows)


@lgb.add("categories of a data frame", cheap=True)
def lgb_categories(directory: Path) -> Trained:
    data = part(frame(gaps=True, unseen=True), "country", "amount", "age", "card_present")
    # LightGBM does not tell that a column was one of booleans.
    model = _lgb().fit(data.train, data.target)
    return trained(model, data.rows, registration={"sample": sample_file(data, directory)})


@lgb.add("early stopping")
def lgb_early_stopping(directory: Path) -> Trained:
    data = numbers()
    model = _lgb(n_estimators=100)
    stop = lightgbm.early_stopping(3, verbose=False)
    model.fit(data.train[:300], data.target[:300], eval_set=[(data.train[300:], data.target[300:])], callbacks=[stop])
    return trained(model, data.rows)


@lgb.add("three classes")
def lgb_three_classes(directory: Path) -> Trained:
    data = three_classes()
    return trained(_lgb().fit(data.train, data.target), data.rows, 2, registration={"positive_class": 2})


@lgb.add("labels fraud and legit")
def lgb_labels(directory: Path) -> Trained:
    data = numbers()
    return trained(_lgb().fit(data.train, data.named("fraud", "legit")), data.rows, "fraud")


@lgb.add("a raw booster, pickled")
def lgb_booster(directory: Path) -> Trained:
    data = numbers(gaps=0.15)
    booster = _lgb().fit(data.train, data.target).booster_
    return Trained(booster, data.rows, _lgb_scores(booster))


@lgb.add("its own file, .txt")
def lgb_file(directory: Path) -> Trained:
    data = numbers(gaps=0.15)
    booster = _lgb().fit(data.train, data.target).booster_
    path = directory / "model.txt"
    booster.save_model(path)
    return Trained(path, data.rows, _lgb_scores(booster))


@lgb.add("its own file, .txt, of a data frame with categories")
def lgb_file_of_a_frame(directory: Path) -> Trained:
    data = part(frame(gaps=True), "country", "amount", "age")
    booster = _lgb().fit(data.train, data.target).booster_
    path = directory / "model.txt"
    booster.save_model(path)
    return Trained(path, data.rows, _lgb_scores(booster))


def _lgb_scores(booster: lightgbm.Booster) -> Callable[[Any], np.ndarray]:
    return lambda rows: np.asarray(booster.predict(rows), dtype=np.float64)


@lgb.add("names with spaces, which it writes with underscores")
def names_with_spaces(directory: Path) -> Trained:
    data = numbers()
    train, rows = (
        pd.DataFrame(table, columns=["card type", "amount eur", "c", "d"]) for table in (data.train, data.rows)
    )
    model = _lgb().fit(train, data.target)
    path = sample_file(Data(train, data.target, rows), directory)
    return trained(model, rows, registration={"sample": path})
