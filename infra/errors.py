"""The error of a stack's config, raised before anything changes."""

from conventions import exit_codes


class ConfigError(Exception):
    """A template or a stack's config is not allowed; the message names file, key, value and the allowed values."""

    exit_code = exit_codes.CONFIG_ERROR
