"""The commands of `manage_models.py` that decide about a version: its status, its approval."""

from scripts import completion
from scripts.command_line import Argument, Option, Options, Program, add_command, path_type, show

_ID = "fraud_detector_XGBoost_20241009_123456"


def add_decision_commands(commands: Program, program: str) -> None:
    """Adds update-status and approve.

    Args:
        commands: the program.
        program: its name, for examples.
    """
    model_id = Argument("model_id", shell_complete=completion.models)
    reason = Option("--reason", default="", metavar="WHY", help="why; recorded in the audit log")
    evidence = Option(
        "--evidence",
        type=path_type(),
        metavar="FILE",
        help="a file of at most 16 MiB that shows why, such as a test report; stored beside the version",
    )
    add_command(
        commands,
        "update-status",
        _update_status,
        "set a version's status; validated needs evidence",
        f'{program} update-status {_ID} validated --evidence report.html --reason "passed the review"',
        model_id,
        Argument(
            "status",
            "trained, validated, staged, deployed, deprecated or archived",
            shell_complete=completion.statuses,
        ),
        evidence,
        reason,
    )
    add_command(
        commands,
        "approve",
        _approve,
        "approve a version that somebody else registered, or withdraw its approval",
        f'{program} approve {_ID} --evidence review.pdf --reason "reviewed by the fraud team"',
        model_id,
        evidence,
        reason,
        Option("--withdraw", is_flag=True, help="withdraw every approval of the version; needs --reason"),
    )


def _update_status(options: Options) -> int:
    from scripts.registry_commands import open_registry, resolved

    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    changed = registry.update_model_status(model_id, options.status, options.reason, evidence=options.evidence)
    show(options, changed.to_dict(), f"{changed.model_id} is {changed.status}")
    return 0


def _approve(options: Options) -> int:
    from model_store.errors import InvalidInput
    from scripts.registry_commands import open_registry, resolved

    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    if options.withdraw:
        if options.evidence is not None:
            raise InvalidInput("--withdraw and --evidence exclude each other")
        count = registry.withdraw_approval(model_id, options.reason)
        show(options, {"model_id": model_id, "withdrawn": count}, f"{model_id}: {count} approval(s) withdrawn")
        return 0
    if options.evidence is None:
        raise InvalidInput("an approval needs evidence: --evidence FILE")
    approval = registry.approve(model_id, options.evidence, options.reason)
    show(options, {"model_id": model_id, **approval}, f"{model_id} is approved by {approval['by']}")
    return 0
