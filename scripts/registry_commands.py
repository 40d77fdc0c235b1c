"""What the commands of manage_models.py do: ask the registry, print what it says."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions import exit_codes
from model_store.errors import InvalidInput, ModelStoreError, SignatureInvalid, VersionConflict
from scripts.command_line import bordered, facts, progress, show, table

if TYPE_CHECKING:
    from model_store import ModelRegistry

CHECKOUT = Path(__file__).resolve().parents[1]
_LISTED = ("model_id", "version", "status", "created_at", "performance_metrics", "description")


def open_registry() -> "ModelRegistry":
    """The checkout's registry, or the one that the environment names."""
    from stacks import registry_access

    return registry_access.open_registry(CHECKOUT)


def resolved(registry: "ModelRegistry", reference: str) -> str:
    """The model id that a reference (id, `name@alias`, `name:number`) means."""
    from model_store.registry.aliases import Aliases

    return Aliases(registry).resolve(reference)


def register(options: argparse.Namespace) -> int:
    """Registers a model file as a new version."""
    from model_store.registry.outside import register_file
    from model_store.registry.request import RegistrationRequest
    from model_store.registry.signing import read_signing_key

    metrics = _metrics(options.metrics)
    signing_key = read_signing_key(options.sign_key) if options.sign_key else None
    if options.label and not options.holdout:
        raise InvalidInput("--label names a column of --holdout FILE, which is missing")
    registry, described = open_registry(), _described(options.file)
    model_id, warnings = register_file(
        registry,
        options.file,
        RegistrationRequest(
            model_name=options.name,
            model_type=options.type,
            feature_schema=described.get("features"),
            format_type=options.format,
            runtime=not options.no_runtime,
            positive_class=options.positive_class,
            threshold=described.get("threshold") if options.threshold is None else options.threshold,
            sample=options.sample,
            training_data=options.training_data,
            holdout=options.holdout,
            label=options.label,
            registry_only=options.registry_only,
            description=options.description,
            tags=[tag.strip() for tag in options.tags.split(",") if tag.strip()],
            author=options.author,
            performance_metrics=metrics,
            signing_key=signing_key,
            compression=options.compression,
        ),
        trusted=options.trust,
    )
    for warning in warnings:
        progress(f"{options.file.name}: {warning}")
    metadata = registry.get_metadata(model_id)
    lines = [f"registered {model_id}", f"  version {metadata.version}", f"  digest  {metadata.digest}"]
    if metadata.contract:
        lines += _contract_lines(metadata.contract)
    if metadata.runtime:
        lines.append(f"  served  {_served_by(metadata.runtime)}")
    show(options, metadata.to_dict(), "\n".join(lines))
    return 0


def _served_by(runtime: Mapping[str, Any]) -> str:
    if runtime["format"] == "native":
        return f"by the model's own library: {runtime['reason']}"
    name = "ONNX Runtime" if runtime["format"] == "onnx" else "its weights"
    return f"by {name}; golden rows differ by at most {runtime['largest_difference']:.1g}"


def _contract_lines(contract: Mapping[str, Any]) -> list[str]:
    golden = contract["golden"]
    fraud = f"class {contract['positive_class']!r} from {contract['threshold']:g} on ({contract['threshold_origin']})"
    rows = f"{golden['rows']} golden rows"
    if golden["leaves"]:
        rows += f", {golden['leaves_reached']} of {golden['leaves']} leaves reached"
    return [f"  fraud   {fraud}", f"  proven  by {rows}"]


def prove(options: argparse.Namespace) -> int:
    """Answers golden rows under the libraries installed here."""
    from model_store.registry.proofs import Proof, prove_version

    registry = open_registry()
    if not options.model_id and not options.all:
        raise InvalidInput("name a model version, or --all")
    wanted = [resolved(registry, each) for each in options.model_id]
    model_ids = wanted or [model.model_id for model in registry.list_models()]
    rows = []
    for number, model_id in enumerate(model_ids):
        options.status_line.step(number, len(model_ids), model_id)
        try:
            rows.append(prove_version(registry, model_id).to_dict())
        except ModelStoreError as error:
            if not options.all:
                raise
            rows.append(Proof(model_id, False, 0, None, str(error)).to_dict())
    show(
        options, rows, table(("model_id", "proven", "rows", "largest_difference", "detail"), rows, empty="no versions")
    )
    return next((exit_codes.NOT_INTACT for row in rows if not row["proven"]), 0)


