"""What keeps the service from starting; each kind has its exit code, beside those of `model_store.errors`."""

from conventions import exit_codes


class ServingError(Exception):
    """Base of the service's own errors."""

    exit_code = exit_codes.FAILED


class SettingsError(ServingError):
    """The environment does not say what it has to."""

    exit_code = exit_codes.INVALID_INPUT


class ModelUnusable(ServingError):
    """The model is intact, but is not one that this service can ask for a probability."""

    exit_code = exit_codes.NOT_INTACT


class ApiKeysError(ServingError):
    """The file of API keys cannot be used."""

    exit_code = exit_codes.KEY_PROBLEM
