"""The OpenAPI document of one model: its real features, an example, and every answer that there is."""

from typing import Annotated, Any

import msgspec

from model_store.contract.features import ANY, Feature
from model_store.contract.own import is_gap
from serving.http.app import DEVELOPMENT_PATHS, OPEN_PATHS
from serving.http.messages import Error, FeedbackTaken, Health, Live, Model, Predictions, Ready, Transaction
from serving.http.reasons import MOST_REASONS, MOST_ROWS, PARAMETER, ExplainedPredictions
from serving.http.state import ServiceState
from serving.inference.transactions import Outcome
from serving.observability.status import Status

_REASONS = {
    "400": "the client went away before its body had arrived",
    "401": "no API key, or an unknown one",
    "403": "the key lacks the scope",
    "404": "there is no such page",
    "405": "another method",
    "408": "the body did not arrive in time",
    "413": "the body is larger than allowed",
    "422": "the body does not fit; names the field",
    "429": "the key has made too many requests",
    "503": "the service works on as much as it can, or is about to end",
}

_ANSWERS = (Predictions, ExplainedPredictions, FeedbackTaken, Error, Live, Ready, Health, Status, Model)


def openapi(state: ServiceState) -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fraud detection", "version": state.model.metadata.model_id},
        "paths": _paths(state),
        "components": {
            "schemas": _schemas(state),
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{"key": []}, {"bearer": []}],
    }


def _paths(state: ServiceState) -> dict[str, Any]:
    pages = {
        "/health": ("Model, resources and versions", "Health"),
        "/health/live": ("Whether the process runs", "Live"),
        "/health/ready": ("Whether the model answers", "Ready"),
        "/metrics": ("Metrics in Prometheus's text format", None),
        "/status": ("The last minute: rates, latency, drift by feature", "Status"),
        "/model": ("The manifest of the model that answers", "Model"),
        "/openapi.json": ("This document", "Document"),
        "/docs": ("This document, for people", None),
        "/": ("A page that shows how it goes", None),
    }
    found: dict[str, Any] = {path: {"get": _page(path, *what)} for path, what in pages.items()}
    example = _example(state)
    found["/predict"] = {"post": _prediction(example)}
    feedback = {"items": [{"receipt": "r1.…", "was_fraud": True}]}
    found["/feedback"] = {"post": _action("What became of decisions", "Feedback", "FeedbackTaken", feedback)}
    return found


def _prediction(example: dict[str, Any]) -> dict[str, Any]:
    operation = _action("The probability of fraud", "PredictionRequest", "Predictions", example)
    answers = [{"$ref": f"#/components/schemas/{name}"} for name in ("Predictions", "ExplainedPredictions")]
    operation["responses"]["200"]["content"]["application/json"]["schema"] = {"anyOf": answers}
    reasons = {
        "name": PARAMETER,
        "in": "query",
        "description": "how many features that moved an answer are added to it; for at most "
        f"{MOST_ROWS} transactions, and only where the model's library has exact contributions",
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST_REASONS},
    }
    return {**operation, "parameters": [reasons]}


def _page(path: str, summary: str, schema: str | None) -> dict[str, Any]:
    kinds = {"/metrics": ("text/plain", "application/openmetrics-text"), "/docs": ("text/html",), "/": ("text/html",)}
    content: dict[str, Any] = (
        {"schema": {"$ref": f"#/components/schemas/{schema}"}} if schema else {"schema": {"type": "string"}}
    )
    by_kind = dict.fromkeys(kinds.get(path, ("application/json",)), content)
    answers: dict[str, Any] = {"200": {"description": summary, "content": by_kind}}
    refusals: list[str] = []
    if path == "/health/ready":
        answers["503"] = {"description": "about to end", "content": {"application/json": content}}
    elif path not in OPEN_PATHS and path != "/":
        refusals = ["401", "403", "429", "503"]
    operation: dict[str, Any] = {"summary": summary, "responses": {**answers, **_refusals(*refusals, "405")}}
    if path in OPEN_PATHS or path == "/" or path in DEVELOPMENT_PATHS:
        operation["security"] = []
    return operation


def _action(summary: str, taken: str, given: str, example: dict[str, Any]) -> dict[str, Any]:
    answer = {"application/json": {"schema": {"$ref": f"#/components/schemas/{given}"}}}
    body = {"schema": {"$ref": f"#/components/schemas/{taken}"}, "example": example}
    refusals = _refusals("400", "401", "403", "405", "408", "413", "422", "429", "503")
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {"200": {"description": summary, "content": answer}, **refusals},
    }


def _refusals(*statuses: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": _REASONS[status], "content": content} for status in statuses}


def _schemas(state: ServiceState) -> dict[str, Any]:
    found = list_schemas(*_ANSWERS, *_requests(state.settings.max_batch))
    found["Transaction"] |= _transaction(state)
    forms = [{"$ref": f"#/components/schemas/{name}"} for name in ("OneTransaction", "SeveralTransactions")]
    return {**found, "PredictionRequest": {"oneOf": forms}, "Document": {"type": "object"}}


def list_schemas(*types: Any) -> dict[str, Any]:
    """The JSON Schema of each type and of the types in it, by name."""
    _, found = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return found


def _requests(max_batch: int) -> list[Any]:
    """The types of the bodies of requests: they have a limit that is a setting."""

    def several(item: Any) -> Any:
        return Annotated[list[item], msgspec.Meta(min_length=1, max_length=max_batch)]

    bodies = {
        "OneTransaction": ("transaction", Transaction),
        "SeveralTransactions": ("transactions", several(Transaction)),
        "Feedback": ("items", several(Outcome)),
    }
    return [msgspec.defstruct(name, [field], forbid_unknown_fields=True) for name, field in bodies.items()]


def _transaction(state: ServiceState) -> dict[str, Any]:
    features = state.model.contract.features
    return {
        "properties": {feature.name: _feature(feature) for feature in features},
        "required": [feature.name for feature in features if not feature.gaps],
    }


def _feature(feature: Feature) -> dict[str, Any]:
    kind = "number" if feature.is_numeric else "boolean" if feature.kind == "boolean" else "string"
    schema: dict[str, Any] = {"type": [kind, "null"] if feature.gaps else kind}
    if feature.dtype == ANY:
        schema = {"type": ["number", "string", "boolean", "null"], "description": "the model does not look at it"}
    words = []
    if feature.kind == "time":
        schema["format"] = "date-time"
    if feature.kind == "integer":
        words.append("whole numbers in training")
    if feature.categories and feature.kind == "category":
        if feature.unknown == "refused":
            schema["enum"] = [*feature.categories, *([None] if feature.gaps else [])]
        else:
            words.append(f"known: {', '.join(str(each) for each in feature.categories[:20])}")
    if edges := (feature.bins or {}).get("edges"):
        words.append(f"in training mostly {edges[0]:g} to {edges[-1]:g}")
    if feature.written is not None:
        words.append(f"a gap may be written as {feature.written}")
    if words:
        schema["description"] = "; ".join(words)
    return schema


def _example(state: ServiceState) -> dict[str, Any]:
    """A transaction that the model answers."""
    answered = state.model.answered_row
    values: dict[str, Any] = {}
    for number, feature in enumerate(state.model.contract.features):
        edges = (feature.bins or {}).get("edges")
        if edges:
            values[feature.name] = round(float(edges[len(edges) // 2]), 4)
        elif answered is not None and not is_gap(answered[number]):
            values[feature.name] = answered[number]
        elif feature.is_numeric:
            values[feature.name] = 0.0
        else:
            values[feature.name] = None if feature.gaps else "text"
    return {"transaction": values}
