"""The names by which a person calls a registry: a directory, a bucket, or the environment whose bucket it is."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from infra.stack_state import StackState
from model_store.errors import ModelNotFound
from model_store.keys.defaults import registry_location
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment


def named_registry(checkout: Path, name: str, *, is_source: bool = False) -> str:
    """The location of a registry that a person names: a directory, `s3://bucket`, or an environment.

    An environment's registry is the bucket that its stack's file names; on this machine it is the checkout's own. A
    directory of the name comes before the environment.

    Args:
        checkout: the project's root.
        name: what the person wrote.
        is_source: whether the registry has to be there; another one is made by the first write.

    Raises:
        ConfigError: the environment's file does not fit.
        ModelNotFound: there is no such directory, and no environment has the name; or a new directory's name is almost
            an environment's.
    """
    if "://" in name or Path(name).is_dir():
        return name
    names = {each for environment in DeploymentEnvironment for each in (environment.value, environment.stack)}
    if name in names:
        file = StackFile.read(checkout, DeploymentEnvironment.named(name), StackState())
        return f"s3://{file.cloud().registry_bucket}" if file.in_cluster else str(registry_location(checkout))
    if not is_source and "/" not in name and (meant := _meant(name, names)):
        raise ModelNotFound(
            f"{name}: no such environment; is it {meant}? To make a registry in a new directory, write ./{name}"
        )
    if is_source:
        raise ModelNotFound(f"{name}: no such directory, bucket (s3://…) or environment ({', '.join(sorted(names))})")
    return name


def _meant(name: str, names: Iterable[str]) -> str:
    """The environment that a person who wrote a name may have meant; empty where it is like none."""
    begun = [each for each in sorted(names) if len(name) > 2 and each.startswith(name.lower())]
    return next(iter(begun or get_close_matches(name.lower(), sorted(names), n=1, cutoff=0.75)), "")
