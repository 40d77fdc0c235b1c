"""Writes the JSON Schema of the deployment object for editors.

python -m infra.schema      # writes config/deployment.schema.json
"""

import argparse
import json
from pathlib import Path

from infra.deployment_config import json_schema

SCHEMA_FILE = Path(__file__).resolve().parents[1] / "config" / "deployment.schema.json"


def schema_text() -> str:
    """The schema file's content."""
    return json.dumps(json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m infra.schema",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
