"""Addresses in a stack's config."""

from urllib.parse import SplitResult, urlsplit


def split_address(value: str, *schemes: str) -> SplitResult | None:
    """The parts of an address; None where it is not one.

    Args:
        value: such as `https://models.bank.example:8443`.
        *schemes: the allowed ones.

    Returns:
        Parts with a host, and with a port from 1 to 65535 where the address names one.
    """
    if not value.isprintable() or " " in value:
        return None
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return None
    return parts if parts.scheme in schemes and parts.hostname and port != 0 else None
