"""Gates: what a model version has to pass before it takes another one's place."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from conventions import libraries
from infra.deployment_config import GatesConfig
from stacks.errors import GatesFailed

if TYPE_CHECKING:
    from model_store import ModelMetadata

_SHOWN_NAMES = 8
"""Maximum features that a gate names."""


@dataclass(frozen=True)
class Gate:
    """One gate that a candidate did not pass."""

    name: str
    """`metric floor`, `metric loss`, `feature schema`, `signature` or `dependency versions`."""
    detail: str


def failed_gates(
    candidate: "ModelMetadata",
    deployed: "ModelMetadata | None",
    gates: GatesConfig,
    installed: Mapping[str, str],
    signature_problem: str = "",
) -> list[Gate]:
    """The gates that a candidate does not pass; none when it may be deployed.

    Args:
        candidate: what is to be deployed.
        deployed: what is now; None when nothing is.
        gates: of the deployment's config.
        installed: versions of the libraries that will load it, by name.
        signature_problem: why no trusted key has signed it, where the stack requires one to; empty when all is well.
    """
    found = [*_floors(candidate, gates), *_versions(candidate, installed)]
    found += [Gate("signature", signature_problem)] if signature_problem else []
    if deployed is not None and deployed.model_id != candidate.model_id:
        found += [*_losses(candidate, deployed, gates), *_schema(candidate, deployed, gates)]
    return found


def gate_results(
    candidate: "ModelMetadata",
    deployed: "ModelMetadata | None",
    gates: GatesConfig,
    installed: Mapping[str, str],
    signature_problem: str = "",
) -> list[dict[str, object]]:
    """Each gate with its result, for the audit log: `name`, `passed` and `detail`; arguments as for `failed_gates`."""
    failed = failed_gates(candidate, deployed, gates, installed, signature_problem)
    found: list[dict[str, object]] = [{"name": each.name, "passed": False, "detail": each.detail} for each in failed]
    other = deployed if deployed is not None and deployed.model_id != candidate.model_id else None
    names = {each.name for each in failed}
    for name, floor in sorted(gates.metric_floors.items()):
        value = candidate.performance_metrics.get(name)
        if value is not None and value >= floor:
            found.append(_passed("metric floor", f"{name} is {value:g}, at least {floor:g} is asked for"))
    if other is not None and gates.allowed_loss and "metric loss" not in names:
        compared = ", ".join(sorted(gates.allowed_loss))
        found.append(_passed("metric loss", f"{compared}: within what is allowed below {other.model_id}"))
    if other is not None and gates.same_features and "feature schema" not in names:
        found.append(
            _passed("feature schema", f"takes the {len(candidate.feature_names)} features of {other.model_id}")
        )
    if "signature" not in names:
        found.append(_passed("signature", "as the stack's signing policy asks"))
    if "dependency versions" not in names:
        found.append(_passed("dependency versions", "loads under the libraries that serve it"))
    return found


def _passed(name: str, detail: str) -> dict[str, object]:
    return {"name": name, "passed": True, "detail": detail}


def require_gates(
    candidate: "ModelMetadata",
    deployed: "ModelMetadata | None",
    gates: GatesConfig,
    installed: Mapping[str, str],
    signature_problem: str = "",
) -> None:
    """Raises unless a candidate passes every gate; the arguments are those of `failed_gates`.

    Raises:
        GatesFailed: names each gate that it does not pass.
    """
    if failed := failed_gates(candidate, deployed, gates, installed, signature_problem):
        lines = "\n".join(f"  {gate.name}: {gate.detail}" for gate in failed)
        # The program verifies the signature once more: no --force helps there.
        advice = (
            "sign the version with a key that the stack trusts: "
            f"python scripts/manage_models.py sign {candidate.model_id} --sign-key FILE"
            if any(gate.name == "signature" for gate in failed)
            else "deploy another version, change `gates` in the template, or deploy it anyway: --force --reason WHY"
        )
        raise GatesFailed(
            f"{candidate.model_id} does not pass {len(failed)} gate(s); nothing was changed:\n{lines}\n{advice}"
        )


def with_proofs(
    candidate: "ModelMetadata", state: Mapping[str, object], installed: Mapping[str, str]
) -> "ModelMetadata":
    """The candidate with the library versions of its latest proof, where it answered its golden rows under these."""
    proofs = state.get("proofs")
    for proof in reversed(proofs if isinstance(proofs, list) else []):
        versions = {name.removesuffix("-cpu"): version for name, version in proof["versions"].items()}
        same = all(_series(versions[each]) == _series(installed[each]) for each in libraries.UNPICKLED
                   if each in versions and each in installed)  # fmt: skip
        if same:
            return replace(candidate, library_versions=versions) if proof["proven"] else candidate
    return candidate


def image_versions(checkout: Path) -> dict[str, str]:
    """Versions of the libraries in the image that this checkout builds; none when it pins none."""
    try:
        text = (checkout / "serving" / "requirements.txt").read_text(encoding="utf-8")
    except OSError:
        return {}
    pinned = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s\\;]+)", text, re.MULTILINE))
    return {name.removesuffix("-cpu"): version for name, version in pinned.items()}


def _floors(candidate: "ModelMetadata", gates: GatesConfig) -> Iterator[Gate]:
    for name, floor in sorted(gates.metric_floors.items()):
        value = candidate.performance_metrics.get(name)
        if value is None:
            yield Gate("metric floor", f"{name} is not in the manifest; at least {floor:g} is asked for")
        elif value < floor:
            yield Gate("metric floor", f"{name} is {value:g}, at least {floor:g} is asked for")


def _losses(candidate: "ModelMetadata", deployed: "ModelMetadata", gates: GatesConfig) -> Iterator[Gate]:
    for name, allowed in sorted(gates.allowed_loss.items()):
        before, after = (item.performance_metrics.get(name) for item in (deployed, candidate))
        if before is not None and (after is None or before - after > allowed):
            shown = "missing" if after is None else f"{after:g}"
            detail = f"{name} is {shown}, that of {deployed.model_id} {before:g}; at most {allowed:g} less is allowed"
            yield Gate("metric loss", detail)


def _schema(candidate: "ModelMetadata", deployed: "ModelMetadata", gates: GatesConfig) -> Iterator[Gate]:
    if not gates.same_features:
        return
    before, after = set(deployed.feature_names), set(candidate.feature_names)
    if missing := sorted(before - after):
        yield Gate("feature schema", f"callers send {_some(missing)}, which it does not take")
    if new := sorted(after - before):
        yield Gate("feature schema", f"it takes {_some(new)}, which callers do not send")


def _some(names: Sequence[str]) -> str:
    """The names, or the first of many and how many there are."""
    shown = ", ".join(names[:_SHOWN_NAMES])
    return shown if len(names) <= _SHOWN_NAMES else f"{shown} and {len(names) - _SHOWN_NAMES} more"


def _versions(candidate: "ModelMetadata", installed: Mapping[str, str]) -> Iterator[Gate]:
    served_otherwise = candidate.contract is None and candidate.runtime_digest
    if served_otherwise or candidate.serializer not in ("joblib", "pickle", "skops"):
        return
    by_file, by_environment = _by_library(candidate.library_versions), _by_library(installed)
    for name in libraries.UNPICKLED:
        saved, here = by_file.get(name), by_environment.get(name)
        if saved and here and _series(saved) != _series(here):
            yield Gate("dependency versions", f"it was saved by {name} {saved} and would be loaded by {here}")


def _by_library(versions: Mapping[str, str]) -> dict[str, str]:
    """Versions by the name that a library is imported by: `xgboost-cpu` is `xgboost`."""
    return {name.removesuffix("-cpu"): version for name, version in versions.items()}


def _series(version: str) -> str:
    return ".".join(version.split(".")[:2])
