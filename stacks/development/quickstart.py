"""`make up`: from a fresh checkout to an endpoint that answers; from any half-way state, the rest of it."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacks.deployment import ModelDeployment
from stacks.deployment_updates import DeployOutcome
from stacks.engine.development_secrets import ensure_development_secrets
from stacks.engine.locks import remove_stale_locks
from stacks.engine.run import Log
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment
from stacks.errors import StacksError

if TYPE_CHECKING:
    from model_store import ModelRegistry

EXAMPLE_MODELS = ("xgboost_model_previous.joblib", "xgboost_model.joblib")
"""The example's model files, oldest first: the last one is deployed, the one before it is there to roll back to."""


@dataclass(frozen=True)
class _Example:
    file: Path
    description: dict[str, Any]


def bring_up(deployments: ModelDeployment, checkout: Path, name: str, log: Log) -> DeployOutcome:
    """Makes what is missing (keys, example models, registrations) and brings the environment up.

    The stack's own model version stays when it has one; else it is the example's newest.

    Args:
        deployments: what deploys.
        checkout: the project's root.
        name: the environment; only development makes its own keys and example models.
        log: told the progress.

    Raises:
        StacksError: the environment is not development, or the example could not be trained.
    """
    environment = DeploymentEnvironment.named(name)
    if environment is not DeploymentEnvironment.DEVELOPMENT:
        raise StacksError(
            f"`up` prepares development only; for {environment}: deploy_model.py deploy MODEL_ID {environment}"
        )
    ensure_development_secrets(checkout)
    for lock in remove_stale_locks(checkout, environment):
        log(f"removed the lock of a run that has died ({lock})")
    model_ids = [_registered(deployments.registry, example, log) for example in _examples(checkout, log)]
    model_id = _chosen(deployments, checkout, environment, log) or model_ids[-1]
    return deployments.deploy(deployments.create_deployment_config(model_id, environment))


def _chosen(deployments: ModelDeployment, checkout: Path, environment: DeploymentEnvironment, log: Log) -> str | None:
    """The stack's own model version; None when it has none, or the registry does not know it any more."""
    from model_store.errors import ModelNotFound

    chosen = StackFile.read(checkout, environment).model_version or _last(deployments, environment)
    if not chosen:
        return None
    try:
        return deployments.registry.get_metadata(chosen).model_id
    except ModelNotFound:
        log(f"the registry does not know {chosen}, which the stack's config names; taking the example's newest instead")
        return None


def _last(deployments: ModelDeployment, environment: DeploymentEnvironment) -> str:
    """The version that was deployed last, before the stack was taken down; empty when there was none."""
    found = deployments.list_deployments(environment)
    return found[0].model_id if found else ""


def _examples(checkout: Path, log: Log) -> list[_Example]:
    directory = checkout / "models"
    files = [directory / name for name in EXAMPLE_MODELS]
    if not all(file.exists() and _find_description(file).exists() for file in files):
        _train(checkout, directory, log)
    return [_Example(file, json.loads(_find_description(file).read_text(encoding="utf-8"))) for file in files]


def _find_description(file: Path) -> Path:
    return file.with_name(f"{file.name}.metrics.json")


def _train(checkout: Path, directory: Path, log: Log) -> None:
    log("training the example model (simulated card transactions)")
    script = checkout / "examples" / "train_fraud_model.py"
    completed = subprocess.run(
        [sys.executable, str(script), "--output", str(directory)],
        cwd=checkout,
        stdout=sys.stderr,
        # A Ctrl-C is for this process, which ends that one.
        preexec_fn=_ignore_interrupts,
    )
    if completed.returncode != 0:
        raise StacksError(f"{script.name} ended with code {completed.returncode}; its messages are above")


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _registered(registry: "ModelRegistry", example: _Example, log: Log) -> str:
    """The model id of the example's file, registered now unless the registry knows the very same file."""
    from model_store.registry.outside import register_file
    from model_store.registry.request import RegistrationRequest
    from model_store.serialization.lineage import describe_source

    known = registry.find_by_source(describe_source(example.file)["sha256"])
    if known:
        return known[-1].model_id
    about = example.description
    model_id, _ = register_file(
        registry,
        example.file,
        RegistrationRequest(
            model_name=about["model_name"],
            model_type=about["model_type"],
            feature_schema=about["features"],
            threshold=about["threshold"],
            description=about["description"],
            tags=("example", "xgboost"),
            performance_metrics=about["performance_metrics"],
        ),
    )
    log(f"registered {model_id}")
    return model_id
