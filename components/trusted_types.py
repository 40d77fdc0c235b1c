"""How names that a deployer trusts reach the service, the same on every platform."""

from collections.abc import Sequence


def trusted_variables(trusted_types: Sequence[str]) -> dict[str, str]:
    """The service's variable for the names; none without names, so that a service without them stays as it is."""
    return {"MODEL_TRUSTED_TYPES": ",".join(trusted_types)} if trusted_types else {}
