"""The calls of the guide, as data: `calls.md`."""

import re
import shlex
from pathlib import Path

CALLS = Path(__file__).with_name("calls.md")
EXAMPLE_ID = "fraud_detector_XGBoost_20241009_123456"
EXAMPLE_DEPLOYMENT = "deploy_fraud_detector_production_20241009_140000"
REF_NAME = "model-v1.2.3"


def python_block(title: str) -> str:
    """The Python code of a section."""
    return _block(title, "python")


def commands(title: str, **values: str) -> list[list[str]]:
    """The commands of a section, each as its words; continued lines are one command.

    Args:
        title: of the section.
        **values: of the variables that the commands name.
    """
    text = _block(title, "sh").replace("\\\n", " ").replace("${{ github.ref_name }}", REF_NAME)
    for name, value in values.items():
        text = text.replace(f"${name}", value)
    return [shlex.split(line) for line in text.splitlines() if line.strip()]


def _block(title: str, language: str) -> str:
    section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", CALLS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert section is not None, f"{CALLS.name} has no section {title}"
    block = re.search(rf"^```{language}\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE)
    assert block is not None, f"{CALLS.name}: section {title} has no {language} block"
    return block[1]
