"""Writes the JSON Schema of the deployment object for editors: `python -m infra.schema`."""

import json
from pathlib import Path

from infra.deployment_config import json_schema

SCHEMA_FILE = Path(__file__).resolve().parents[1] / "config" / "deployment.schema.json"


def schema_text() -> str:
    """The schema file's content."""
    return json.dumps(json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
