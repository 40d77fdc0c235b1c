"""Names of a model version's files in a registry."""

MANIFEST_FILE = "manifest.json"
ARTIFACT_FILE = "artifact"
RUNTIME_FILE = "runtime"
"""The optimized form, where there is one."""
GOLDEN_FILE = "golden"
"""The golden rows."""
SIGNATURE_FILE = "signature.json"
STATE_FILE = "state.json"
"""Status and deployments: the only one that changes."""
UNFINISHED = "unfinished"
"""In a state in S3: when the version was begun; its manifest is written last. The next change takes it away."""
BROUGHT_BY = "brought_by"
"""In a state: the actors who imported or promoted the version into this registry; empty where it was registered."""
EVIDENCE_DIRECTORY = "evidence"
"""Holds evidence files by their SHA-256."""

ACCESS_FILE = "access.json"
"""The access policy, at a registry's root."""

OVERRIDES = "overrides"
"""Holds, in a bucket, what each endpoint's pods read to know whether an override gives the decisions."""

SERVED_FILES = (MANIFEST_FILE, ARTIFACT_FILE, RUNTIME_FILE, GOLDEN_FILE)
"""What a service reads."""
KEPT_FILES = (*SERVED_FILES, SIGNATURE_FILE)
"""What is written once, and goes with a version wherever it goes."""


def override_key(deployment_name: str) -> str:
    """Key in the registry's bucket of the file that says which override gives the decisions of an endpoint."""
    return f"{OVERRIDES}/{deployment_name}.json"
