"""The commands of manage_models.py about files of transactions: `score` and `compare`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from conventions import exit_codes
from model_store.errors import InvalidInput
from scripts import completion
from scripts.command_line import Argument, Option, Options, Program, add_command, facts, path_type, show, table
from scripts.registry_commands import open_registry, resolved

if TYPE_CHECKING:
    from model_store.registry.measuring.version_comparison import Comparison, Gate

_SHARE = click.FloatRange(0, 1)
_COST = click.FloatRange(min=0)
_ID = "fraud_detector_XGBoost_20241009_123456"
_GATES = {
    "max_decided_differently": "fail when a larger share of the rows, 0 to 1, is decided differently",
    "min_auc_gain": "fail when the AUC of AFTER is not at least so much higher; below 0 it may be lower",
    "min_precision_gain": "the same for the precision",
    "min_recall_gain": "the same for the recall",
    "min_cost_saving": "fail when AFTER does not save at least so much of the cost",
}
_METRICS = ("auc", "precision", "recall", "cost")


def add_batch_commands(commands: Program, program: str) -> None:
    """Adds `score` and `compare`.

    Args:
        commands: of the program.
        program: as examples call it.
    """
    _add_score(commands, program)
    _add_compare(commands, program)


def _add_score(commands: Program, program: str) -> None:
    add_command(
        commands,
        "score",
        score,
        "score the rows of a CSV or Parquet file as the service would",
        f"{program} score {_ID} october.csv --out scored.csv\n"
        f"  {program} score fraud_detector@champion october.parquet --out scored.parquet --keep id --json",
        Argument("model_id", shell_complete=completion.models),
        Argument("file", "rows: .csv (also .gz, .bz2, .xz) or .parquet, names in the first line", type=path_type()),
        Option("--out", type=path_type(), required=True, metavar="FILE", help="a .csv or .parquet file to write"),
        Option("--keep", multiple=True, metavar="COLUMN", help="copy only this column of FILE; may be repeated (all)"),
        Option(
            "--refused",
            type=click.Choice(("mark", "stop")),
            default="mark",
            help="rows that the model does not take: write why in the column `refused`, or stop and write nothing "
            "(mark)",
        ),
        Option("--threshold", type=_SHARE, metavar="SHARE", help="fraud from this score on (the version's own)"),
        Option("--overwrite", is_flag=True, help="replace the file of --out"),
        _trust(),
    )


def _add_compare(commands: Program, program: str) -> None:
    add_command(
        commands,
        "compare",
        compare,
        "compare two versions on one labelled file; with limits, a gate",
        f"{program} compare fraud_detector@champion {_ID} --data october.csv --label is_fraud\n"
        f"  {program} compare fraud_detector:3 fraud_detector:4 --data october.csv --label is_fraud \\\n"
        "      --min-auc-gain 0 --max-decided-differently 0.02",
        Argument("before", "the version to compare with", shell_complete=completion.models),
        Argument("after", "the version that may follow", shell_complete=completion.models),
        Option("--data", type=path_type(), required=True, metavar="FILE", help="labelled rows, CSV or Parquet"),
        Option("--label", required=True, metavar="COLUMN", help="the column of --data that holds the class"),
        Option("--positive-class", metavar="CLASS", help="the label that is fraud (that of the versions)"),
        Option("--threshold", type=_SHARE, metavar="SHARE", help="of both versions (each one's own)"),
        Option("--cost-missed", type=_COST, metavar="COST", help="of a fraud that is missed"),
        Option("--cost-alarm", type=_COST, metavar="COST", help="of a false alarm"),
        Option(
            "--examples",
            type=click.IntRange(0, 1000),
            default=5,
            metavar="N",
            help="how many rows that are decided differently are shown (5)",
        ),
        *(
            Option(
                f"--{name.replace('_', '-')}",
                type=_SHARE if name.startswith("max_") else float,
                metavar="LIMIT",
                help=words,
                section="Limits",
            )
            for name, words in _GATES.items()
        ),
        _trust(),
    )


def _trust() -> Option:
    return Option(
        "--trust", multiple=True, metavar="NAME", help="a global to allow beside the allow-list; may be repeated"
    )


def score(options: Options) -> int:
    """Scores the rows of a file."""
    from model_store.registry.measuring.scoring import load_scorer, score_file

    registry = open_registry()
    scorer = load_scorer(registry, resolved(registry, options.model_id), options.threshold, options.trust)
    found = score_file(
        scorer,
        options.file,
        options.out,
        keep=options.keep or None,
        stop_at_refused=options.refused == "stop",
        overwrite=options.overwrite,
        step=options.status_line.tell,
    )
    values = found.to_dict()
    lines = [f"refused  line {each['line']}: {each['reason']}" for each in found.first_refused]
    if found.refused > len(lines):
        lines.append(f"refused  {found.refused - len(lines)} more; the column `refused` says why")
    shown = {name: value for name, value in values.items() if name != "first_refused"}
    show(options, values, "\n".join([facts(shown), *lines]))
    return exit_codes.INCOMPLETE if found.refused else 0


def compare(options: Options) -> int:
    """Compares two versions on one labelled file."""
    from model_store.registry.measuring.scoring import load_scorer
    from model_store.registry.measuring.version_comparison import compare as compare_versions

    if (options.cost_missed is None) != (options.cost_alarm is None):
        raise InvalidInput("--cost-missed and --cost-alarm belong together; give both")
    if options.min_cost_saving is not None and options.cost_missed is None:
        raise InvalidInput("--min-cost-saving needs --cost-missed and --cost-alarm")
    registry = open_registry()
    before, after = (
        load_scorer(registry, resolved(registry, each), options.threshold, options.trust)
        for each in (options.before, options.after)
    )
    found = compare_versions(
        before,
        after,
        options.data,
        options.label,
        positive_class=options.positive_class,
        costs=(options.cost_missed, options.cost_alarm),
        most_examples=options.examples,
        step=options.status_line.tell,
    )
    limits = {name: getattr(options, name) for name in _GATES}
    gates = [found.gate(name, limit) for name, limit in limits.items() if limit is not None]
    held = all(gate.held for gate in gates)
    values = {**found.to_dict(), "gates": [asdict(gate) for gate in gates], "held": held}
    show(options, values, _described(found, gates))
    return 0 if held else exit_codes.BREACHED


def _described(found: "Comparison", gates: "list[Gate]") -> str:
    rows: list[dict[str, Any]] = [asdict(found.before), asdict(found.after)]
    lines = [
        f"{found.file}: {found.rows} rows, {found.fraud} of them fraud; {found.compared} answered by both versions",
        table(("model_id", "threshold", *_METRICS, "found", "missed", "alarms", "refused"), rows, empty=""),
        f"decided differently: {found.decided_differently} rows, {found.share_decided_differently:.4%}",
    ]
    for each in found.examples:
        label = "fraud" if each["label_is_fraud"] else "no fraud"
        lines.append(f"  line {each['line']} ({label}): {_answer(each['before'])}, then {_answer(each['after'])}")
    lines += [
        f"{'held' if gate.held else 'NOT HELD'}  --{gate.name.replace('_', '-')} {gate.limit:g}: {gate.value:.6g}"
        for gate in gates
    ]
    return "\n".join(lines)


def _answer(answer: dict[str, Any]) -> str:
    if "refused" in answer:
        return f"refused ({answer['refused']})"
    return f"{answer['fraud_probability']:.6f} {'fraud' if answer['is_fraud'] else 'no fraud'}"
