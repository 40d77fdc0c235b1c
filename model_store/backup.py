"""Copies the registry to a destination; a scheduled job runs it.

    python -m model_store.backup s3://bucket/backups
    MODEL_REGISTRY_URL=/srv/registry python -m model_store.backup /mnt/backup

`MODEL_REGISTRY_URL` names the registry. Only missing and changed objects are copied; immutable objects are never
overwritten. Exit codes: 0 done, 24 done but for damaged files, else those of `manage_models.py`.
"""

import argparse
import json
import sys

from conventions import exit_codes
from model_store import ModelRegistry
from model_store.errors import ModelStoreError
from model_store.registry.backups import backup


def main(arguments: list[str] | None = None) -> int:
    """Copies the registry and prints the counts as one line of JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m model_store.backup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("destination", help="a directory or s3://bucket/prefix")
    options = parser.parse_args(arguments)
    try:
        counts = backup(ModelRegistry(), options.destination)
    except ModelStoreError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps({"destination": options.destination, **counts}) + "\n")
    return exit_codes.INCOMPLETE if counts["damaged"] else 0


if __name__ == "__main__":
    sys.exit(main())
