"""Errors while an engine or a tool is installed."""


class ToolchainError(Exception):
    """One source failed; the message says which, why, and what is missing."""


class EngineUnavailable(ToolchainError):
    """Every source failed; the message lists each with its reason."""
