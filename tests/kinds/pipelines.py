"""Pipelines: every encoder, scaler and imputer, other steps, and resampling."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from imblearn.ensemble import BalancedRandomForestClassifier, EasyEnsembleClassifier
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline as make_resampling_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes the next import possible
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold, mutual_info_classif
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from xgboost import XGBClassifier

from tests.kinds.data import codes, frame, numbers, part
from tests.kinds.kind import Group, Trained, trained

encoders = Group("encoders of columns")
steps = Group("scalers, imputers and other steps")
resampling = Group("imbalanced-learn")
LR = LogisticRegression


# Encoders: merchants by name beside two numbers.
def _encoded(encoder: Any) -> Any:
    columns = ColumnTransformer([("merchant", encoder, ["merchant"]), ("rest", StandardScaler(), ["amount", "age"])])
    return make_pipeline(columns, LR())


def _ordinal(unknown: float) -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=unknown)


_ENCODERS: dict[str, tuple[Callable[[], Any], bool]] = {
    "OneHotEncoder, unknown is an error": (OneHotEncoder, False),
    "OneHotEncoder, unknown is ignored": (lambda: OneHotEncoder(handle_unknown="ignore"), True),
    "OneHotEncoder, infrequent ones together": (
        lambda: OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=110),
        True,
    ),
    "OneHotEncoder, dense, the first dropped": (lambda: OneHotEncoder(sparse_output=False, drop="first"), False),
    "OrdinalEncoder, unknown is an error": (OrdinalEncoder, False),
    "OrdinalEncoder, unknown is -1": (lambda: _ordinal(-1), True),
    "TargetEncoder": (lambda: TargetEncoder(random_state=0), True),
}


def _add_encoder(name: str, make: Callable[[], Any], takes_unseen: bool) -> None:
    def train(directory: Path) -> Trained:
        data = part(frame(unseen=takes_unseen), "merchant", "amount", "age")
        assert isinstance(data.rows, pd.DataFrame)
        refused = None if takes_unseen else data.rows[:3].assign(merchant="never seen")
        return trained(_encoded(make()).fit(data.train, data.target), data.rows, refused=refused)

    encoders.add(name, cheap=name.startswith("OneHotEncoder, un"))(train)


for _name, (_make, _takes_unseen) in _ENCODERS.items():
    _add_encoder(_name, _make, _takes_unseen)


@encoders.add("OneHotEncoder of codes by index", cheap=True)
def one_hot_codes(directory: Path) -> Trained:
    data = codes(unseen=False)
    columns = ColumnTransformer([("code", OneHotEncoder(), [0]), ("rest", StandardScaler(), [1, 2, 3])])
    model = make_pipeline(columns, LR()).fit(data.train, data.target)
    return trained(model, data.rows, refused=np.array([[99.0, 0.0, 0.0, 0.0]]))


@encoders.add("OneHotEncoder of gaps, which are a category")
def one_hot_gaps(directory: Path) -> Trained:
    data = part(frame(gaps=True, unseen=True), "merchant", "country")
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LR()).fit(data.train, data.target)
    return trained(model, data.rows)


# Steps between numbers and a classifier.
_STEPS: dict[str, tuple[Callable[[], Any], float]] = {
    "StandardScaler": (StandardScaler, 0),
    "MinMaxScaler, clipped": (lambda: MinMaxScaler(clip=True), 0),
    "MaxAbsScaler": (MaxAbsScaler, 0),
    "RobustScaler": (RobustScaler, 0),
    "QuantileTransformer": (lambda: QuantileTransformer(n_quantiles=50, output_distribution="normal"), 0),
    "PowerTransformer": (PowerTransformer, 0),
    "Normalizer": (Normalizer, 0),
    "Binarizer": (lambda: Binarizer(threshold=0.3), 0),
    "KBinsDiscretizer": (lambda: KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), 0),
    "SplineTransformer": (lambda: SplineTransformer(n_knots=4), 0),
    "PolynomialFeatures": (lambda: PolynomialFeatures(2), 0),
    "PCA": (lambda: PCA(2), 0),
    "TruncatedSVD": (lambda: TruncatedSVD(2, random_state=0), 0),
    "SelectKBest": (lambda: SelectKBest(k=2), 0),
    "SelectKBest, mutual information": (lambda: SelectKBest(mutual_info_classif, k=2), 0),
    "SelectFromModel": (lambda: SelectFromModel(RandomForestClassifier(3, random_state=0)), 0),
    "VarianceThreshold": (VarianceThreshold, 0),
    "FeatureUnion": (lambda: FeatureUnion([("scaled", StandardScaler()), ("folded", PCA(2))]), 0),
    "SimpleImputer, median": (lambda: SimpleImputer(strategy="median"), 0.15),
    "SimpleImputer, constant and indicator": (
        lambda: SimpleImputer(strategy="constant", fill_value=-7, add_indicator=True),
        0.15,
    ),
    "SimpleImputer and MissingIndicator": (
        lambda: FeatureUnion([("filled", SimpleImputer()), ("gap", MissingIndicator(features="all"))]),
        0.15,
    ),
    "KNNImputer": (KNNImputer, 0.15),
    "IterativeImputer": (lambda: IterativeImputer(max_iter=3, random_state=0), 0.15),
    "set_output(transform='pandas')": (lambda: StandardScaler().set_output(transform="pandas"), 0),
}


def _add_step(name: str, make: Callable[[], Any], gaps: float) -> None:
    def train(directory: Path) -> Trained:
        data = numbers(gaps=gaps)
        refused = None if gaps else np.array([[np.nan, 0.0, 0.0, 0.0]])
        return trained(make_pipeline(make(), LR()).fit(data.train, data.target), data.rows, refused=refused)

    steps.add(name, cheap=name in ("StandardScaler", "SimpleImputer, median"))(train)


for _name, (_make, _gaps) in _STEPS.items():
    _add_step(_name, _make, _gaps)


@steps.add("SimpleImputer, -1 is a gap")
def imputer_of_a_sentinel(directory: Path) -> Trained:
    data = numbers(gaps=0.15, extremes=False)
    train, rows = np.nan_to_num(data.train, nan=-1.0), np.nan_to_num(data.rows, nan=-1.0)
    return trained(make_pipeline(SimpleImputer(missing_values=-1), LR()).fit(train, data.target), rows)


@steps.add("FunctionTransformer of numpy.log1p", cheap=True)
def log_amounts(directory: Path) -> Trained:
    data = numbers(extremes=False)
    train, rows = np.abs(data.train) * 100, np.abs(data.rows) * 100
    model = make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LR()).fit(train, train[:, 0] > 80)
    return trained(model, rows, True, refused=np.array([[-2.0, 0.0, 0.0, 0.0]]))


@steps.add("FunctionTransformer of nothing")
def identity(directory: Path) -> Trained:
    data = numbers()
    return trained(make_pipeline(FunctionTransformer(), LR()).fit(data.train, data.target), data.rows)


@steps.add("ColumnTransformer by index, passthrough", cheap=True)
def passthrough_by_index(directory: Path) -> Trained:
    data = numbers()
    columns = ColumnTransformer([("a", StandardScaler(), [0, 2]), ("b", "passthrough", [1]), ("c", "drop", [3])])
    return trained(make_pipeline(columns, LR()).fit(data.train, data.target), data.rows)


@steps.add("ColumnTransformer, the remainder passes through")
def remainder(directory: Path) -> Trained:
    data = numbers()
    columns = ColumnTransformer([("a", MinMaxScaler(), slice(0, 2))], remainder="passthrough")
    model = make_pipeline(columns, RandomForestClassifier(8, random_state=0)).fit(data.train, data.target)
    return trained(model, data.rows)


_RESAMPLING: dict[str, Callable[[], Any]] = {
    "SMOTE in a pipeline": lambda: make_resampling_pipeline(StandardScaler(), SMOTE(random_state=0), LR()),
    "RandomUnderSampler before a forest": lambda: make_resampling_pipeline(
        RandomUnderSampler(random_state=0), RandomForestClassifier(8, random_state=0)
    ),
    "RandomOverSampler before XGBoost": lambda: make_resampling_pipeline(
        RandomOverSampler(random_state=0), XGBClassifier(n_estimators=8, n_jobs=1)
    ),
    "BalancedRandomForestClassifier": lambda: BalancedRandomForestClassifier(8, random_state=0),
    "EasyEnsembleClassifier": lambda: EasyEnsembleClassifier(
        3, estimator=AdaBoostClassifier(n_estimators=4), random_state=0
    ),
}


def _add_resampling(name: str, make: Callable[[], Any]) -> None:
    def train(directory: Path) -> Trained:
        data = numbers()
        return trained(make().fit(data.train, data.target), data.rows)

    resampling.add(name)(train)


for _name, _make in _RESAMPLING.items():
    _add_resampling(_name, _make)