def list_models(options: argparse.Namespace) -> int:
    """Lists and searches model versions."""
    from model_store.registry.search import search

    models = open_registry().list_models(status=options.status, name=options.name)
    found = search(models, tags=options.tag, metrics=options.metric, sort=options.sort, limit=options.limit)
    rows = [model.to_dict() for model in found]
    show(options, rows, table(_LISTED, rows, empty="no model versions"))
    return 0


def info(options: argparse.Namespace) -> int:
    """Shows all that is known of a model version."""
    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    state = registry.state(model_id)
    values: dict[str, Any] = {
        **registry.get_metadata(model_id).to_dict(),
        "history": state["history"],
        "deployments": state["deployments"],
    }
    shown = {**values, "feature_schema": [item["name"] for item in values["feature_schema"]]}
    shown["history"] = [f"{item['status']} {item['at']} by {item['by']} ({item['why']})" for item in values["history"]]
    shown["deployments"] = [item["deployment_id"] for item in values["deployments"]]
    show(options, values, facts(shown))
    return 0


def card(options: argparse.Namespace) -> int:
    """Prints a model version's card in Markdown."""
    from model_store.registry.model_card import model_card

    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    text = model_card(registry.get_metadata(model_id), registry.state(model_id))
    show(options, {"model_id": model_id, "markdown": text}, text.rstrip())
    return 0


def update_status(options: argparse.Namespace) -> int:
    """Sets a model version's status."""
    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    changed = registry.update_model_status(model_id, options.status, reason=options.reason)
    show(options, changed.to_dict(), f"{changed.model_id} is {changed.status}")
    return 0


def alias_set(options: argparse.Namespace) -> int:
    """Points an alias at a model version."""
    from model_store.registry.aliases import Aliases

    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    Aliases(registry).set(options.name, options.alias, model_id, options.reason)
    answer = {"name": options.name, "alias": options.alias, "model_id": model_id}
    show(options, answer, f"{options.name}@{options.alias} is {model_id}")
    return 0


def alias_remove(options: argparse.Namespace) -> int:
    """Removes an alias."""
    from model_store.registry.aliases import Aliases

    Aliases(open_registry()).remove(options.name, options.alias, options.reason)
    show(options, {"name": options.name, "alias": options.alias}, f"{options.name}@{options.alias} is gone")
    return 0


def alias_list(options: argparse.Namespace) -> int:
    """Lists aliases and what they pointed at."""
    from model_store.registry.aliases import Aliases

    aliases = Aliases(open_registry())
    names = [options.name] if options.name else list(aliases.all())
    rows = [
        {"alias": f"{name}@{alias}", "model_id": model_id, "history": aliases.history(name, alias)}
        for name in names
        for alias, model_id in aliases.of(name).items()
    ]
    show(options, rows, table(("alias", "model_id"), rows, empty="no aliases"))
    return 0


def stats(options: argparse.Namespace) -> int:
    """Counts and sizes."""
    from model_store.registry.maintenance import statistics

    values = statistics(open_registry())
    totals = {name: value for name, value in values.items() if name != "models"}
    columns = ("name", "versions", "bytes", "by_status", "aliases", "newest")
    text = facts(totals)
    if values["models"]:
        text += "\n\n" + bordered("models", columns, values["models"])
    show(options, values, text)
    return 0


