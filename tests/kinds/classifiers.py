"""scikit-learn's classifiers, one by one, and those that are made of others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes the next import possible
from sklearn.feature_selection import RFE, RFECV
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    PassiveAggressiveClassifier,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.metrics import fbeta_score, make_scorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid, RadiusNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.semi_supervised import LabelPropagation, LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC, LinearSVC, NuSVC
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from tests.kinds.data import PAST_32_BITS, Data, counts, numbers, three_classes
from tests.kinds.kind import Group, Trained, probability, trained

classifiers = Group("scikit-learn classifiers")
compositions = Group("scikit-learn compositions")
classes = Group("classes and thresholds")
LR = LogisticRegression


def _forest(trees: int = 8) -> RandomForestClassifier:
    return RandomForestClassifier(trees, random_state=0)


def _add(group: Group, name: str, make: Callable[[], Any], data: Callable[[], Data] = numbers, **more: Any) -> None:
    def train(directory: Path) -> Trained:
        given = data()
        return trained(make().fit(given.train, given.target), given.rows)

    group.add(name, **more)(train)


_ALL: dict[str, Callable[[], Any]] = {
    "AdaBoostClassifier": lambda: AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=6),
    "BaggingClassifier": lambda: BaggingClassifier(LR(), n_estimators=3, random_state=0),
    "BernoulliNB": lambda: BernoulliNB(binarize=0.2),
    "DecisionTreeClassifier": lambda: DecisionTreeClassifier(random_state=0),
    "DummyClassifier": lambda: DummyClassifier(strategy="prior"),
    "ExtraTreeClassifier": lambda: ExtraTreeClassifier(random_state=0),
    "ExtraTreesClassifier": lambda: ExtraTreesClassifier(8, random_state=0),
    "GaussianNB": GaussianNB,
    "GaussianProcessClassifier": lambda: GaussianProcessClassifier(optimizer=None),
    "GradientBoostingClassifier": lambda: GradientBoostingClassifier(n_estimators=10),
    "HistGradientBoostingClassifier": lambda: HistGradientBoostingClassifier(max_iter=15),
    "KNeighborsClassifier": lambda: KNeighborsClassifier(7, weights="distance"),
    "LabelPropagation": LabelPropagation,
    "LabelSpreading": LabelSpreading,
    "LinearDiscriminantAnalysis": LinearDiscriminantAnalysis,
    "LinearSVC": LinearSVC,
    "LogisticRegression": LR,
    "LogisticRegressionCV": lambda: LogisticRegressionCV(cv=2, Cs=3),
    "MLPClassifier": lambda: MLPClassifier((8,), max_iter=40, random_state=0),
    "NearestCentroid": NearestCentroid,
    "NuSVC": lambda: NuSVC(nu=0.2),
    "OneVsOneClassifier": lambda: OneVsOneClassifier(LinearSVC()),
    "OneVsRestClassifier": lambda: OneVsRestClassifier(LR()),
    "PassiveAggressiveClassifier": lambda: PassiveAggressiveClassifier(random_state=0),
    "Perceptron": lambda: Perceptron(random_state=0),
    "QuadraticDiscriminantAnalysis": QuadraticDiscriminantAnalysis,
    "RadiusNeighborsClassifier": lambda: RadiusNeighborsClassifier(1.0, outlier_label="most_frequent"),
    "RandomForestClassifier": lambda: _forest(20),
    "RidgeClassifier": RidgeClassifier,
    "RidgeClassifierCV": RidgeClassifierCV,
    "SGDClassifier": lambda: SGDClassifier(random_state=0),
    "SVC": SVC,
}
_COUNTS: dict[str, Callable[[], Any]] = {
    "CategoricalNB": CategoricalNB,
    "ComplementNB": ComplementNB,
    "MultinomialNB": MultinomialNB,
}
_CHEAP = {
    "DecisionTreeClassifier",
    "GaussianNB",
    "HistGradientBoostingClassifier",
    "LinearSVC",
    "LogisticRegression",
    "RandomForestClassifier",
}
for _name, _make in _ALL.items():
    _add(classifiers, _name, _make, cheap=_name in _CHEAP)
for _name, _make in _COUNTS.items():
    _add(classifiers, _name, _make, counts)

_VARIANTS: dict[str, Callable[[], Any]] = {
    "SGDClassifier, log loss": lambda: SGDClassifier(loss="log_loss", random_state=0),
    "SGDClassifier, modified Huber": lambda: SGDClassifier(loss="modified_huber", random_state=0),
    "SVC, probability": lambda: SVC(probability=True, random_state=0),
    "LogisticRegression, class weights": lambda: LR(class_weight={np.int64(0): 1.0, np.int64(1): 9.0}),
    "GradientBoostingClassifier, started by a regression": lambda: GradientBoostingClassifier(
        n_estimators=5, init=LR()
    ),
    "RandomForestClassifier, its own RandomState": lambda: RandomForestClassifier(
        5, random_state=np.random.RandomState(0)
    ),
    "HistGradientBoostingClassifier, early stopping": lambda: HistGradientBoostingClassifier(
        max_iter=40, early_stopping=True, random_state=0
    ),
}
for _name, _make in _VARIANTS.items():
    _add(classifiers, _name, _make)


@classifiers.add("SelfTrainingClassifier")
def self_training(directory: Path) -> Trained:
    data = numbers()
    target = np.where(np.arange(len(data.target)) % 3 == 0, -1, data.target)
    return trained(SelfTrainingClassifier(LR()).fit(data.train, target), data.rows)


@classifiers.add("RandomForestClassifier that is certain")
def certain_forest(directory: Path) -> Trained:
    data = numbers()
    assert isinstance(data.train, np.ndarray)
    model = _forest(20).fit(data.train, (data.train[:, 0] + data.train[:, 1] < 1).astype(int))
    past = np.array([[PAST_32_BITS, 0.0, 0.0, 0.0]])
    return trained(model, data.rows, refused=past)


_GRID = {"C": [0.1, 1.0]}
_COMPOSED: dict[str, Callable[[], Any]] = {
    "CalibratedClassifierCV, sigmoid": lambda: CalibratedClassifierCV(LinearSVC(), cv=3),
    "CalibratedClassifierCV, isotonic": lambda: CalibratedClassifierCV(_forest(5), method="isotonic", cv=3),
    "CalibratedClassifierCV, one model": lambda: CalibratedClassifierCV(LR(), cv=3, ensemble=False),
    "VotingClassifier, soft": lambda: VotingClassifier(
        [("a", LR()), ("b", _forest(5)), ("c", GaussianNB())], voting="soft", weights=[2, 1, 1]
    ),
    "StackingClassifier": lambda: StackingClassifier([("a", _forest(5)), ("b", LR())], cv=3),
    "StackingClassifier, passthrough": lambda: StackingClassifier(
        [("a", LinearSVC()), ("b", DecisionTreeClassifier(max_depth=3))], LR(), cv=3, passthrough=True
    ),
    "BaggingClassifier, some columns": lambda: BaggingClassifier(
        DecisionTreeClassifier(max_depth=3), n_estimators=4, max_features=0.5, random_state=0
    ),
    "GridSearchCV": lambda: GridSearchCV(LR(), _GRID, cv=2),
    "GridSearchCV, by ROC AUC": lambda: GridSearchCV(LR(), _GRID, cv=2, scoring="roc_auc"),
    "GridSearchCV, by average precision": lambda: GridSearchCV(LR(), _GRID, cv=2, scoring="average_precision"),
    "GridSearchCV, a scorer of one's own": lambda: GridSearchCV(
        LR(), _GRID, cv=2, scoring=make_scorer(fbeta_score, beta=2)
    ),
    "GridSearchCV, several scorers": lambda: GridSearchCV(
        LR(), _GRID, cv=2, scoring=["roc_auc", "f1"], refit="roc_auc"
    ),
    "RandomizedSearchCV": lambda: RandomizedSearchCV(LR(), _GRID, n_iter=2, cv=2, random_state=0, scoring="f1"),
    "HalvingGridSearchCV": lambda: HalvingGridSearchCV(LR(), _GRID, cv=2, random_state=0, scoring="roc_auc"),
    "HalvingRandomSearchCV": lambda: HalvingRandomSearchCV(LR(), _GRID, cv=2, random_state=0, scoring="roc_auc"),
    "RFE": lambda: RFE(LR(), n_features_to_select=2),
    "RFECV": lambda: RFECV(LR(), cv=2),
}
for _name, _make in _COMPOSED.items():
    _add(compositions, _name, _make)


@classes.add("FixedThresholdClassifier", cheap=True)
def fixed_threshold(directory: Path) -> Trained:
    data = numbers()
    model = FixedThresholdClassifier(LR(), threshold=0.1).fit(data.train, data.target)
    return trained(model, data.rows, threshold=0.1)


@classes.add("FixedThresholdClassifier, its threshold is of the other class")
def threshold_of_the_other_class(directory: Path) -> Trained:
    data = numbers()
    model = FixedThresholdClassifier(LR(), threshold=0.9).fit(data.train, data.named("fraud", "legit"))
    return trained(
        model, data.rows, "fraud", threshold=None, decisions=lambda rows: np.asarray(model.predict(rows)) == "fraud"
    )


@classes.add("FixedThresholdClassifier, by the decision function beside probabilities")
def threshold_of_another_score(directory: Path) -> Trained:
    data = numbers()
    inner = SVC(probability=True, random_state=0)
    model = FixedThresholdClassifier(inner, threshold=0.4, response_method="decision_function")
    model.fit(data.train, data.target)
    return trained(model, data.rows, threshold=None, decisions=lambda rows: np.asarray(model.predict(rows)) == 1)


@classes.add("TunedThresholdClassifierCV")
def tuned_threshold(directory: Path) -> Trained:
    data = numbers()
    model = TunedThresholdClassifierCV(LR(), scoring="balanced_accuracy", cv=3, random_state=0)
    model.fit(data.train, data.target)
    return trained(model, data.rows, threshold=float(model.best_threshold_))


@classes.add("threshold given, one of the model's own scores", cheap=True)
def own_score_as_threshold(directory: Path) -> Trained:
    data = numbers()
    model = _forest(20).fit(data.train, data.target)
    threshold = _middle(probability(model)(data.rows))
    return trained(model, data.rows, threshold=threshold, registration={"threshold": threshold})


@classes.add("threshold given, 0")
def everything_is_fraud(directory: Path) -> Trained:
    data = numbers()
    model = LR().fit(data.train, data.target)
    return trained(model, data.rows, threshold=0.0, registration={"threshold": 0.0})


def _middle(scores: np.ndarray) -> float:
    """A score of the middle, which has scores on both sides."""
    between = np.unique(scores[(scores > 0.1) & (scores < 0.9)])
    return float(between[len(between) // 2])


@classes.add("labels fraud and legit, fraud sorted first", cheap=True)
def string_labels(directory: Path) -> Trained:
    data = numbers()
    model = _forest(20).fit(data.train, data.named("fraud", "legit"))
    return trained(model, data.rows, "fraud")


@classes.add("labels fraud and legit, decision_function")
def string_labels_margin(directory: Path) -> Trained:
    data = numbers()
    model = LinearSVC().fit(data.train, data.named("fraud", "legit"))
    return trained(model, data.rows, "fraud")


@classes.add("labels a and b, positive_class given")
def letters(directory: Path) -> Trained:
    data = numbers()
    model = LR().fit(data.train, data.named("a", "b"))
    return trained(model, data.rows, "a", registration={"positive_class": "a"})


@classes.add("labels true and false")
def boolean_labels(directory: Path) -> Trained:
    data = numbers()
    model = LR().fit(data.train, data.target.astype(bool))
    return trained(model, data.rows, True)


@classes.add("labels 0 and 1, positive_class 0")
def turned_round(directory: Path) -> Trained:
    data = numbers()
    model = _forest().fit(data.train, 1 - data.target)
    return trained(model, data.rows, 0, registration={"positive_class": 0})


@classes.add("labels 0.0 and 1.0")
def float_labels(directory: Path) -> Trained:
    data = numbers()
    return trained(LR().fit(data.train, data.target.astype(float)), data.rows, 1.0)


@classes.add("three classes of numbers, the first is fraud", cheap=True)
def three_numbers(directory: Path) -> Trained:
    data = three_classes()
    model = LR().fit(data.train, data.target)
    return trained(model, data.rows, 0, registration={"positive_class": 0})


@classes.add("three classes with names, fraud in the middle")
def three_names(directory: Path) -> Trained:
    data = three_classes()
    model = _forest().fit(data.train, np.array(["chargeback", "review", "fraud"])[data.target])
    return trained(model, data.rows, "fraud", registration={"positive_class": "fraud"})
