"""`python -m model_store.backup DESTINATION`: copies the registry to a destination; a scheduled job runs it.

`MODEL_REGISTRY_URL` names the registry. Only missing and changed objects are copied; damaged ones are named and not
copied, intact ones of the destination are never overwritten by them. Exit codes: those of `manage_models.py`.
"""

import argparse
import json
import sys

from model_store import ModelRegistry
from model_store.errors import ModelStoreError
from model_store.registry.backups import backup


def main(arguments: list[str] | None = None) -> int:
    """Copies the registry and prints what was copied and what is damaged as one line of JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m model_store.backup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("destination", help="a directory or s3://bucket/prefix")
    options = parser.parse_args(arguments)
    try:
        copied = backup(ModelRegistry(), options.destination)
    except ModelStoreError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps({"destination": options.destination, **copied.to_dict()}) + "\n")
    return copied.exit_code


if __name__ == "__main__":
    sys.exit(main())
