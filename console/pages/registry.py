"""The registry: search, one version, and a comparison of some."""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from console.state import Console, console_of
from console.tables import Column, Rows, Table, as_file, number_in
from console.templating import page
from console.versions import Version
from model_store.errors import InvalidInput, ModelStoreError
from model_store.registry.files.manifest import ModelStatus

_PER_PAGE = 50
_MOST_COMPARED = 5
_COLUMNS = (
    Column("model_id", "version", "version", sort="model_id"),
    Column("model_name", "model", sort="model_name"),
    Column("version", "no.", "number", sort="version"),
    Column("status", "status", "status", sort="status"),
    Column("created_at", "registered", "time", sort="created_at"),
    Column("author", "author"),
    Column("serving", "serves in"),
    Column("metrics", "metrics", "metrics"),
    Column("tags", "tags"),
    Column("size_bytes", "size", "size", sort="size_bytes"),
    Column("description", "description"),
)


def registry(request: Request) -> Response:
    """The list of versions, searched, filtered and sorted."""
    console, asked = console_of(request), request.query_params
    versions, problem = console.versions.all(), ""
    try:
        found = _search(versions, asked)
    except InvalidInput as error:
        found, problem = [], str(error)
    number = number_in(request, "page", 1)
    shown = found[(number - 1) * _PER_PAGE : number * _PER_PAGE]
    table = Table(
        "versions", _COLUMNS, [each.to_dict() for each in shown], Rows(found, Version.to_dict), "no version fits"
    )
    return as_file(request, table) or page(
        request,
        "part_versions.html" if request.headers.get("hx-target") == "versions" else "registry.html",
        title="Registry",
        table=table,
        found=len(found),
        number=number,
        pages=max(1, -(-len(found) // _PER_PAGE)),
        asked=asked,
        problem=problem,
        names=sorted({each.model_name for each in versions}),
        metrics=sorted({name for each in shown for name in each.facts.metrics}),
        statuses=[str(each) for each in ModelStatus],
        damaged=console.versions.damaged(),
        most_compared=_MOST_COMPARED,
    )


def _search(versions: Sequence[Version], asked: Mapping[str, str]) -> list[Version]:
    from model_store.registry.files.search import Condition

    name, status, tag = asked.get("name", ""), asked.get("status", ""), asked.get("tag", "").strip()
    conditions = [Condition.parse(text) for text in asked.get("metric", "").split(",") if text.strip()]
    words = asked.get("q", "").lower().split()
    found = [
        each
        for each in versions
        if name in ("", each.model_name)
        and status in ("", each.status)
        and (not tag or tag in each.facts.tags)
        and (asked.get("serving", "") in ("", *each.serving))
        and all(condition.is_met(each.facts.metrics) for condition in conditions)
        and (not words or _has(each, words))
    ]
    return _sorted(found, asked.get("sort", "-created_at") or "-created_at")


def _has(version: Version, words: Sequence[str]) -> bool:
    facts = version.facts
    text = "\0".join((version.model_id, facts.description, facts.author, *facts.tags)).lower()
    return all(word in text for word in words)


def _sorted(versions: list[Version], order: str) -> list[Version]:
    name, descending = order.removeprefix("-"), order.startswith("-")
    fields = [column.sort for column in _COLUMNS if column.sort]
    if name == "size_bytes":
        return sorted(versions, key=lambda each: each.facts.size_bytes, reverse=descending)
    if name == "created_at":
        # They come in this order: versions of one model by number, also where a clock was set back.
        return versions[::-1] if descending else versions
    if name in fields:
        return sorted(versions, key=lambda each: (getattr(each, name), each.model_id), reverse=descending)
    having = [each for each in versions if name in each.facts.metrics]
    having.sort(key=lambda each: each.facts.metrics[name], reverse=descending)
    return having + [each for each in versions if name not in each.facts.metrics]


def version(request: Request) -> Response:
    """One version: card, contract, metrics, lineage, signatures, evidence, where it runs and ran, audit."""
    console, model_id = console_of(request), _resolved(request)
    registry = console.versions.registry
    metadata, state = registry.get_metadata(model_id), registry.state(model_id)
    history = Table(
        "history",
        (
            Column("at", "when", "time"),
            Column("status", "status", "status"),
            Column("by", "by"),
            Column("why", "why"),
        ),
        state["history"],
    )
    ran = Table(
        "deployments",
        (
            Column("from", "from", "time"),
            Column("until", "until", "time"),
            Column("environment", "environment", "environment"),
            Column("intent", "intent"),
            Column("actor", "by"),
            Column("reason", "why"),
            Column("deployment_id", "deployment", "id"),
        ),
        _ran(console, model_id),
        empty="it was never deployed",
    )
    features = Table(
        "features",
        (Column("name", "feature"), Column("type", "type"), Column("range", "range in training")),
        [{**each, "range": _range(each)} for each in metadata.feature_schema],
        empty="not recorded",
    )
    return as_file(request, ran, history, features) or page(
        request,
        "version.html",
        title=model_id,
        model_id=model_id,
        metadata=metadata,
        facts=metadata.to_dict(),
        state=state,
        serving=getattr(console.versions.find(model_id), "serving", {}),
        history=history,
        ran=ran,
        features=features,
        aliases=_aliases(registry, metadata.model_name),
        signers=_signers(registry, model_id),
        not_approved=_approval_problem(registry, model_id),
        key_ids=_key_ids(registry, model_id),
        statuses=[str(each) for each in metadata.status.leads_to],
        others=[each for each in console.versions.all() if each.model_name == metadata.model_name][-6:],
        rights=console.rights(request),
    )


def _resolved(request: Request) -> str:
    from model_store.registry.aliases import Aliases

    return Aliases(console_of(request).versions.registry).resolve(request.path_params["model_id"])


def _ran(console: Console, model_id: str) -> list[dict[str, Any]]:
    found = []
    for environment in ("production", "staging", "development"):
        for each in console.histories.of(environment).deployments:
            if model_id in (each.model_id, each.candidate):
                tried = f"tried beside {each.model_id}, {each.candidate_weight} %"
                intent = str(each.intent) if each.model_id == model_id else tried
                found.append({**each.to_dict(), "from": each.finished_at, "intent": intent})
    return sorted(found, key=lambda row: row["from"], reverse=True)


def _range(feature: Mapping[str, Any]) -> str:
    if "minimum" in feature and "maximum" in feature:
        return f"{feature['minimum']:g} to {feature['maximum']:g}"
    return ", ".join(map(str, (feature.get("categories") or ())[:12]))


def _aliases(registry: Any, name: str) -> dict[str, str]:
    from model_store.registry.aliases import Aliases

    try:
        return Aliases(registry).of(name)
    except ModelStoreError:
        return {}


def _signers(registry: Any, model_id: str) -> list[str]:
    from model_store.registry.signatures import signers_of

    try:
        return signers_of(registry.storage, model_id)
    except ModelStoreError as error:
        return [str(error)]


def _approval_problem(registry: Any, model_id: str) -> str:
    from model_store.registry.approvals import approval_problem

    try:
        return approval_problem(registry, model_id)
    except ModelStoreError as error:
        return str(error)


def _key_ids(registry: Any, model_id: str) -> tuple[str, ...]:
    try:
        found: tuple[str, ...] = registry.key_ids(model_id)
    except ModelStoreError:
        return ()
    return found


def compare(request: Request) -> Response:
    """Two to five versions side by side: metrics plotted, parameters and contract as a difference."""
    console = console_of(request)
    asked = [each for each in dict.fromkeys(request.query_params.getlist("v")) if each][:_MOST_COMPARED]
    registry = console.versions.registry
    problem, found = "", []
    for each in asked:
        try:
            found.append(registry.get_metadata(each))
        except ModelStoreError as error:
            problem = str(error)
    names = [each.model_id for each in found]
    metrics = sorted({name for each in found for name in each.performance_metrics})
    columns = tuple(Column(name, name, "number") for name in names)
    table = Table(
        "metrics",
        (Column("metric", "metric"), *columns),
        [{"metric": name, **{each.model_id: each.performance_metrics.get(name) for each in found}} for name in metrics],
        empty="no metrics were recorded",
    )
    facts = [_compared(each) for each in found]
    keys = list(dict.fromkeys(key for each in facts for key in each))
    differing = [key for key in keys if len({each.get(key, "-") for each in facts}) > 1]
    differences = Table(
        "differences",
        (Column("what", "what"), *(Column(name, name) for name in names)),
        [
            {"what": key, **{name: each.get(key, "-") for name, each in zip(names, facts, strict=True)}}
            for key in differing
        ],
        empty="no difference",
    )
    return as_file(request, table, differences) or page(
        request,
        "compare.html",
        title="Compare",
        names=names,
        found=found,
        table=table,
        plotted={name: [each.performance_metrics.get(name) for each in found] for name in metrics},
        differences=differences,
        contract=_contract_difference(found) if len(found) == 2 else [],
        problem=problem if found or asked else "choose two to five versions in the registry",
    )


def _compared(metadata: Any) -> dict[str, str]:
    lineage = metadata.lineage
    return {
        "status": str(metadata.status),
        "type": metadata.model_type,
        "class": metadata.model_class,
        "registered": metadata.created_at,
        "author": metadata.author,
        "description": metadata.description,
        "tags": ", ".join(metadata.tags),
        "digest": metadata.digest,
        "size": str(metadata.size_bytes),
        "commit": str(lineage.get("git_commit") or "-"),
        "training data": str((lineage.get("training_data") or {}).get("sha256", "-")),
        "threshold": str((metadata.contract or {}).get("threshold", "-")),
        **{f"parameter {name}": str(value) for name, value in sorted(lineage.get("parameters", {}).items())},
        **{f"library {name}": value for name, value in sorted(metadata.library_versions.items())},
        **{f"feature {each['name']}": f"{each.get('type', '')} {_range(each)}" for each in metadata.feature_schema},
    }


def _contract_difference(found: Sequence[Any]) -> list[tuple[str, str]]:
    """The contracts of two versions as lines: `+`, `-` or a space before each."""
    first, second = (json.dumps(_contract(each), indent=1, sort_keys=True).splitlines() for each in found)
    lines = difflib.unified_diff(first, second, found[0].model_id, found[1].model_id, lineterm="", n=2)
    return [(line[:1], line) for line in lines][:2000]


def _contract(metadata: Any) -> dict[str, Any]:
    features = [{key: value for key, value in each.items() if key != "bins"} for each in metadata.feature_schema]
    return {"features": features, **{key: value for key, value in (metadata.contract or {}).items() if key != "golden"}}
