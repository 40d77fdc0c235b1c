"""Models of data frames: columns by name, index and selector, text, categories, gaps."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from xgboost import XGBClassifier

from tests.kinds.data import Data, codes, frame, numbers, part, sample_file
from tests.kinds.kind import Group, Trained, probability, trained

frames = Group("data frames")
LR = LogisticRegression


@frames.add("ColumnTransformer by name, imputers, one-hot, passthrough", cheap=True)
def by_name(directory: Path) -> Trained:
    data = part(frame(gaps=True, unseen=True), "merchant", "amount", "age", "hour")
    text = make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore"))
    columns = ColumnTransformer(
        [
            ("text", text, ["merchant"]),
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["amount", "age"]),
            ("rest", "passthrough", ["hour"]),
        ]
    )
    return trained(make_pipeline(columns, LR()).fit(data.train, data.target), data.rows)


@frames.add("ColumnTransformer by selector")
def by_selector(directory: Path) -> Trained:
    data = part(frame(unseen=True), "merchant", "country", "amount", "age", "hour")
    columns = ColumnTransformer(
        [
            (
                "text",
                OneHotEncoder(handle_unknown="ignore"),
                make_column_selector(dtype_exclude="number"),
            ),
            ("numbers", StandardScaler(), make_column_selector(dtype_include="number")),
        ]
    )
    model = make_pipeline(columns, LR()).fit(data.train, data.target)
    return trained(model, data.rows, registration={"sample": sample_file(data, directory)})


@frames.add("whole numbers, booleans, categories and times, with a sample", cheap=True)
def every_column(directory: Path) -> Trained:
    data = frame(unseen=True)
    columns = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore"), ["merchant", "country", "card_present"]),
            ("numbers", StandardScaler(), ["amount", "hour"]),
            ("time", StandardScaler(), ["when"]),
        ]
    )
    model = make_pipeline(columns, LR()).fit(data.train, data.target)
    return trained(model, data.rows, registration={"sample": sample_file(data, directory)})


@frames.add("booleans pass through to trees")
def booleans(directory: Path) -> Trained:
    data = part(frame(), "amount", "card_present", "hour")
    model = RandomForestClassifier(8, random_state=0).fit(data.train, data.target)
    return trained(model, data.rows, registration={"sample": sample_file(data, directory)})


@frames.add("TfidfVectorizer of a text column")
def tfidf(directory: Path) -> Trained:
    data = part(frame(), "note", "amount")
    columns = ColumnTransformer([("note", TfidfVectorizer(), "note"), ("amount", StandardScaler(), ["amount"])])
    return trained(make_pipeline(columns, LR()).fit(data.train, data.target), data.rows)


@frames.add("CountVectorizer and HashingVectorizer of two text columns")
def counted_words(directory: Path) -> Trained:
    data = part(frame(), "note", "merchant")
    columns = ColumnTransformer(
        [
            ("note", CountVectorizer(ngram_range=(1, 2)), "note"),
            ("merchant", HashingVectorizer(n_features=32), "merchant"),
        ]
    )
    return trained(make_pipeline(columns, LR()).fit(data.train, data.target), data.rows)


@frames.add("HistGradientBoostingClassifier, categories by index")
def hist_by_index(directory: Path) -> Trained:
    data = codes()
    model = HistGradientBoostingClassifier(max_iter=15, categorical_features=[0]).fit(data.train, data.target)
    return trained(model, data.rows)


@frames.add("HistGradientBoostingClassifier, categories from_dtype", cheap=True)
def hist_from_dtype(directory: Path) -> Trained:
    data = part(frame(gaps=True, unseen=True), "country", "amount", "age", "hour")
    model = HistGradientBoostingClassifier(max_iter=15, categorical_features="from_dtype")
    return trained(model.fit(data.train, data.target), data.rows)


@frames.add("XGBoost behind three text and several number columns with gaps")
def text_before_xgboost(directory: Path) -> Trained:
    data = part(frame(gaps=True, unseen=True), "merchant", "country", "note", "amount", "age", "hour")
    text = make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore"))
    columns = ColumnTransformer(
        [("text", text, ["merchant", "country", "note"]), ("numbers", "passthrough", ["amount", "age", "hour"])]
    )
    model = make_pipeline(columns, XGBClassifier(n_estimators=10, n_jobs=1)).fit(data.train, data.target)
    return trained(model, data.rows)


_NAMES = {
    "spaces, brackets and umlauts": ["amount (EUR)", "Größe [m²]", "a.b/c<1", "%"],
    "quotes and backslashes": ['height 5"', "C:\\amount", "it's", "`x`"],
    "line breaks and tabs": ["line\nbreak", "tab\t", " ", "last\r"],
    "the envelope's own": ["transaction", "transactions", "model_id", "f0"],
    "methods and keywords of Python": ["class", "__init__", "count", "0"],
}


@frames.add("ids of 17 digits")
def long_ids(directory: Path) -> Trained:
    data = numbers(extremes=False)
    rng = np.random.default_rng(6)
    train, rows = (pd.DataFrame({"id": 10**16 + rng.integers(0, 30, len(table)), "x": table[:, 0]})
                   for table in (np.asarray(data.train), np.asarray(data.rows)))  # fmt: skip
    target = (train["id"] % 3 == 0).to_numpy().astype(int)
    columns = ColumnTransformer(
        [("id", OneHotEncoder(handle_unknown="ignore", min_frequency=3), ["id"])], remainder="passthrough"
    )
    return trained(make_pipeline(columns, LR()).fit(train, target), rows)


@frames.add("times in seconds, scaled")
def times_in_seconds(directory: Path) -> Trained:
    data = part(frame(), "when", "amount")
    train, rows = (table.astype({"when": "datetime64[s]"}) for table in (data.train, data.rows))
    target = (train["when"] > train["when"].median()).to_numpy().astype(int)
    columns = ColumnTransformer([("when", StandardScaler(), ["when"]), ("amount", StandardScaler(), ["amount"])])
    model = make_pipeline(columns, LR()).fit(train, target)
    path = sample_file(Data(train, target, rows), directory)
    return trained(model, rows, registration={"sample": path})


@frames.add("booleans with gaps, one-hot")
def booleans_with_gaps(directory: Path) -> Trained:
    data = part(frame(), "card_present", "amount")
    train, rows = (table.astype({"card_present": object}) for table in (data.train, data.rows))
    for table in (train, rows):
        table.iloc[::7, 0] = np.nan
    columns = ColumnTransformer(
        [("card", OneHotEncoder(handle_unknown="ignore"), ["card_present"])], remainder="passthrough"
    )
    return trained(make_pipeline(columns, LR(max_iter=500)).fit(train, data.target), rows)


@frames.add("nullable booleans before XGBoost")
def nullable_booleans(directory: Path) -> Trained:
    data = part(frame(), "card_present", "amount")
    train, rows = (table.astype({"card_present": "boolean"}) for table in (data.train, data.rows))
    for table in (train, rows):
        table.iloc[::7, 0] = pd.NA
    return trained(XGBClassifier(n_estimators=8, n_jobs=1).fit(train, data.target), rows)


@frames.add("ordinal codes with NaN for gaps and unknown, before HistGradientBoosting")
def ordinal_nan(directory: Path) -> Trained:
    data = part(frame(gaps=True, unseen=True), "merchant", "amount")
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    columns = ColumnTransformer([("merchant", encoder, ["merchant"])], remainder="passthrough")
    return trained(
        make_pipeline(columns, HistGradientBoostingClassifier(max_iter=8)).fit(data.train, data.target), data.rows
    )


@frames.add("a column with one category, its first dropped")
def one_category(directory: Path) -> Trained:
    data = part(frame(), "merchant", "amount")
    train, rows = (table.assign(currency="EUR") for table in (data.train, data.rows))
    columns = ColumnTransformer(
        [("texts", OneHotEncoder(drop="first"), ["currency", "merchant"])], remainder="passthrough"
    )
    return trained(make_pipeline(columns, LR(max_iter=500)).fit(train, data.target), rows)


@frames.add("a text that the pipeline drops")
def dropped_text(directory: Path) -> Trained:
    data = part(frame(), "note", "amount")
    columns = ColumnTransformer([("amount", StandardScaler(), ["amount"])], remainder="drop")
    return trained(make_pipeline(columns, LR()).fit(data.train, data.target), data.rows)


@frames.add("a row of texts")
def only_texts(directory: Path) -> Trained:
    data = frame()
    model = make_pipeline(TfidfVectorizer(), LR()).fit(data.train["note"], data.target)
    found = probability(model)
    return Trained(model, data.rows[["note"]].rename(columns={"note": "text"}), lambda rows: found(rows["text"]))


def _add_names(what: str, names: list[str]) -> None:
    def train(directory: Path) -> Trained:
        data = numbers()
        model = RandomForestClassifier(8, random_state=0).fit(pd.DataFrame(data.train, columns=names), data.target)
        return trained(model, pd.DataFrame(data.rows, columns=names))

    frames.add(f"names with {what}")(train)


for _name, _names in _NAMES.items():
    _add_names(_name, _names)
