"""Models as people really have them, tiny: what they are pickled to makes the allow-list, and has to load by it."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from scripts.ordinary_data import ROWS, Data, data_sets
from scripts.ordinary_searches import searches


@dataclass(frozen=True)
class OrdinaryModel:
    """An unfitted model with what it is trained on.

    Attributes:
        label: what it is, for a person.
        fit: trains it and gives it back.
        rows: what it is asked with.
    """

    label: str
    fit: Callable[[], Any]
    rows: Any


def ordinary_models() -> Iterator[OrdinaryModel]:
    """Every kind that has to load by default, with parameters other than the default ones."""
    data = data_sets()
    for family in (_classifiers, _wrappers, searches, _anomalies, _steps, _columns, _texts, _resampling, _boosting):
        for label, model, *rest in family(data):
            rows = rest[0] if rest else data.numbers
            target = rest[1] if len(rest) > 1 else data.target
            more = rest[2] if len(rest) > 2 else {}
            yield OrdinaryModel(label, partial(_fitted, model, rows, target, more), rows)
    yield from _raw_boosters(data)


def _fitted(model: Any, rows: Any, target: Any, more: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(rows, target, **more)


def _classifiers(data: Data) -> Iterator[tuple[Any, ...]]:
    from sklearn.ensemble import (
        AdaBoostClassifier,
        BaggingClassifier,
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.gaussian_process import GaussianProcessClassifier, kernels
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, SGDClassifier
    from sklearn.metrics.pairwise import rbf_kernel
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    hist = partial(HistGradientBoostingClassifier, max_iter=2)
    yield "categories by index", hist(categorical_features=[0]), data.codes
    yield "categories by name", hist(categorical_features=["merchant"]), data.categories
    yield "categories by dtype", hist(categorical_features="from_dtype"), data.categories
    yield "early stopping by a scorer", hist(early_stopping=True, scoring="roc_auc")
    yield "text labels", LogisticRegression(), data.numbers, np.where(data.target, "fraud", "legit")
    yield "labels of a frame", hist(), data.numbers, pd.Series(np.where(data.target, "fraud", "legit"))
    yield "weights by numpy's numbers", LogisticRegression(class_weight={np.int64(0): 1.0, np.int64(1): 9.0})
    yield "logistic regression with its own search", LogisticRegressionCV(cv=2, Cs=2, scoring="roc_auc")
    for loss in ("modified_huber", "log_loss", "squared_hinge", "huber", "epsilon_insensitive", "perceptron"):
        yield f"SGD {loss}", SGDClassifier(loss=loss)
    yield "AdaBoost of trees", AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=2)
    from sklearn.semi_supervised import SelfTrainingClassifier

    yield "self-training", SelfTrainingClassifier(LogisticRegression())
    yield "bagging", BaggingClassifier(LogisticRegression(), n_estimators=2)
    yield "boosting with a first model", GradientBoostingClassifier(n_estimators=2, init=LogisticRegression())
    yield "boosting, exponential", GradientBoostingClassifier(n_estimators=2, loss="exponential", n_iter_no_change=2)
    yield "old random state", RandomForestClassifier(2, random_state=np.random.RandomState(0))
    for metric in ("manhattan", "chebyshev", "cosine", "canberra", "hamming", "braycurtis"):
        yield f"neighbours by {metric}", KNeighborsClassifier(metric=metric, weights="distance")
    yield "neighbours by p=3 in a tree", KNeighborsClassifier(p=3, algorithm="ball_tree")
    yield "neighbours by haversine", KNeighborsClassifier(metric="haversine"), data.numbers[:, :2]
    scale = KNeighborsClassifier(metric="mahalanobis", algorithm="ball_tree", metric_params={"VI": np.eye(3)})
    yield "neighbours by mahalanobis", scale
    yield "kernel by function", SVC(kernel=rbf_kernel)
    kernel = kernels.RBF() * kernels.Matern() + kernels.WhiteKernel() + kernels.RationalQuadratic()
    kernel = kernel + kernels.ConstantKernel() ** 2 * kernels.DotProduct() + kernels.ExpSineSquared()
    yield "sums and products of kernels", GaussianProcessClassifier(kernel, optimizer=None)


def _wrappers(data: Data) -> Iterator[tuple[Any, ...]]:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
    from sklearn.frozen import FrozenEstimator
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

    logistic = LogisticRegression()
    for method in ("sigmoid", "isotonic", "temperature"):
        yield f"calibrated, {method}", CalibratedClassifierCV(logistic, method=method, cv=2)
    yield "calibrated, frozen", CalibratedClassifierCV(FrozenEstimator(logistic.fit(data.numbers, data.target)))
    yield "fixed threshold", FixedThresholdClassifier(logistic, threshold=0.3)
    yield "tuned threshold", TunedThresholdClassifierCV(logistic, cv=2)
    yield "tuned threshold by F1", TunedThresholdClassifierCV(logistic, cv=2, scoring="f1", store_cv_results=True)
    members = [("a", logistic), ("b", RandomForestClassifier(2))]
    yield "soft votes", VotingClassifier(members, voting="soft")
    yield "stack", StackingClassifier(members, cv=2)
    logarithm = TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1)
    yield "transformed target", logarithm, data.numbers, np.abs(data.numbers[:, 0])


def _anomalies(data: Data) -> Iterator[tuple[Any, ...]]:
    from sklearn.covariance import EllipticEnvelope
    from sklearn.ensemble import IsolationForest
    from sklearn.linear_model import SGDOneClassSVM
    from sklearn.neighbors import LocalOutlierFactor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import OneClassSVM

    yield "isolation forest", IsolationForest(n_estimators=2, contamination=0.1)
    yield (
        "isolation forest of a frame",
        make_pipeline(StandardScaler(), IsolationForest(n_estimators=2)),
        data.two_columns,
    )
    for model in (LocalOutlierFactor(novelty=True), OneClassSVM(), SGDOneClassSVM(), EllipticEnvelope()):
        yield type(model).__name__, model


def _steps(data: Data) -> Iterator[tuple[Any, ...]]:
    import joblib
    from scipy.special import expit
    from sklearn import feature_selection as choice
    from sklearn import preprocessing
    from sklearn.cluster import FeatureAgglomeration
    from sklearn.decomposition import PCA, FastICA, TruncatedSVD
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion, make_pipeline
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

    logistic = LogisticRegression()
    steps: list[Any] = [
        *[FunctionTransformer(function) for function in (None, np.log1p, np.sqrt, np.abs, np.cbrt, np.round, expit)],
        FunctionTransformer(np.square, np.sqrt, validate=True, feature_names_out="one-to-one"),
        FunctionTransformer(np.clip, kw_args={"a_min": -1, "a_max": 1}),
        FunctionTransformer(partial(np.nan_to_num, nan=-1.0)),
        KNNImputer(add_indicator=True),
        IterativeImputer(max_iter=2),
        IterativeImputer(RandomForestRegressor(2), max_iter=1),
        SimpleImputer(strategy="most_frequent", add_indicator=True),
        preprocessing.KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"),
        preprocessing.KBinsDiscretizer(3, encode="onehot-dense", strategy="uniform"),
        preprocessing.SplineTransformer(n_knots=5),
        preprocessing.SplineTransformer(n_knots=5, extrapolation="periodic", sparse_output=True),
        preprocessing.PolynomialFeatures(interaction_only=True),
        preprocessing.PowerTransformer("yeo-johnson"),
        preprocessing.QuantileTransformer(n_quantiles=5, output_distribution="normal"),
        preprocessing.RobustScaler(),
        PCA(2, whiten=True),
        FastICA(2, fun="exp", max_iter=5),
        TruncatedSVD(2),
        FeatureAgglomeration(2),
        FeatureAgglomeration(2, pooling_func=np.median),
        GaussianRandomProjection(2),
        SparseRandomProjection(2),
        choice.SelectKBest(choice.mutual_info_classif, k=2),
        choice.SelectKBest(choice.f_regression, k=2),
        choice.SelectPercentile(choice.r_regression),
        choice.GenericUnivariateSelect(choice.mutual_info_regression, mode="k_best", param=2),
        choice.SelectFromModel(RandomForestClassifier(2)),
        choice.RFE(logistic),
        choice.RFECV(logistic, cv=2, scoring="roc_auc"),
        choice.SequentialFeatureSelector(logistic, cv=2, scoring="f1"),
        FeatureUnion([("scaled", preprocessing.StandardScaler()), ("same", "passthrough"), ("two", PCA(2))]),
        "passthrough",
    ]
    for number, step in enumerate(steps):
        yield f"step {number}: {type(step).__name__}", make_pipeline(step, logistic)
    yield "chi2", make_pipeline(preprocessing.MinMaxScaler(), choice.SelectKBest(choice.chi2, k=2), logistic)
    frames = preprocessing.StandardScaler().set_output(transform="pandas")
    yield "frames between steps", make_pipeline(frames, logistic), data.two_columns
    memory = joblib.Memory(location=None, verbose=0)
    yield "memory between steps", make_pipeline(preprocessing.StandardScaler(), logistic, memory=memory)


def _columns(data: Data) -> Iterator[tuple[Any, ...]]:
    from sklearn.compose import ColumnTransformer, make_column_selector
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

    logistic = LogisticRegression()

    def pipeline(*parts: tuple[Any, Any], remainder: Any = "drop") -> Any:
        named = [(f"{number}", step, columns) for number, (step, columns) in enumerate(parts)]
        return make_pipeline(ColumnTransformer(named, remainder=remainder), logistic)

    merchant, amount = ["merchant"], ["amount"]
    encoders: list[Any] = [
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5, sparse_output=False),
        OneHotEncoder(drop="first"),
        OneHotEncoder(categories=[data.categories["merchant"].cat.categories]),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
        TargetEncoder(cv=2),
    ]
    for frame_name, frame in (("text", data.frame), ("category", data.categories)):
        for number, encoder in enumerate(encoders):
            yield (
                f"{type(encoder).__name__} {number} of {frame_name}",
                pipeline((encoder, merchant), ("passthrough", amount)),
                frame,
            )
    objects = data.frame.astype({"merchant": object})
    yield "encoder of objects", pipeline((OneHotEncoder(), merchant), remainder="passthrough"), objects
    by_index = pipeline((OneHotEncoder(), [0]), (StandardScaler(), slice(1, 2)), remainder=StandardScaler())
    yield "columns by index", by_index, data.codes
    mask = np.array([True, False, False])
    yield "columns by mask", pipeline((OneHotEncoder(), mask), remainder="passthrough"), data.codes
    selected = pipeline(
        (OneHotEncoder(), make_column_selector(dtype_include=["object", "str"])),
        (StandardScaler(), make_column_selector(dtype_include=np.number)),
        (FunctionTransformer(np.log1p), make_column_selector(pattern="amount")),
    )
    yield "columns by selector", selected, data.frame
    by_category = make_column_selector(dtype_include="category")
    yield "categories by selector", pipeline((OneHotEncoder(), by_category), ("drop", ["hour"])), data.categories
    names = data.two_columns.columns
    yield "columns by a frame's own names", pipeline((StandardScaler(), names)), data.frame
    yield "columns by a frame's names, as objects", pipeline((StandardScaler(), names.astype(object))), data.frame
    indexes = [
        ("numbers", pd.Index([1, 2])),
        ("a range", pd.RangeIndex(1, 3)),
        ("categories", pd.CategoricalIndex(names)),
    ]
    for name, index in indexes:
        yield f"columns by an index of {name}", pipeline((StandardScaler(), index)), data.frame
    plain = pd.Index(["amount", "hour"], dtype=pd.StringDtype("python"))
    yield "columns by an index of plain text", pipeline((StandardScaler(), plain)), data.frame
    frames = ColumnTransformer([("a", OneHotEncoder(sparse_output=False), merchant)], remainder="passthrough")
    yield "frames of columns", make_pipeline(frames.set_output(transform="pandas"), logistic), data.frame


def _texts(data: Data) -> Iterator[tuple[Any, ...]]:
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction import DictVectorizer, FeatureHasher
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = [
        TfidfVectorizer(stop_words="english", ngram_range=(1, 2)),
        CountVectorizer(analyzer="char_wb", binary=True),
    ]
    for vectorizer in (*words, HashingVectorizer(n_features=16)):
        yield type(vectorizer).__name__, make_pipeline(vectorizer, LogisticRegression()), data.texts
    frame = pd.DataFrame({"text": data.texts, "amount": data.frame["amount"]})
    columns = ColumnTransformer([("words", TfidfVectorizer(), "text"), ("same", "passthrough", ["amount"])])
    yield "text beside numbers", make_pipeline(columns, LogisticRegression()), frame
    records = [{"amount": float(number), "merchant": f"m{number % 3}"} for number in range(ROWS)]
    for step in (DictVectorizer(), FeatureHasher(8)):
        yield type(step).__name__, make_pipeline(step, LogisticRegression()), records


def _resampling(data: Data) -> Iterator[tuple[Any, ...]]:
    from imblearn import FunctionSampler, combine, ensemble, over_sampling, under_sampling
    from imblearn.pipeline import make_pipeline
    from sklearn.linear_model import LogisticRegression

    for package in (over_sampling, under_sampling, combine):
        for name in package.__all__:
            arguments: dict[str, Any] = {"categorical_features": [0]} if name == "SMOTENC" else {}
            if name == "ADASYN":
                continue  # Below: it refuses classes of the same size.
            if name == "KMeansSMOTE":
                arguments = {"cluster_balance_threshold": 0.01}
            rows = data.codes if name in ("SMOTENC", "SMOTEN") else data.numbers
            yield (
                f"{name} in a pipeline",
                make_pipeline(getattr(package, name)(**arguments), LogisticRegression()),
                rows,
            )
    counts = under_sampling.RandomUnderSampler(sampling_strategy={0: 10, 1: 10})
    few = (np.arange(ROWS) % 4 == 0).astype(int)
    yield "ADASYN in a pipeline", make_pipeline(over_sampling.ADASYN(), LogisticRegression()), data.numbers, few
    yield "sampler by counts", make_pipeline(counts, LogisticRegression())
    yield "sampler without a function", make_pipeline(FunctionSampler(), LogisticRegression())
    for name in ensemble.__all__:
        yield name, getattr(ensemble, name)(n_estimators=2)


def _boosting(data: Data) -> Iterator[tuple[Any, ...]]:
    from lightgbm import LGBMClassifier, LGBMRanker
    from sklearn.metrics import log_loss
    from xgboost import XGBClassifier, XGBRanker, callback

    xgboost = partial(XGBClassifier, n_estimators=2, max_depth=2)
    lightgbm = partial(LGBMClassifier, n_estimators=2, verbose=-1, min_child_samples=5)
    three = np.arange(ROWS) % 3
    watched = {"eval_set": [(data.numbers, data.target)], "verbose": False}
    for booster in ("gbtree", "dart", "gblinear"):
        yield f"XGBoost {booster}", xgboost(booster=booster)
    yield "XGBoost of a frame", xgboost(), data.two_columns
    yield "XGBoost with categories", xgboost(enable_categorical=True), data.categories
    yield "XGBoost with a value for gaps", xgboost(missing=-999)
    yield (
        "XGBoost that stops early",
        xgboost(early_stopping_rounds=1, eval_metric="auc"),
        data.numbers,
        data.target,
        watched,
    )
    early = [callback.EarlyStopping(rounds=1, metric_name="logloss"), callback.EvaluationMonitor(period=100)]
    yield "XGBoost with callbacks", xgboost(callbacks=early), data.numbers, data.target, watched
    yield "XGBoost by scikit-learn's metric", xgboost(eval_metric=log_loss), data.numbers, data.target, watched
    for state in (np.random.RandomState(0), np.random.default_rng(0)):
        yield f"XGBoost from a {type(state).__name__}", xgboost(random_state=state)
    yield "XGBoost, three classes", xgboost(), data.numbers, three
    yield "XGBoost ranking", XGBRanker(n_estimators=2), data.numbers, data.target, {"qid": np.zeros(ROWS, int)}
    for boosting in ("gbdt", "dart", "rf"):
        more: dict[str, Any] = {"bagging_freq": 1, "bagging_fraction": 0.5} if boosting == "rf" else {}
        yield f"LightGBM {boosting}", lightgbm(boosting_type=boosting, **more)
    yield "LightGBM goss", lightgbm(data_sample_strategy="goss")
    yield "LightGBM with categories", lightgbm(), data.categories
    yield "LightGBM with linear trees", lightgbm(linear_tree=True)
    yield "LightGBM, zero is a gap", lightgbm(zero_as_missing=True, random_state=np.random.RandomState(0))
    yield "LightGBM, three classes", lightgbm(), data.numbers, three
    yield "LightGBM ranking", LGBMRanker(n_estimators=2, verbose=-1), data.numbers, data.target, {"group": [ROWS]}


def _raw_boosters(data: Data) -> Iterator[OrdinaryModel]:
    import lightgbm
    import xgboost

    def train_xgboost() -> Any:
        return xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(data.numbers, data.target), 2)

    def train_lightgbm() -> Any:
        training = lightgbm.Dataset(data.numbers, data.target)
        return lightgbm.train({"objective": "binary", "verbose": -1}, training, 2)

    yield OrdinaryModel("raw XGBoost booster", train_xgboost, data.numbers)
    yield OrdinaryModel("raw LightGBM booster", train_lightgbm, data.numbers)
