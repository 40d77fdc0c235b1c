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
EVIDENCE_DIRECTORY = "evidence"
"""Holds evidence files by their SHA-256."""

ACCESS_FILE = "access.json"
"""The access policy, at a registry's root."""

SERVED_FILES = (MANIFEST_FILE, ARTIFACT_FILE, RUNTIME_FILE, GOLDEN_FILE)
"""What a service reads."""
KEPT_FILES = (*SERVED_FILES, SIGNATURE_FILE)
"""What is written once, and goes with a version wherever it goes."""
