"""Try it: a form made from the contract of what serves, the `curl` beside it, and the endpoint's answer."""

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response

from console.guard import session_of
from console.pages.environments import environment_of
from console.state import Console, console_of
from console.templating import page
from conventions.regular_files import read_text
from model_store.errors import AccessDenied, ModelStoreError
from stacks.checks.asking import AnswerTooLarge, AnswerTooSlow
from stacks.checks.asking import ask as ask_endpoint
from stacks.checks.endpoint import endpoint_verification
from stacks.environments import DeploymentEnvironment
from stacks.errors import EndpointSilent

_TIMEOUT_SECONDS = 10.0
_MOST_CHOICES = 100
_MOST_ANSWER = 100_000
_NUMBERS = ("number", "integer")


def try_it(request: Request) -> Response:
    """The form."""
    console, name = console_of(request), environment_of(request)
    look = console.looking.at(name)
    fields = _fields(console, look.model_version)
    url = look.config.api_endpoint if look.config else ""
    body = {"transaction": {field["name"]: field["value"] for field in fields}}
    return page(
        request,
        "try.html",
        title=f"Try {name}",
        environment=name,
        look=look,
        fields=fields,
        url=url,
        curl=curl(url, body),
        answer=None,
    )


def ask(request: Request, form: Mapping[str, Any]) -> Response:
    """The endpoint's answer to the transaction of the form."""
    console, name = console_of(request), environment_of(request)
    _require_caller(console, request, name)
    look = console.looking.at(name)
    fields = _fields(console, look.model_version)
    transaction = {
        field["name"]: parse_value(field["kind"], str(form[f"feature-{number}"]))
        for number, field in enumerate(fields)
        if f"feature-{number}" in form
    }
    body, url = {"transaction": transaction}, look.config.api_endpoint if look.config else ""
    answer = _asked(console, url, body) if url else {"status": 0, "text": "nothing is deployed", "ms": None}
    return page(request, "part_answer.html", answer=answer, curl=curl(url, body), environment=name)


def _require_caller(console: Console, request: Request, environment: str) -> None:
    """Raises AccessDenied where a reader would add to the numbers that others are judged by, with the console's key."""
    if environment == DeploymentEnvironment.DEVELOPMENT:
        return
    person = session_of(request).person
    try:
        console.rights(request).require(person.name, "deploy")
    except AccessDenied as error:
        told = str(error).partition("; ")[0]
        raise AccessDenied(
            f"{told}; a request to {environment} counts in its numbers, and needs the role promoter"
        ) from None


def _fields(console: Console, model_id: str) -> list[dict[str, Any]]:
    try:
        schema: Sequence[Mapping[str, Any]] = (
            console.versions.registry.get_metadata(model_id).feature_schema if model_id else ()
        )
    except ModelStoreError:
        schema = ()
    return [_field(feature) for feature in schema]


def _field(feature: Mapping[str, Any]) -> dict[str, Any]:
    kind, bins = str(feature.get("type", "number")), feature.get("bins") or {}
    choices = list(feature.get("categories") or bins.get("categories") or ())[:_MOST_CHOICES]
    if kind == "boolean":
        choices = [True, False]
    return {
        "name": str(feature["name"]),
        "kind": kind,
        "choices": [] if kind in _NUMBERS else choices,
        "value": _usual(feature, kind, choices, bins),
        "minimum": feature.get("minimum"),
        "maximum": feature.get("maximum"),
    }


def _usual(feature: Mapping[str, Any], kind: str, choices: Sequence[Any], bins: Mapping[str, Any]) -> Any:
    """A value in the middle of what the model was trained on."""
    if kind in _NUMBERS:
        edges = bins.get("edges") or ()
        low, high = feature.get("minimum"), feature.get("maximum")
        middle = 0.0
        if edges:
            middle = edges[len(edges) // 2]
        elif isinstance(low, int | float) and isinstance(high, int | float):
            middle = (low + high) / 2
        return round(middle) if kind == "integer" else float(f"{middle:.6g}")
    if choices:
        return choices[0]
    return "2026-01-01T00:00:00Z" if kind == "time" else "text"


def parse_value(kind: str, text: str) -> Any:
    """What a person has typed, as JSON has it; what is not of the kind goes as text, and the endpoint says so.

    Args:
        kind: of the feature.
        text: as typed; empty is a gap.
    """
    if text == "":
        return None
    if kind == "boolean":
        return {"true": True, "True": True, "false": False, "False": False}.get(text, text)
    if kind in _NUMBERS or kind == "category":
        try:
            found = json.loads(text)
        except ValueError:
            return text
        return found if isinstance(found, int | float | str) else text
    return text


def curl(url: str, body: Mapping[str, Any]) -> str:
    """The same request on a command line; the key stays in its file."""
    return (
        f'curl -s {shlex.quote(f"{url}/predict")} -H "X-API-Key: $(cat .secrets/api_key)" '
        f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
    )


def _asked(console: Console, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    try:
        key = read_text(console.settings.key_file).strip()
    except OSError as error:
        return {"status": 0, "text": f"{console.settings.key_file}: cannot be read ({error.strerror})", "ms": None}
    began = time.monotonic()
    try:
        verify = endpoint_verification(url, console.checkout)
        with httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False, verify=verify) as client:
            answer = ask_endpoint(client, "POST", f"{url}/predict", json=body, headers={"X-API-Key": key})
    except (httpx.HTTPError, EndpointSilent) as error:
        told = str(error) if isinstance(error, EndpointSilent | AnswerTooLarge | AnswerTooSlow) else ""
        return {"status": 0, "text": f"{url} does not answer ({told or type(error).__name__})", "ms": None}
    text = answer.text
    with suppress(ValueError, RecursionError):
        text = json.dumps(answer.json(), indent=1)
    return {"status": answer.status_code, "text": text[:_MOST_ANSWER], "ms": (time.monotonic() - began) * 1000}
