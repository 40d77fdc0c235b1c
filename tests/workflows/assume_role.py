"""Prints the variables of a role's credentials in the sandbox, as lines for GITHUB_ENV."""

import json
import os
import sys
from pathlib import Path

import boto3


def main() -> int:
    """Assumes the role."""
    role, region = sys.argv[1:]
    variables = json.loads(Path(os.environ["TEST_SANDBOX"]).read_text())
    client = boto3.client(
        "sts",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        verify=variables["AWS_CA_BUNDLE"],
        region_name=region,
        aws_access_key_id="sandbox",
        aws_secret_access_key="sandbox",
    )
    found = client.assume_role(RoleArn=role, RoleSessionName="job")["Credentials"]
    variables |= {
        "AWS_ACCESS_KEY_ID": found["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": found["SecretAccessKey"],
        "AWS_SESSION_TOKEN": found["SessionToken"],
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        # The same in every job, as a runner's `~/.kube/config` is: the stacks' state names it.
        "KUBECONFIG": str(Path(os.environ["TEST_STATE"]) / "kube" / "config"),
    }
    print("\n".join(f"{name}={value}" for name, value in variables.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
