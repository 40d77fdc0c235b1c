"""Makes the Pulumi engine available on this machine.

    python -m toolchain            # from PATH, by download, or built from Go modules; prints where

The engine and its launchers are in the user's cache directory, keyed by a hash of their sources, so a second call finds
them. `pulumi` in the virtual environment becomes a small wrapper that sets this checkout's state and passphrase.
"""

ENGINE_VERSION = "3.259.0"
"""The version to download or build: the newest one whose Go modules the module proxy serves."""

MINIMUM_ENGINE_VERSION = "3.230.0"
"""The oldest accepted engine on PATH: the first with the language host's handshake that this project uses."""

AWS_PROVIDER_VERSION = "7.22.0"
"""The Python SDK's version in pyproject.toml; a build answers with Terraform's AWS provider 6.34."""

KUBERNETES_PROVIDER_VERSION = "4.25.0"
"""The Python SDK's version in pyproject.toml."""

VALE_VERSION = "3.22.0"
"""The newest release of the prose linter whose Go modules the module proxy serves in full."""
