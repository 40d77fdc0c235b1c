"""Makes the Pulumi engine available on this machine.

    python -m toolchain            # from PATH, by download, or built from Go modules; prints where

The engine and its launchers live in the user's cache directory, keyed by a hash of what they are made from, so that a
second call does nothing. `pulumi` in the virtual environment becomes a small wrapper that knows this checkout's state
and passphrase.
"""

ENGINE_VERSION = "3.259.0"
"""The engine that is downloaded or built (the newest that the Go modules serve)."""

MINIMUM_ENGINE_VERSION = "3.230.0"
"""The oldest engine on PATH that is taken as it is: the first with the language host's handshake used here."""

AWS_PROVIDER_VERSION = "7.22.0"
"""The Python SDK's version in pyproject.toml; what is built answers it with Terraform's AWS provider 6.34."""

KUBERNETES_PROVIDER_VERSION = "4.25.0"
"""The Python SDK's version in pyproject.toml."""

VALE_VERSION = "3.22.0"
"""The newest release of the prose linter whose Go modules the module proxy serves in full."""
