"""The image of another stack, taken over by its digest: what was tried there is what runs here."""

from dataclasses import replace

import pulumi

from conventions import config_keys
from infra.cloud_config import ImageConfig
from infra.errors import ConfigError

_OUTPUT = "image"


def with_promoted_image(image: ImageConfig, where: str) -> ImageConfig:
    """Returns the image's config with the reference of the stack that `promoted_from` names, where it names one.

    Args:
        image: of the stack's config.
        where: the stack's file, for errors.

    Raises:
        ConfigError: the other stack has deployed no image yet, or none by digest.
    """
    if not image.promoted_from:
        return image
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{image.promoted_from}"
    found = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": name}).value
    outputs = found.get("outputs") if isinstance(found, dict) else None
    reference = outputs.get(_OUTPUT) if isinstance(outputs, dict) else None
    promoted = replace(image, reference=reference if isinstance(reference, str) else "", promoted_from="")
    if not promoted.by_digest:
        raise ConfigError(
            f"{where}: {config_keys.IMAGE}.promoted_from: the stack {image.promoted_from!r} has deployed no image by "
            "digest: deploy to it first, or name an image in reference; nothing was changed"
        )
    return promoted
