"""Ordinary searches for parameters: those that have to load by default."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from scripts.ordinary_data import ROWS, Data


def searches(data: Data) -> Iterator[tuple[Any, ...]]:
    """Searches for parameters, by scoring, by range and by how the rows are split."""
    from scipy import stats
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.feature_selection import SelectKBest, f_classif, mutual_info_classif
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import fbeta_score, make_scorer
    from sklearn.model_selection import (
        GridSearchCV,
        HalvingGridSearchCV,
        HalvingRandomSearchCV,
        RandomizedSearchCV,
    )
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import Pipeline

    grid = partial(GridSearchCV, LogisticRegression(), {"C": [0.1, 1]}, cv=2)
    for scoring in ("roc_auc", "average_precision", "f1", "neg_log_loss", "recall_macro", "neg_brier_score"):
        yield f"search by {scoring}", grid(scoring=scoring)
    yield "search by several", grid(scoring=["roc_auc", "f1"], refit="f1")
    yield "search by a made scorer", grid(scoring=make_scorer(fbeta_score, beta=2))
    choice = {"choose__score_func": [f_classif, mutual_info_classif], "choose__k": [1, 2]}
    pipeline = Pipeline([("choose", SelectKBest()), ("model", LogisticRegression())])
    yield "search over functions", GridSearchCV(pipeline, choice, cv=2)
    ranges = (
        {"C": stats.loguniform(0.1, 1), "tol": stats.uniform(0.0001, 0.001), "max_iter": stats.randint(50, 90)},
        {"C": stats.expon(1), "tol": stats.beta(2, 3)},
        {"C": stats.gamma(2), "tol": stats.truncnorm(0.1, 1)},
        {"C": stats.lognorm(1), "tol": stats.halfnorm(0.1)},
        {"C": stats.norm(5, 0.1), "max_iter": stats.poisson(60)},
    )
    for number, values in enumerate(ranges):
        model = RandomizedSearchCV(LogisticRegression(), values, n_iter=2, cv=2, random_state=np.random.RandomState(0))
        yield f"random search {number}", model
    yield "halving", HalvingGridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2)
    yield "halving at random", HalvingRandomSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2, scoring="roc_auc")
    yield (
        "a network trained by gradient descent",
        MLPClassifier((3,), solver="sgd", max_iter=5),
        data.numbers,
        data.target,
    )
    yield from _splits(data)


def _splits(data: Data) -> Iterator[tuple[Any, ...]]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import (
        GridSearchCV,
        GroupKFold,
        GroupShuffleSplit,
        KFold,
        LeaveOneGroupOut,
        LeaveOneOut,
        PredefinedSplit,
        RepeatedKFold,
        RepeatedStratifiedKFold,
        ShuffleSplit,
        StratifiedGroupKFold,
        StratifiedShuffleSplit,
        TimeSeriesSplit,
    )

    grid = partial(GridSearchCV, LogisticRegression(), {"C": [0.1, 1]}, cv=2)
    repeated = RepeatedStratifiedKFold(n_splits=2, n_repeats=1)
    halves = PredefinedSplit(np.arange(ROWS) % 2)
    splits: list[Any] = [KFold(2), repeated, halves, ShuffleSplit(2), StratifiedShuffleSplit(2), TimeSeriesSplit(2)]
    splits += [RepeatedKFold(n_splits=2, n_repeats=1), LeaveOneOut()]
    for split in splits:
        yield f"search with {type(split).__name__}", grid(cv=split)
    groups = {"groups": np.arange(ROWS) % 5}
    for split in (StratifiedGroupKFold(2), GroupKFold(2), GroupShuffleSplit(2), LeaveOneGroupOut()):
        yield f"search with {type(split).__name__}", grid(cv=split), data.numbers, data.target, groups
