"""What the commands of manage_models.py do: ask the registry, print what it says."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions import exit_codes
from model_store.errors import InvalidInput, ModelNotFound, ModelStoreError, SignatureInvalid, VersionConflict
from scripts.command_line import Options, bordered, facts, printable, show, table

if TYPE_CHECKING:
    from model_store import ModelRegistry

CHECKOUT = Path(__file__).resolve().parents[1]
_OTHER_FILES = (".onnx", ".ubj", ".json", ".txt", ".skops")
"""Endings of files that other libraries read."""
_LISTED = ("model_id", "version", "status", "serving", "ran", "created_at", "performance_metrics", "description")


def open_registry() -> "ModelRegistry":
    """The checkout's registry, or the one that the environment names."""
    from stacks import registry_access

    return registry_access.open_registry(CHECKOUT)


def resolved(registry: "ModelRegistry", reference: str) -> str:
    """The model id that a reference (id, `name@alias`, `name:number`, `name:latest`) means."""
    from model_store.registry.aliases import Aliases

    return Aliases(registry).resolve(reference)


def prove(options: Options) -> int:
    """Answers golden rows under the libraries installed here."""
    from model_store.registry.measuring.proofs import Proof, prove_version

    registry = open_registry()
    if not options.model_id and not options.all:
        raise InvalidInput("name a model version, or --all")
    model_ids = [resolved(registry, each) for each in options.model_id]
    rows = []
    if not model_ids:
        own = registry.own_files()
        model_ids = [model.model_id for model in own.models]
        rows = [Proof(each, False, 0, None, why).to_dict() for each, why in own.damaged.items()]
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


def list_models(options: Options) -> int:
    """Lists and searches model versions."""
    from model_store.registry.files.search import search

    registry = open_registry()
    if options.damaged:
        return _list_damaged(registry, options)
    models = registry.list_models(status=options.status, name=options.name)
    for reason in registry.listed_damage(options.name).values():
        sys.stderr.write(f"damaged: {printable(reason)}\n")
    found = search(models, tags=options.tag, metrics=options.metric, sort=options.sort, limit=options.limit)
    rows = [model.to_dict() for model in found]
    show(options, rows, table(_LISTED, rows, empty="no model versions"))
    return 0


def _list_damaged(registry: "ModelRegistry", options: Options) -> int:
    rows = [{"model_id": subject, "reason": why} for subject, why in registry.damaged_models(options.name).items()]
    show(options, rows, table(("model_id", "reason"), rows, empty="nothing is damaged"))
    return 0


def info(options: Options) -> int:
    """Shows all that is known of a model version."""
    from model_store.registry.approvals import read_validation
    from model_store.registry.serving import read_serving, serves_in

    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    state = registry.state(model_id)
    serves = serves_in(registry, model_id)
    values: dict[str, Any] = {
        **registry.get_metadata(model_id).to_dict(),
        "key_fingerprints": list(registry.key_ids(model_id)),
        "history": state["history"],
        "deployments": state["deployments"],
        "serving": {name: entry for name, entry in read_serving(state).items() if name in serves},
        "validated": read_validation(state),
        "approvals": state.get("approvals", []),
        "evidence": state.get("evidence", []),
    }
    shown = {**values, "feature_schema": [item["name"] for item in values["feature_schema"]]}
    shown["history"] = [f"{item['status']} {item['at']} by {item['by']} ({item['why']})" for item in values["history"]]
    shown["deployments"] = [item["deployment_id"] for item in values["deployments"]]
    shown["serving"] = [f"{name} since {entry['since']}" for name, entry in values["serving"].items()]
    shown["approvals"] = [_describe_approval(each) for each in values["approvals"]]
    shown["evidence"] = [
        f"{item['sha256']} {item['name']} ({item['for']}, {item['by']})" for item in values["evidence"]
    ]
    show(options, values, facts(shown))
    return 0


def _describe_approval(approval: dict[str, Any]) -> str:
    withdrawn = approval.get("withdrawn")
    after = f"; withdrawn {withdrawn['at']} by {withdrawn['by']} ({withdrawn['reason']})" if withdrawn else ""
    where = f" in {approval['registry']}, which does not count here" if approval.get("registry") else ""
    return f"{approval['at']} by {approval['by']}{where} ({approval['reason']}), evidence {approval['evidence']}{after}"


def card(options: Options) -> int:
    """Prints a model version's card in Markdown."""
    from model_store.registry.files.model_card import model_card

    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    text = model_card(registry.get_metadata(model_id), registry.state(model_id))
    show(options, {"model_id": model_id, "markdown": text}, printable(text.rstrip()))
    return 0


def alias_set(options: Options) -> int:
    """Points an alias at a model version."""
    from model_store.registry.aliases import Aliases

    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    Aliases(registry).set(options.name, options.alias, model_id, options.reason)
    answer = {"name": options.name, "alias": options.alias, "model_id": model_id}
    show(options, answer, f"{options.name}@{options.alias} is {model_id}")
    return 0