def verify(options: argparse.Namespace) -> int:
    """Compares the registry with itself, and signatures with public keys."""
    from model_store.registry.maintenance import Finding, verify_everything
    from model_store.registry.signing import SignaturePolicy

    registry = open_registry()
    wanted = [resolved(registry, each) for each in options.model_id]
    findings = list(verify_everything(registry, wanted, options.status_line.step))
    if options.public_key and options.policy != SignaturePolicy.OFF:
        versions = [item.subject for item in findings if "@" not in item.subject and item.subject != "audit"]
        findings += [_signature_finding(registry, model_id, options, Finding) for model_id in versions]
    rows = [finding.to_dict() for finding in findings]
    show(options, rows, table(("subject", "intact", "detail"), rows, empty="no model versions"))
    return next((finding.exit_code for finding in findings if not finding.intact), 0)


def _signature_finding(registry: "ModelRegistry", model_id: str, options: argparse.Namespace, finding: Any) -> Any:
    from model_store.registry.signing import SignaturePolicy, parse_public_key

    try:
        signer = registry.verify_signature(model_id, [parse_public_key(text) for text in options.public_key])
    except SignatureInvalid as error:
        refused = options.policy == SignaturePolicy.REQUIRE
        return finding(f"{model_id} signature", not refused, str(error), error.exit_code if refused else 0)
    return finding(f"{model_id} signature", True, f"signed by {signer}")


def audit(options: argparse.Namespace) -> int:
    """Shows the audit log, or verifies its chain."""
    log = open_registry().audit
    if options.verify:
        count = sum(1 for _ in log.records())
        show(options, {"records": count, "intact": True}, f"{count} records, the chain is intact")
        return 0
    rows = [record.to_dict() for record in log.select(options.since, options.actor, options.model)]
    show(options, rows, table(("sequence", "at", "actor", "action", "model_id", "reason"), rows, empty="no records"))
    return 0


def sign(options: argparse.Namespace) -> int:
    """Adds a signature to a model version."""
    from model_store.registry.signing import key_id, read_signing_key

    registry = open_registry()
    model_id, key = resolved(registry, options.model_id), read_signing_key(options.sign_key)
    registry.sign_model(model_id, key)
    name = key_id(key.public_key())
    show(options, {"model_id": model_id, "key_id": name}, f"{model_id} is signed by {name}")
    return 0


def keygen(options: argparse.Namespace) -> int:
    """Writes a new encryption or signing key."""
    from model_store.keys.keyring import write_key_file
    from model_store.registry.signing import write_signing_key

    try:
        name = write_signing_key(options.file) if options.signing else write_key_file(options.file)
    except FileExistsError:
        raise VersionConflict(f"{options.file}: is there already; a key is never overwritten") from None
    show(options, {"file": str(options.file), "key_id": name}, f"{options.file}: {name}")
    return 0


def rotate_key(options: argparse.Namespace) -> int:
    """Gives artifacts other keys; their digests stay."""
    from model_store import Keyring
    from model_store.registry.maintenance import rotate_keys

    registry = open_registry()
    new_keys: Keyring = Keyring.from_files(*options.new_key)
    model_ids = [resolved(registry, each) for each in options.model_id]
    rotated = rotate_keys(registry, model_ids, new_keys.providers, options.status_line.step)
    names = [key.key_id for key in new_keys.providers]
    answer = {"rotated": rotated, "keys": names}
    show(options, answer, f"{len(rotated)} artifact(s) are encrypted for {', '.join(names)} now")
    return 0


def inspect(options: argparse.Namespace) -> int:
    """Shows what a model file names, without loading it."""
    from model_store.registry.outside import inspect_file

    found = inspect_file(options.file)
    lines = [f"{'untrusted' if name in found['untrusted'] else 'trusted':9}  {name}" for name in found["named"]]
    if refused := found.get("refused"):
        lines.append(f"refused by the rule {refused['rule']!r}: {refused['message']} ({refused['position']})")
    show(options, found, "\n".join(lines) or "names nothing")
    return exit_codes.UNTRUSTED_TYPE if found["untrusted"] or refused else 0


def doctor(options: argparse.Namespace) -> int:
    """Says which walls this machine raises around the process that opens a file from outside."""
    from model_store.confinement.opening import walls_here

    rows = walls_here()
    show(options, rows, table(("name", "stands", "detail"), rows, empty=""))
    return exit_codes.FAILED if any(not row["stands"] for row in rows) else 0


