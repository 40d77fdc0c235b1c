"""What can go wrong while the engine is made available."""


class ToolchainError(Exception):
    """One way to the engine failed; the message says which, why, and what is missing."""


class EngineUnavailable(ToolchainError):
    """Every way to the engine failed; the message lists each with its reason."""
