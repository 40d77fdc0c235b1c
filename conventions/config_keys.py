"""Keys of a stack's config, as its file and its history have them."""

PROJECT = "fraud-detection"
"""The project's name, which stands before each key."""


def config_key(name: str) -> str:
    """A key with the project before it, such as `fraud-detection:platform`."""
    return f"{PROJECT}:{name}"


def short(key: str) -> str:
    """A key as the project's own config is asked for it."""
    return key.removeprefix(f"{PROJECT}:")


MODEL_VERSION = config_key("modelVersion")
DEPLOYMENT = config_key("deployment")
PLATFORM = config_key("platform")
ROLLOUT = config_key("rollout")
BREAK_GLASS = config_key("breakGlass")
SIGNING = config_key("signing")
TRUSTED_TYPES = config_key("trusted_types")
CLOUD = config_key("cloud")
KUBERNETES = config_key("kubernetes")
IMAGE = config_key("image")
