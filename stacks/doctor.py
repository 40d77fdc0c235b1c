"""What a clone, an account or a cluster lacks before a deploy can work, line by line, each with what mends it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from conventions import variables
from conventions.config_keys import DEPLOYMENT, IMAGE, SIGNING
from infra.cloud_config import ImageConfig, parse_object
from infra.errors import ConfigError
from infra.placeholders import placeholders
from infra.stack_state import StackState
from model_store.errors import ModelStoreError
from model_store.keys.defaults import key_file
from stacks.engine.backend import BACKEND_VARIABLE, backend_url, damaged_files, state_directory, unwritable
from stacks.engine.docker_findings import Finding, docker_findings, docker_provider_finding
from stacks.engine.docker_state import on_docker
from stacks.engine.locks import engine_locks
from stacks.engine.secrets_provider import require_right_passphrase, require_secrets_provider
from stacks.engine.stack_file import StackFile
from stacks.engine.workspace import stack_provider
from stacks.environments import DeploymentEnvironment
from stacks.errors import EngineMissing, StacksError

_PROGRAM = "python scripts/deploy_model.py"
_LOOK = "as the line says"


class Doctor:
    """Looks at what an environment needs; changes nothing.

    Args:
        checkout: the project's root.
        environment: which.
        model_versions: counts the registry's model versions.
    """

    def __init__(self, checkout: Path, environment: DeploymentEnvironment, model_versions: Callable[[], int]) -> None:
        self._checkout, self._environment, self._model_versions = checkout, environment, model_versions

    def findings(self) -> list[Finding]:
        """Everything that was looked at, in the order in which it is needed."""
        return list(self._look())

    def _look(self) -> Iterator[Finding]:
        engine = self._engine()
        yield engine
        file, config = self._stack_file()
        yield config
        if engine.there:
            yield from self._state()
        yield self._model_key()
        yield self._api_keys()
        yield self._registry()
        if file is None:
            return
        yield from self._examples_left(file)
        if file.environment is not DeploymentEnvironment.DEVELOPMENT:
            yield self._signers(file)
        if on_docker(file):
            yield from docker_findings(file)
        if file.in_cluster:
            yield from self._image(file)
            yield self._account(file)
            yield from self._cluster(file)

    def _engine(self) -> Finding:
        from stacks.engine.workspace import engine_version

        try:
            return Finding("engine", there=True, detail=f"pulumi {engine_version()}")
        except EngineMissing as error:
            return Finding("engine", there=False, detail=str(error), mend="make setup")

    def _stack_file(self) -> tuple[StackFile | None, Finding]:
        name = f"Pulumi.{self._environment.stack}.yaml"
        init = f"{_PROGRAM} init {self._environment}"
        try:
            file = self._read_file()
            if DEPLOYMENT not in file.config:
                return None, Finding("stack file", there=False, detail=f"{name} has no {DEPLOYMENT}", mend=init)
            file.deployment()
            file.rollout()
            if file.in_cluster:
                file.cloud()
                file.kubernetes()
        except ConfigError as error:
            return None, Finding("stack file", there=False, detail=str(error), mend=f"edit {name}")
        return file, Finding("stack file", there=True, detail=f"{name} fits; platform {file.platform}")

    def _read_file(self) -> StackFile:
        try:
            return StackFile.read(self._checkout, self._environment)
        except StacksError:  # the finding about the state says so
            return StackFile.read(self._checkout, self._environment, StackState())

    def _state(self) -> Iterator[Finding]:
        stack, environment = self._environment.stack, self._environment
        if damaged := damaged_files(self._checkout, stack):
            yield from (Finding("state", there=False, detail=str(each), mend=each.mend or _LOOK) for each in damaged)
            return
        try:
            provider = stack_provider(self._checkout, stack)
        except StacksError as error:
            yield Finding("state", there=False, detail=str(error), mend="set PULUMI_BACKEND_URL, or sign in there")
            return
        where, directory = backend_url(self._checkout), state_directory(self._checkout)
        if directory is not None and (problem := unwritable(directory)):
            yield Finding("state", there=False, detail=f"{where}: {problem}", mend=f"export {BACKEND_VARIABLE}=URL")
            return
        made = "holds the stack" if provider else "does not hold the stack yet; the first deploy makes it"
        yield Finding("state", there=True, detail=f"{where} {made}")
        try:
            require_secrets_provider(self._checkout, stack, provider)
            if provider is not None:
                require_right_passphrase(self._checkout, stack, provider)
            told = provider.name if provider else "chosen by the first deploy"
            yield Finding("secrets provider", there=True, detail=told)
        except (ConfigError, StacksError) as error:
            mend = getattr(error, "mend", "") or _LOOK
            yield Finding("secrets provider", there=False, detail=str(error), mend=mend)
        for lock in engine_locks(self._checkout, environment):
            mend = f"{_PROGRAM} unlock {environment}" if lock.is_stale else "wait for that run"
            yield Finding("lock", there=False, detail=f"the stack is locked by {lock}", mend=mend)

    def _model_key(self) -> Finding:
        if os.environ.get(variables.MODEL_KMS_KEY):
            return Finding("model key", there=True, detail=f"{variables.MODEL_KMS_KEY} names a KMS key")
        path = Path(os.environ.get(variables.MODEL_KEY_FILE) or key_file(self._checkout))
        if path.is_file():
            return Finding("model key", there=True, detail=str(path))
        mend = f"bring the key of the registry here, or make a new one: python scripts/manage_models.py keygen {path}"
        return Finding("model key", there=False, detail=f"{path} is missing", mend=mend)

    def _api_keys(self) -> Finding:
        development = self._environment is DeploymentEnvironment.DEVELOPMENT
        folder = self._checkout / ".secrets" / ("" if development else self._environment.stack)
        path = Path(os.environ.get(variables.API_KEYS_FILE) or folder / "api_keys.json")
        if path.is_file():
            return Finding("API keys", there=True, detail=str(path))
        mend = f"{_PROGRAM} up development" if development else f"{_PROGRAM} api-key {self._environment} NAME"
        return Finding("API keys", there=False, detail=f"{path} is missing", mend=mend)

    def _registry(self) -> Finding:
        try:
            count = self._model_versions()
        except ModelStoreError as error:
            return Finding("registry", there=False, detail=str(error), mend=f"set {variables.MODEL_REGISTRY_URL}")
        if count:
            return Finding("registry", there=True, detail=f"{count} model version(s)")
        mend = "python scripts/manage_models.py register FILE NAME TYPE (or: make up)"
        return Finding("registry", there=False, detail="it has no model version", mend=mend)

    def _examples_left(self, file: StackFile) -> Iterator[Finding]:
        if not file.in_cluster:
            return
        for key, value in placeholders(file.cloud(), file.kubernetes(), file.deployment()):
            detail = f"{file.name}: {key}: {value} is a placeholder"
            yield Finding("your own values", there=False, detail=detail, mend=f"edit {file.name}")

    def _signers(self, file: StackFile) -> Finding:
        signing = file.config.get(SIGNING)
        if isinstance(signing, dict) and signing.get("public_keys"):
            return Finding("signers", there=True, detail=f"{len(signing['public_keys'])} public key(s)")
        mend = f"python scripts/manage_models.py keygen FILE --signing, its public key into {file.name}"
        return Finding("signers", there=False, detail=f"{file.name}: {SIGNING}.public_keys is empty", mend=mend)

    def _image(self, file: StackFile) -> Iterator[Finding]:
        try:
            image = parse_object(file.config.get(IMAGE), IMAGE, ImageConfig, file.name)
        except ConfigError as error:
            yield Finding("image", there=False, detail=str(error), mend=f"edit {file.name}")
            return
        if image.promoted_from:
            yield Finding("image", there=True, detail=f"is that of the stack {image.promoted_from}")
        elif image.reference:
            mend = "" if image.by_digest else f"edit {file.name}: repository@sha256:…"
            yield Finding("image", there=image.by_digest, detail=image.reference, mend=mend)
        elif shutil.which("docker"):
            yield Finding("image", there=True, detail=f"is built into {image.repository}")
            yield docker_provider_finding()
        else:
            detail = f"{file.name}: {IMAGE}.reference is empty, and there is no docker to build one"
            yield Finding(
                "image", there=False, detail=detail, mend=f"make image elsewhere, its digest into {file.name}"
            )

    def _account(self, file: StackFile) -> Finding:
        from infra.preflight import inspect_account

        try:
            account = inspect_account(file.cloud(), file.name)
        except ConfigError as error:
            return Finding("account", there=False, detail=_looked(error), mend="aws sso login, or set AWS_PROFILE")
        return Finding("account", there=True, detail=account.account_id)

    def _cluster(self, file: StackFile) -> Iterator[Finding]:
        from infra.cluster_preflight import cluster_client, inspect_cluster

        kubernetes = file.kubernetes()
        try:
            inspect_cluster(kubernetes, file.deployment().deployment_name, file.name)
            yield Finding("cluster", there=True, detail="it answers")
        except ConfigError as error:
            mend = "aws eks update-kubeconfig --name CLUSTER"
            yield Finding("cluster", there=False, detail=_looked(error), mend=mend)
            return
        from kubernetes import client

        wanted = f"{kubernetes.gateway_namespace}/{kubernetes.gateway}"
        place = ("gateway.networking.k8s.io", "v1", kubernetes.gateway_namespace, "gateways", kubernetes.gateway)
        try:
            client.CustomObjectsApi(cluster_client(kubernetes, file.name)).get_namespaced_custom_object(*place)
            yield Finding("gateway", there=True, detail=wanted)
        except client.ApiException as error:
            detail = f"the cluster has no Gateway {wanted} ({error.status} {error.reason})"
            mend = "kubectl apply the Gateway API and a Gateway with listeners https and http"
            yield Finding("gateway", there=False, detail=detail, mend=mend)


def _looked(error: ConfigError) -> str:
    """An error's message without what it says of a change: this program changes nothing anyway."""
    return str(error).removesuffix("; nothing was changed")
