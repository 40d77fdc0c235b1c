"""What keeps the service from starting; each kind has its exit code, beside those of `model_store.errors`."""


class ServingError(Exception):
    """Base of the service's own errors."""

    exit_code = 1


class SettingsError(ServingError):
    """The environment does not say what it has to."""

    exit_code = 2


class ModelUnusable(ServingError):
    """The model is intact, but is not one that this service can ask for a probability."""

    exit_code = 4


class ApiKeysError(ServingError):
    """The file of API keys cannot be used."""

    exit_code = 6
