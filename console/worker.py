"""What needs the engine, in a process of its own: a console that looks for weeks stays small.

The request is one JSON object on standard input, progress goes to standard error line by line, and the result is one
JSON object on standard output: `result`, or `error` with its kind and exit code.
"""

import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.acting import open_registry_as
from console.actions import expected_of
from console.versions import Facts
from conventions import exit_codes
from stacks.decisions import Decisions
from stacks.environments import DeploymentEnvironment
from stacks.errors import StackBusy

if TYPE_CHECKING:
    from stacks.deployment import ModelDeployment
    from stacks.deployment_updates import DeployOutcome

_Task = Callable[["ModelDeployment", Mapping[str, Any]], dict[str, Any]]


def main() -> int:
    """Carries out the request on standard input and returns 0, or the exit code of the error."""
    from stacks.deployment import ModelDeployment

    request = json.load(sys.stdin)
    checkout = Path(request["checkout"])
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        deployments = ModelDeployment(checkout, open_registry_as(checkout, request["actor"]), log=_progress)
        answer: dict[str, Any] = {"result": _TASKS[request["task"]](deployments, request)}
        code = exit_codes.DONE
    except Exception as error:
        code = int(getattr(error, "exit_code", exit_codes.FAILED))
        answer = {"error": str(error) or type(error).__name__, "kind": type(error).__name__, "exit_code": code}
    json.dump(answer, out)
    out.flush()
    return code


def _progress(line: str) -> None:
    sys.stderr.write(" ".join(line.split()) + "\n")
    sys.stderr.flush()


def _histories(deployments: "ModelDeployment", request: Mapping[str, Any]) -> dict[str, Any]:
    """The deployments of the environments named; each distinct config once."""
    from stacks.deployment_history import DeploymentHistory
    from stacks.engine.backend import state_directory
    from stacks.engine.workspace import existing_environments
    from stacks.recorded_actors import known_actors

    # A directory tells by itself which stacks it has, and the caller has looked.
    in_directory = state_directory(deployments.checkout) is not None
    there = list(DeploymentEnvironment) if in_directory else existing_environments(deployments.checkout)
    history, found = DeploymentHistory(deployments.checkout), {}
    for name in request["environments"]:
        environment = DeploymentEnvironment.named(name)
        pairs = history.with_configs(environment) if environment in there else []
        rows = known_actors([each for each, _ in pairs], lambda: deployments.registry, _progress)
        texts = [json.dumps(config, sort_keys=True) for _, config in pairs]
        distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        found[name] = {
            "deployments": [each.to_dict() for each in rows],
            "configs": list(distinct),
            "config_of": [distinct[text] for text in texts],
        }
    return found


def _rollout(deployments: "ModelDeployment", request: Mapping[str, Any]) -> dict[str, Any]:
    from stacks.rollout.rollouts import Rollouts

    rollouts = Rollouts(deployments, reason=request["reason"])
    environment, outcome, target = request["environment"], None, request["to"]
    expected = dict(request["expected"])
    target = expected.pop("target", target)
    found = expected_of(deployments.stack_file(environment))
    if found != expected:
        serves = f"{environment} has {found['stable'] or 'nothing'}, candidate {found['candidate'] or 'none'}"
        raise StackBusy(f"something has changed since the page was shown: {serves}; nothing was changed")
    task = request["task"]
    if task == "rollback" and expected["candidate"]:
        task = "abort"  # the way back from a candidate
    match task:
        case "promote":
            outcome = rollouts.promote(environment)
        case "abort":
            outcome = rollouts.abort(environment, request["reason"])
        case "rollback":
            outcome = rollouts.rollback(environment, target)
    assert outcome is not None  # noqa: S101 - one of the three
    return _told(outcome)


def _facts(deployments: "ModelDeployment", _request: Mapping[str, Any]) -> dict[str, Any]:
    """What lists show and search of every version."""
    return {each.model_id: Facts.of(each).to_list() for each in deployments.registry.list_models()}


def _decisions(deployments: "ModelDeployment", request: Mapping[str, Any]) -> dict[str, Any]:
    """What a receipt names, or the decisions of a period: `most` of them, and whether there are more."""
    decisions = Decisions(deployments.checkout, lambda: deployments.registry)
    environment, reason = request["environment"], request["features_reason"]
    if request["receipt"]:
        found = decisions.explain(environment, request["receipt"], reason)
        return {**found, "logged": found["logged"] and _plain(found["logged"])}
    since, until = (datetime.fromisoformat(request[name]) for name in ("since", "until"))
    rows = decisions.between(environment, since, until, reason)
    shown = [_plain(each) for each in islice(rows, request["most"])]
    return {"rows": shown, "more": next(rows, None) is not None}


def _labelled(deployments: "ModelDeployment", request: Mapping[str, Any]) -> dict[str, Any]:
    """Scores and outcomes of the decisions of a period that feedback has named; `most` of them."""
    decisions = Decisions(deployments.checkout, lambda: deployments.registry)
    since, until = (datetime.fromisoformat(request[name]) for name in ("since", "until"))
    known = (
        (each["fraud_probability"], bool(each["was_fraud"]))
        for each in decisions.between(request["environment"], since, until)
        if each.get("was_fraud") is not None
    )
    pairs = list(islice(known, request["most"]))
    return {"scores": [score for score, _ in pairs], "labels": [label for _, label in pairs]}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "time": row["time"].isoformat(timespec="milliseconds").replace("+00:00", "Z")}


def _told(outcome: "DeployOutcome") -> dict[str, Any]:
    return {**outcome.deployment.to_dict(), "changed": outcome.changed, "url": outcome.outputs.get("url", "")}


_TASKS: dict[str, _Task] = {
    "histories": _histories,
    "promote": _rollout,
    "abort": _rollout,
    "decisions": _decisions,
    "facts": _facts,
    "labelled": _labelled,
    "rollback": _rollout,
}


if __name__ == "__main__":
    sys.exit(main())