def alias_remove(options: Options) -> int:
    """Removes an alias."""
    from model_store.registry.aliases import Aliases

    Aliases(open_registry()).remove(options.name, options.alias, options.reason)
    show(options, {"name": options.name, "alias": options.alias}, f"{options.name}@{options.alias} is gone")
    return 0


def alias_list(options: Options) -> int:
    """Lists aliases and what they pointed at."""
    from model_store.registry.aliases import Aliases

    registry = open_registry()
    aliases = Aliases(registry)
    if options.name and not registry.list_models(name=options.name) and not aliases.of(options.name):
        raise ModelNotFound(f"no model is named {options.name!r}")
    names = [options.name] if options.name else list(aliases.all())
    rows = [
        {"alias": f"{name}@{alias}", "model_id": model_id, "history": aliases.history(name, alias)}
        for name in names
        for alias, model_id in aliases.of(name).items()
    ]
    show(options, rows, table(("alias", "model_id"), rows, empty="no aliases"))
    return 0


def stats(options: Options) -> int:
    """Counts and sizes."""
    from model_store.registry.measuring.statistics import statistics

    values = statistics(open_registry())
    totals = {name: value for name, value in values.items() if name != "models"}
    columns = ("name", "versions", "bytes", "by_status", "aliases", "newest")
    text = facts(totals)
    if values["models"]:
        text += "\n\n" + bordered("models", columns, values["models"])
    show(options, values, text)
    return 0


def verify(options: Options) -> int:
    """Compares the registry with itself, and signatures with public keys."""
    from model_store.registry.files.manifest import is_model_id
    from model_store.registry.signing import SignaturePolicy
    from model_store.registry.upkeep.maintenance import Finding, verify_everything

    registry = open_registry()
    if options.repair and options.model_id:
        raise InvalidInput("--repair works on the whole registry; leave the model versions out")
    repaired = _repaired(registry, options) if options.repair else None
    wanted = [resolved(registry, each) for each in options.model_id]
    findings = list(verify_everything(registry, wanted, options.status_line.step))
    if options.public_key and options.policy != SignaturePolicy.OFF:
        versions = [item.subject for item in findings if is_model_id(item.subject)]
        findings += [_signature_finding(registry, model_id, options, Finding) for model_id in versions]
    rows = [finding.to_dict() for finding in findings]
    text = table(("subject", "intact", "detail"), rows, empty="no model versions")
    if repaired is None:
        show(options, rows, text)
    else:
        show(options, {"repaired": repaired, "findings": rows}, "\n".join([*_describe_damage(repaired), text]))
        if repaired["damaged"]:
            return exit_codes.INCOMPLETE
    return next((finding.exit_code for finding in findings if not finding.intact), 0)


def _repaired(registry: "ModelRegistry", options: Options) -> dict[str, Any]:
    from model_store.registry.files.layout import storage_at
    from model_store.registry.recovery.repair import repair
    from model_store.registry.signing import read_public_key

    keys = [read_public_key(given) for given in options.public_key]
    return repair(registry, storage_at(options.repair), options.status_line.step, keys).to_dict()


def _describe_damage(repaired: dict[str, Any]) -> list[str]:
    lines = [f"repaired  {printable(key)}" for key in repaired["copied"]]
    for key, words in repaired.get("newer", {}).items():
        lines += [f"newer     {printable(key)}: {printable(word)}, not in the copy" for word in words]
    lines += [f"again     {each}: the audit log says that it was deleted" for each in repaired.get("again", [])]
    return lines + [f"damaged   {printable(key)}: {printable(why)}" for key, why in repaired["damaged"].items()]


def _signature_finding(registry: "ModelRegistry", model_id: str, options: Options, finding: Any) -> Any:
    from model_store.registry.signing import SignaturePolicy, read_public_key

    try:
        signer = registry.verify_signature(model_id, [read_public_key(given) for given in options.public_key])
    except SignatureInvalid as error:
        refused = options.policy == SignaturePolicy.REQUIRE
        return finding(f"{model_id} signature", not refused, str(error), error.exit_code if refused else 0)
    return finding(f"{model_id} signature", True, f"signed by {signer}")


def sign(options: Options) -> int:
    """Adds a signature to a model version."""
    from model_store.registry.signing import key_id, read_signing_key

    registry = open_registry()
    registry.require_right("sign", options.model_id)
    model_id, key = resolved(registry, options.model_id), read_signing_key(options.sign_key)
    registry.sign_model(model_id, key)
    name = key_id(key.public_key())
    show(options, {"model_id": model_id, "key_id": name}, f"{model_id} is signed by {name}")
    return 0


