"""The stack's file as it is committed, whatever use on this machine has added to it."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
_ADDED_BY_USE = ("encryptionsalt:", "  fraud-detection:modelVersion:")


def committed_stack_file() -> str:
    """The content of `Pulumi.dev.yaml` without salt and model version."""
    lines = (CHECKOUT / "Pulumi.dev.yaml").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(_ADDED_BY_USE))
