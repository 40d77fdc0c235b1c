"""The page that `deploy_model.py why` prints: a version's story, heading by heading."""

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.command_line import printable


def story_page(story: Mapping[str, Any]) -> str:
    """A version's story as text.

    Args:
        story: as `stacks.story.story_of` returns it.
    """
    sections = [("", [_headline(story)])]
    if "missing" in story:
        sections.append(("Registry", [story["missing"]]))
    else:
        sections += _of_registry(story)
    sections += _of_environment(story)
    lines = []
    for heading, texts in sections:
        lines += [f"\n{heading}"] if heading else []
        lines += [f"  {text}" if heading else text for text in texts if text]
    return printable("\n".join(" ".join(line.split("\n")) if line[:1] != "\n" else line for line in lines))


def _headline(story: Mapping[str, Any]) -> str:
    began, until = story["deployed"]["from"], story["until"]
    times = f"served in {story['environment']} from {began} to {until}" if until else (
        f"serves in {story['environment']} since {began}"
    )  # fmt: skip
    return f"{story['model_id']} {times}"


def _of_registry(story: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    model, trained, registered, validated = (story[each] for each in ("model", "trained", "registered", "validated"))
    where = ", ".join(f"{name} since {since}" for name, since in model["serving"].items())
    return [
        (
            "Model",
            [
                f"{model['name']} version {model['version']}, {model['type']} ({model['class']})",
                model["description"],
                f"digest {model['digest']}",
                f"status {model['status']}; serves in: {where or 'no environment'}",
            ],
        ),
        ("Trained", list(_trained(trained))),
        ("Registered", [_line(registered, registered.get("reason") or registered["how"])]),
        ("Validated", list(_validated(validated)) if validated else ["not validated"]),
        ("Approved", [*(_approval(each) for each in story["approved"]), _not_approved(story["not_approved"])]),
    ]


def _trained(trained: Mapping[str, Any]) -> Iterator[str]:
    lineage, source = trained["lineage"], trained["source"]
    yield f"by {trained['author']}"
    yield f"commit {lineage.get('git_commit') or 'not recorded'}"
    data = lineage.get("training_data") or {}
    yield f"data {data['name']}, sha256 {data['sha256']}" if data else "data not recorded"
    yield f"file {source['name']}, sha256 {source['sha256']}" if source else "file none: registered from memory"
    for name, value in lineage.items():
        if name not in ("git_commit", "training_data", "parameters", "registered_by"):
            yield f"{name.replace('_', ' ')} {_plain(value)}"
    for name, values in (("parameters", lineage.get("parameters")), ("metrics", trained["metrics"])):
        yield f"{name} {_plain(values)}" if values else f"{name} not recorded"
    yield f"libraries {_plain(trained['library_versions'])}"


def _validated(validated: Mapping[str, Any]) -> Iterator[str]:
    yield _line(validated, validated.get("reason", ""))
    for file in validated["evidence"]:
        yield f"evidence {file.get('name', 'file')}, sha256 {file['sha256']}"
    if metrics := validated.get("metrics"):
        yield f"metrics that the registration computed on the holdout: {_plain(metrics)}"
    if not validated["evidence"] and not metrics:
        yield "evidence not recorded"


def _not_approved(problem: str) -> str:
    return f"not approved: {problem}" if problem else ""


def _approval(approval: Mapping[str, Any]) -> str:
    file, withdrawn = approval["evidence"], approval.get("withdrawn")
    evidence = f"; evidence {file.get('name', 'file')}, sha256 {file['sha256']}"
    after = f"; withdrawn {_line(withdrawn, withdrawn.get('reason', ''))}" if withdrawn else ""
    return f"{_line(approval, approval.get('reason', ''))}{evidence}{after}"


def _of_environment(story: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    found = [
        ("Gated", [line for check in story["gated"] for line in _check(check)] or ["no gates on record"]),
        ("Deployed", list(_deployment(story["deployed"]))),
    ]
    if back := story.get("rolled_back_from"):
        found.append(("Rolled back from", [f"{back['model_id']} ({back['deployment_id']})"]))
    elif before := story.get("before"):
        found.append(("In place of", [f"{before['model_id']} ({before['deployment_id']})"]))
    if story["tried"]:
        found.append(("Tried before as a candidate", [_step(each) for each in story["tried"]]))
    if story["since"]:
        found.append(("Updates since then", [_step(each) for each in story["since"]]))
    return found


def _check(check: Mapping[str, Any]) -> Iterator[str]:
    kind = check["check"]
    if kind == "break-glass":
        what = f"break-glass until {check.get('until', '')} although not {', '.join(check.get('missing', []))}"
    else:
        what = "gates passed" if kind == "gates" else "gates overridden"
    yield f"{_line(check, check['reason'])}: {what}"
    results = check.get("gates") if kind == "gates" else check.get("results")
    for each in results if isinstance(results, list) else []:
        yield f"  {'passed' if each['passed'] else 'FAILED'}  {each['name']}: {each['detail']}"
    if kind == "force" and not results:
        yield f"  FAILED  {check.get('gates', '')}"
    if required := check.get("requires"):
        yield f"  the environment requires: {', '.join(required)}"


def _deployment(deployment: Mapping[str, Any]) -> Iterator[str]:
    audit = deployment["audit"]
    yield f"{deployment['from']} by {deployment['actor'] or 'unknown'}"
    yield f"reason {deployment['reason'] or 'not given'}"
    yield f"commit {deployment['commit'] or 'not recorded'}"
    yield f"pipeline run {deployment['run'] or 'none'}"
    yield f"deployment id {deployment['deployment_id']}"
    yield f"message {deployment['message'] or 'none'}"
    if glass := deployment.get("break_glass"):
        yield f"break-glass by {glass['by']} until {glass['until']}: {glass['reason']}"
    if not audit:
        yield "audit log: no record of it"
    elif audit["only_source"]:
        yield f"audit log: record {audit['sequence']} names the actor; the stack's history does not"
    elif audit["agrees"]:
        yield f"audit log: record {audit['sequence']} names the same actor"
    else:
        yield f"audit log: record {audit['sequence']} names another actor: {audit['actor']}"


def _step(deployment: Mapping[str, Any]) -> str:
    parts = [deployment["from"], f"by {deployment['actor'] or 'unknown'}", deployment["message"]]
    if deployment["reason"] not in ("", deployment["message"]):
        parts.append(f"({deployment['reason']})")
    return " ".join(filter(None, parts))


def _line(decision: Mapping[str, Any], reason: str) -> str:
    audit = f", audit record {decision['audit']}" if "audit" in decision else ""
    return f"{decision['at']} by {decision['by']}{f' ({reason})' if reason else ''}{audit}"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items() if item is not None)
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