def convert(options: argparse.Namespace) -> int:
    """Saves a model file or artifact again."""
    from model_store import SecureModelPersistence

    persistence = SecureModelPersistence(keys=open_registry().keys)
    report = persistence.convert_model_format(options.source, options.target, options.to, options.compression)
    show(options, report, facts(report))
    return 0


def export_model(options: argparse.Namespace) -> int:
    """Writes a model version as one bundle."""
    from model_store.registry import bundles

    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    path = bundles.bundle_file(model_id, options.path)
    members = bundles.export_model(registry, model_id, path)
    answer = {"model_id": model_id, "file": str(path), "members": members}
    show(options, answer, f"{path}: {model_id} with {', '.join(members)}")
    return 0


def import_model(options: argparse.Namespace) -> int:
    """Takes a bundle in."""
    from model_store.registry import bundles

    model_id = bundles.import_model(open_registry(), options.path, options.reason)
    show(options, {"model_id": model_id}, f"imported {model_id}")
    return 0


def backup(options: argparse.Namespace) -> int:
    """Copies the registry to another place."""
    from model_store.registry import backups

    counts = backups.backup(open_registry(), options.destination, options.status_line.step)
    show(options, counts, f"{options.destination}: {counts['copied']} copied, {counts['present']} there already")
    return 0


def restore(options: argparse.Namespace) -> int:
    """Copies from a backup what the registry does not have."""
    from model_store.registry import backups

    counts = backups.restore(open_registry(), options.source, options.status_line.step)
    show(options, counts, f"{options.source}: {counts['copied']} restored, {counts['present']} there already")
    return 0


def delete(options: argparse.Namespace) -> int:
    """Deletes a model version for good."""
    from model_store.registry.maintenance import delete_model
    from stacks.engine.in_use import versions_in_use

    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    delete_model(registry, model_id, options.reason, versions_in_use(CHECKOUT))
    show(options, {"model_id": model_id}, f"{model_id} is gone")
    return 0


def cleanup(options: argparse.Namespace) -> int:
    """Removes old model versions of a registry, or old model files of a directory."""
    from model_store.registry.maintenance import cleanup as clean_registry
    from model_store.registry.model_directory import cleanup_model_files
    from stacks.engine.in_use import versions_in_use

    registry = open_registry()
    directory = options.directory.resolve()
    root = Path(registry.storage.location).resolve()
    if directory in (root, root / "models"):
        going, kept = clean_registry(
            registry, options.keep_latest, dry_run=options.dry_run, in_use=versions_in_use(CHECKOUT)
        )
    else:
        going, kept = cleanup_model_files(options.directory, options.keep_latest, dry_run=options.dry_run), {}
    verb = "would go" if options.dry_run else "is gone"
    lines = [f"{verb}  {name}" for name in going] + [f"stays    {name}: it {why}" for name, why in kept.items()]
    answer = {"removed": going, "kept": kept, "dry_run": options.dry_run}
    show(options, answer, "\n".join(lines) or "nothing to clean up")
    return 0


def _metrics(text: str) -> dict[str, Any]:
    try:
        metrics = json.loads(text)
    except ValueError:
        metrics = None
    if not isinstance(metrics, dict):
        raise InvalidInput(f"--metrics {text!r} is not allowed; allowed: an object such as '{{\"accuracy\": 0.96}}'")
    return metrics


def _described(file: Path) -> dict[str, Any]:
    """What the description beside a model file says, such as the feature schema; empty when there is none."""
    path = file.with_name(f"{file.name}.metrics.json")
    if not path.exists():
        return {}
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InvalidInput(f"{path}: cannot be read as JSON ({error})") from None
    features = described.get("features") if isinstance(described, dict) else ()
    if not isinstance(features, list | None) or not all(isinstance(each, dict) for each in features or ()):
        raise InvalidInput(f"{path}: not a description of a model; allowed: an object with features, a list of objects")
    return dict(described)
