"""Copies the registry to a destination; a scheduled job runs it.

    python -m model_store.backup s3://bucket/backups
    MODEL_REGISTRY_URL=/srv/registry python -m model_store.backup /mnt/backup

`MODEL_REGISTRY_URL` names the registry. Only missing and changed objects are copied; immutable objects are never
overwritten. Where `METRICS_NAMESPACE` is set, a whole copy is counted in CloudWatch, for the alarm on a missing one.
Exit codes: 0 done, 24 done but for damaged files, else those of `manage_models.py`.
"""

import argparse
import json
import os
import sys

from conventions import exit_codes, metric_names, variables
from model_store import ModelRegistry
from model_store.errors import ModelStoreError
from model_store.registry.recovery.backups import backup


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
    if counts["damaged"]:
        return exit_codes.INCOMPLETE
    if namespace := os.environ.get(variables.METRICS_NAMESPACE):
        _count_copy(namespace)
    return 0


def _count_copy(namespace: str) -> None:
    """Publishes that a copy is whole. A number that is not delivered is told, and the alarm begins as it should."""
    from botocore.exceptions import BotoCoreError, ClientError

    from model_store.storage.s3_clients import account_client

    environment, name = os.environ.get(variables.ENVIRONMENT, ""), os.environ.get(variables.DEPLOYMENT_NAME, "")
    told = [{"Name": key, "Value": value} for key, value in metric_names.dimensions(environment, name)]
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    data = [{"MetricName": metric_names.BACKUPS, "Dimensions": told, "Value": 1}]
    try:
        account_client("cloudwatch", region).put_metric_data(Namespace=namespace, MetricData=data)
    except (BotoCoreError, ClientError) as error:
        sys.stderr.write(f"warning: the copy is whole, but CloudWatch was not told: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