def keygen(options: Options) -> int:
    """Writes a new encryption or signing key."""
    from model_store.keys.keyring import write_key_file
    from model_store.registry.signing import write_signing_key

    try:
        name = write_signing_key(options.file) if options.signing else write_key_file(options.file)
    except FileExistsError:
        raise VersionConflict(f"{options.file}: is there already; a key is never overwritten") from None
    show(options, {"file": str(options.file), "key_id": name}, f"{options.file}: {name}")
    return 0


def rotate_key(options: Options) -> int:
    """Gives artifacts other keys; their digests stay."""
    from model_store import Keyring
    from model_store.registry.upkeep.key_rotation import rotate_keys

    registry = open_registry()
    registry.require_right("rotate-key", ", ".join(options.model_id))
    new_keys: Keyring = Keyring.from_files(*options.new_key)
    model_ids = [resolved(registry, each) for each in options.model_id]
    rotated = rotate_keys(registry, model_ids, new_keys.providers, options.status_line.step)
    names = [key.key_id for key in new_keys.providers]
    answer = {"rotated": rotated, "keys": names}
    show(options, answer, f"{len(rotated)} artifact(s) are encrypted for {', '.join(names)} now")
    return 0


def inspect(options: Options) -> int:
    """Shows what a model file names, without loading it."""
    from model_store.registry.outside import inspect_file

    found = inspect_file(options.file)
    lines = [f"{'untrusted' if name in found['untrusted'] else 'trusted':9}  {name}" for name in found["named"]]
    if refused := found.get("refused"):
        lines.append(f"refused by the rule {refused['rule']!r}: {refused['message']} ({refused['position']})")
    show(options, found, "\n".join(lines) or "names nothing")
    return exit_codes.UNTRUSTED_TYPE if found["untrusted"] or refused else 0


def doctor(options: Options) -> int:
    """Says which walls this machine raises around the process that opens a file from outside."""
    from model_store.confinement.opening import walls_here

    rows = walls_here()
    show(options, rows, table(("name", "stands", "detail"), rows, empty=""))
    return exit_codes.FAILED if any(not row["stands"] for row in rows) else 0


def convert(options: Options) -> int:
    """Saves a model file or artifact again."""
    from model_store import SecureModelPersistence

    if options.target.suffix.lower() in _OTHER_FILES:
        raise InvalidInput(
            f"{options.target}: convert writes an artifact of this project, whatever it holds; name it "
            f"{options.target.stem}.artifact"
        )
    persistence = SecureModelPersistence(keys=open_registry().keys)
    report = persistence.convert_model_format(options.source, options.target, options.to, options.compression)
    show(options, report, facts(report))
    return 0


def backup(options: Options) -> int:
    """Copies the registry to another place."""
    from model_store.registry.recovery import backups

    counts = backups.backup(open_registry(), options.destination, options.status_line.step)
    line = f"{options.destination}: {counts['copied']} copied, {counts['present']} there already"
    show(options, counts, "\n".join([line, *_describe_damage({"copied": [], "damaged": counts["damaged"]})]))
    return exit_codes.INCOMPLETE if counts["damaged"] else 0


def restore(options: Options) -> int:
    """Copies from a backup what the registry does not have, or has damaged."""
    from model_store.registry.recovery import backups

    counts = backups.restore(open_registry(), options.source, options.status_line.step)
    line = f"{options.source}: {counts['copied']} restored, {counts['present']} there already"
    show(options, counts, "\n".join([line, *_describe_damage({**counts, "copied": []})]))
    return exit_codes.INCOMPLETE if counts["damaged"] else 0


def delete(options: Options) -> int:
    """Deletes a model version for good."""
    from model_store.registry.upkeep.maintenance import delete_model
    from stacks.engine.in_use import versions_in_use

    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    delete_model(registry, model_id, options.reason, versions_in_use(CHECKOUT))
    show(options, {"model_id": model_id}, f"{model_id} is gone")
    return 0


def cleanup(options: Options) -> int:
    """Removes old model versions of a registry, or old model files of a directory."""
    from model_store.registry.upkeep.maintenance import cleanup as clean_registry
    from model_store.registry.upkeep.maintenance import cleanup_directory, cleanup_leftovers
    from stacks.engine.in_use import versions_in_use

    registry = open_registry()
    directory = options.directory.resolve()
    root = Path(registry.storage.location).resolve()
    if directory in (root, root / "models"):
        going, kept = clean_registry(
            registry, options.keep_latest, dry_run=options.dry_run, in_use=versions_in_use(CHECKOUT)
        )
        left = cleanup_leftovers(registry, dry_run=options.dry_run)
    else:
        going = cleanup_directory(registry, options.directory, options.keep_latest, dry_run=options.dry_run)
        kept, left = {}, []
    verb = "would go" if options.dry_run else "is gone"
    lines = [f"{verb}  {name}" for name in [*going, *left]] + [
        f"stays    {name}: it {why}" for name, why in kept.items()
    ]
    answer = {"removed": going, "kept": kept, "leftovers": left, "dry_run": options.dry_run}
    show(options, answer, "\n".join(lines) or "nothing to clean up")
    return 0
