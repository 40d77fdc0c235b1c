"""Names of globals in pickles: those of Python 2, and of this package's own modules before they moved."""

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

Global = tuple[str, str]
"""Module and name within it."""


def present_name(module: str, name: str) -> Global:
    """A global by the name that the rules have: pickles of protocols 0 to 2 use names of Python 2."""
    if module == "model_store.serialization.stand_ins":  # written by one version for a short time
        module = "model_store.stand_ins"
    return NAME_MAPPING.get((module, name)) or (IMPORT_MAPPING.get(module, module), name)
