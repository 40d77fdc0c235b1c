"""The bodies of answers and requests, as types: the service encodes them, and the OpenAPI document is made from them.

The features of a transaction are not here: they are the model's own, see `serving.http.openapi`.
"""

from typing import Annotated, Any, Literal

import msgspec

from model_store.decisions.override import OverrideAnswer

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Transaction(msgspec.Struct, forbid_unknown_fields=True):
    """One transaction, with the features that the model takes."""


class Prediction(msgspec.Struct, gc=False):
    """The decision on one transaction."""

    fraud_probability: Probability
    is_fraud: bool
    receipt: str | msgspec.UnsetType = msgspec.UNSET
    """Names the decision, signed; feedback names it again. Left out where the service has no key."""


class OverrideShown(msgspec.Struct):
    """People give the decisions until a time, and not the model, whose probability an answer has all the same."""

    answer: OverrideAnswer
    """Every `is_fraud` is false, or true."""
    until: str
    """RFC 3339."""


class Predictions(msgspec.Struct, gc=False):
    """The decisions on the transactions of a request, in their order."""

    model_id: str
    threshold: Probability
    request_id: str
    predictions: list[Prediction]
    override: OverrideShown | msgspec.UnsetType = msgspec.UNSET


class FeedbackTaken(msgspec.Struct, omit_defaults=True):
    """How many items of feedback were taken."""

    request_id: str
    taken: int
    """Items that were counted."""
    repeated: int = 0
    """Items that name a decision with feedback already; they count no more."""
    unverified: int = 0
    """Items without receipts, among those that were taken."""


class Refusal(msgspec.Struct):
    """Why a request was refused."""

    code: str
    message: str
    request_id: str | msgspec.UnsetType = msgspec.UNSET
    field: str | msgspec.UnsetType = msgspec.UNSET
    """The path of the field, such as `transactions[2].amount`."""


class Error(msgspec.Struct):
    """The body of every answer that is not a success."""

    error: Refusal


class Live(msgspec.Struct):
    """The process runs."""

    status: Literal["alive"]


class Ready(msgspec.Struct):
    """Whether requests are accepted, and by which process."""

    status: str
    model_id: str
    digest: str
    process: int


class Health(msgspec.Struct):
    """The model, the resources in use, and the versions of the model's libraries."""

    status: str
    environment: str
    deployment: str
    model_id: str
    digest: str
    runtime: str
    proven: bool
    loaded_at: str
    load_seconds: float
    uptime_seconds: float
    resources: dict[str, float]
    versions: dict[str, str]
    override: OverrideShown | None = None
    """What gives the decisions in place of the model; null where the model decides."""


class Model(msgspec.Struct):
    """The model version that answers, with its manifest."""

    model_id: str
    digest: str
    threshold: Probability
    runtime: str
    answered: dict[str, int]
    proven: bool
    manifest: dict[str, Any]
