"""ModelDeployment: deploy a model version, look after it, and take it back."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions.config_keys import DEPLOYMENT, MODEL_VERSION, PLATFORM
from infra.deployment_config import DeploymentConfig, parse_deployment_config, read_template
from infra.errors import ConfigError
from infra.rollout_config import RolloutConfig
from infra.settings import CHECKOUT, require_platform
from stacks.checks.alerts import Alert, evaluate, measured
from stacks.checks.gates import image_versions, require_gates, with_proofs
from stacks.checks.golden import NAME as GOLDEN_ROWS
from stacks.checks.golden import ask_golden_rows, some_of
from stacks.checks.health import Check, HealthReport, check_health
from stacks.checks.signatures import why_unsigned
from stacks.engine.cluster_state import in_cluster, pod_checks, require_as_asked, why_not_ready
from stacks.engine.locks import changing, remove_stale_locks, require_unlocked
from stacks.engine.run import Log, forget_pending_creations, run_destroy, run_up
from stacks.engine.stack_config import changed_config, read_config
from stacks.engine.workspace import existing_environments, select_stack, stack_config_file
from stacks.environments import DeploymentEnvironment
from stacks.errors import AddressTaken, DeploymentFailed, GatesFailed, UnknownDeployment
from stacks.history import (
    Deployment,
    Intent,
    config_of,
    current_deployment,
    deployments,
    message_for,
    version_to_go_back_to,
)
from stacks.model_deployment import ModelDeploymentConfig
from stacks.rollout.deployer import DeployOutcome as DeployOutcome  # part of this module's face
from stacks.rollout.rollouts import Rollouts
from stacks.rollout.state import require_no_rollout

if TYPE_CHECKING:
    from pulumi.automation import Stack

    from model_store import ModelRegistry

_ALL_UPDATES = 1_000_000


class ModelDeployment:
    """Deploys model versions of a registry to the environments of a checkout.

    Args:
        checkout: the project's root; the one this package lies in when not given.
        registry: where model versions are; the checkout's own when not given.
        log: told the progress, line by line; silent when not given.
    """

    def __init__(
        self,
        checkout: Path | None = None,
        registry: "ModelRegistry | None" = None,
        log: Log | None = None,
    ) -> None:
        self.checkout = checkout or CHECKOUT
        self._registry = registry
        self.log = log or (lambda _line: None)

    @property
    def registry(self) -> "ModelRegistry":
        """The registry that deployments take their model versions from."""
        if self._registry is None:
            from stacks.registry_access import open_registry

            self._registry = open_registry(self.checkout)
        return self._registry

    def create_deployment_config(
        self,
        model_id: str,
        environment: DeploymentEnvironment | str,
        deployment_name: str | None = None,
        template: Path | None = None,
        **changes: Any,
    ) -> ModelDeploymentConfig:
        """Returns how an environment serves a model version.

        Args:
            model_id: a model version in the registry, by id, `name@alias` or `name:number`; looked up by the deploy.
            environment: the environment it is for.
            deployment_name: names the endpoint and everything of it; the template's when not given.
            template: a deployment template; the one in `config/deployment_templates/` when not given.
            **changes: other top-level keys that differ from the template.

        Raises:
            ConfigError: the template or a change does not fit the schema, or the template is another environment's.
        """
        wanted = DeploymentEnvironment.named(environment)
        path = template or self.checkout / "config" / "deployment_templates" / f"{wanted}.yaml"
        if deployment_name is not None:
            changes["deployment_name"] = deployment_name
        changed = {**read_template(path).to_dict(), **changes}
        config = parse_deployment_config(changed, "create_deployment_config" if changes else str(path))
        _require_environment(config, wanted, path)
        return ModelDeploymentConfig.of(model_id, config)

    def deploy_model(self, config: ModelDeploymentConfig, **options: Any) -> str:
        """Deploys a model version in place of the present one; returns when its endpoint answers.

        Args:
            config: the model version, and how to deploy it.
            **options: as for `deploy`.

        Returns:
            The deployment id, which `check_deployment_health` takes; `deploy` tells more.

        Raises:
            As for `deploy`.
        """
        return self.deploy(config, **options).deployment.deployment_id

    def deploy(
        self,
        config: ModelDeploymentConfig,
        *,
        detail: str = "",
        auto_rollback: bool = True,
        override_reason: str = "",
        rollout: RolloutConfig | None = None,
    ) -> DeployOutcome:
        """Deploys a model version in place of the present one; returns when its endpoint answers.

        The stack's config says so afterwards, and the plain command line's `preview` shows no change. When anything
        fails, what served before goes on, and the config is as it was.

        Args:
            config: the model version, and how to deploy it.
            detail: added to the message in the stack's history.
            auto_rollback: whether a cluster goes back to the version before when this one does not get healthy; on
                this machine the version before goes on serving anyway.
            override_reason: why it is deployed although it does not pass a gate; recorded in the audit log.
            rollout: of the stack from now on; as it is when not given. `Rollouts` deploys step by step.

        Raises:
            GatesFailed: it does not pass the gates of the config, and nobody has said why it should be deployed still.
            ModelStoreError: the registry does not have the model version, its artifact is not intact, or the key at
                hand does not open it.
            AddressTaken: another program listens there.
            RolloutInProgress: a candidate is being tried.
            StackBusy: somebody else is changing the environment.
            StackLocked: a run that has died left the stack locked.
            DeploymentFailed: the engine or the serving process failed.
        """
        from model_store.registry.aliases import Aliases

        environment = DeploymentEnvironment.named(config.environment)
        model_id = Aliases(self.registry).resolve(config.model_id)
        require_no_rollout(stack_config_file(self.checkout, environment), environment)
        self.require_gates(model_id, environment, config, override_reason)
        message = message_for(Intent.DEPLOY, model_id, detail)
        return self.converge(environment, model_id, config, message, auto_rollback=auto_rollback, rollout=rollout)

    def rollback_deployment(
        self, environment: DeploymentEnvironment | str, to: str | None = None, at: datetime | None = None
    ) -> str:
        """Goes back to a model version that was deployed before; while a candidate is tried, withdraws it.

        Args:
            environment: which.
            to: as for `Rollouts.rollback`.
            at: as for `Rollouts.rollback`.

        Returns:
            The id of the deployment that runs now; `Rollouts.rollback` tells more.

        Raises:
            As for `Rollouts.rollback`.
        """
        return Rollouts(self).rollback(environment, to, at).deployment.deployment_id

    def rollback_target(
        self, environment: DeploymentEnvironment, to: str | None = None, at: datetime | None = None
    ) -> tuple[Deployment, str]:
        """What is deployed, and the model version that a rollback goes back to.

        Raises:
            UnknownDeployment: nothing is deployed.
            NoPriorVersion: as for `Rollouts.rollback`.
        """
        history = self.list_deployments(environment)
        current = current_deployment(history, environment)
        return current, version_to_go_back_to(history, current, to, at)

    def check_deployment_health(self, deployment_id: str, api_key_file: Path | None = None) -> HealthReport:
        """Checks a deployment's process, API, model and resources, and asks its endpoint some golden rows.

        Args:
            deployment_id: which.
            api_key_file: file with an API key that has the scope `predict`; the one that `make up` made, when not
                given. Without a key no golden row is asked, and the report says so.

        Raises:
            UnknownDeployment: no stack's history has it.
        """
        for deployment in self.list_deployments():
            if deployment.deployment_id == deployment_id:
                environment = DeploymentEnvironment.named(deployment.environment)
                file = stack_config_file(self.checkout, environment)
                report = check_health(deployment, self.deployed_config(environment), pod_checks(file, deployment))
                return report.with_check(self._golden_check(deployment, report.url, environment, api_key_file))
        raise _unknown(deployment_id)

    def _golden_check(
        self, deployment: Deployment, url: str, environment: DeploymentEnvironment, api_key_file: Path | None
    ) -> Check:
        from model_store.errors import ModelStoreError
        from model_store.registry.proofs import golden_rows_of

        if api_key_file is None:
            api_key_file = self.checkout / ".secrets" / "api_key"
            if environment is not DeploymentEnvironment.DEVELOPMENT or not api_key_file.exists():
                return Check(GOLDEN_ROWS, healthy=True, detail="not asked: no API key was given (--api-key-file)")
        try:
            found = golden_rows_of(self.registry, deployment.model_id)
        except ModelStoreError as error:
            return Check(GOLDEN_ROWS, healthy=True, detail=f"not asked: {error}")
        if found is None:
            how = f"python scripts/manage_models.py prove {deployment.model_id}"
            return Check(GOLDEN_ROWS, healthy=True, detail=f"not asked: the version has none; {how}")
        return ask_golden_rows(url, api_key_file, some_of(*found))

    def measure(
        self, environment: DeploymentEnvironment | str, api_key_file: Path
    ) -> tuple[dict[str, Any], list[Alert]]:
        """What an environment's endpoint measures of itself, and how that compares with its thresholds.

        Args:
            environment: which.
            api_key_file: file with an API key that has the scope `admin`.

        Raises:
            EndpointSilent: it does not answer, or refuses the key.
        """
        config = self.deployed_config(DeploymentEnvironment.named(environment))
        numbers = measured(config.api_endpoint, api_key_file)
        return numbers, evaluate(numbers, config)

    def list_deployments(self, environment: DeploymentEnvironment | str | None = None) -> list[Deployment]:
        """The deployments of an environment, or of all, newest first."""
        there = existing_environments(self.checkout)
        wanted = there if environment is None else [DeploymentEnvironment.named(environment)]
        found = [
            deployment
            for each in wanted
            if each in there
            for deployment in self._history(each, select_stack(self.checkout, each))
        ]
        return sorted(found, key=lambda deployment: deployment.started_at, reverse=True)

    def deployment(self, deployment_id: str) -> tuple[Deployment, dict[str, Any]]:
        """A deployment, and the config that it was made with.

        Raises:
            UnknownDeployment: no stack's history has it.
        """
        for each in existing_environments(self.checkout):
            updates = self._updates(select_stack(self.checkout, each))
            for found in deployments(each, updates):
                if found.deployment_id == deployment_id:
                    return found, config_of(updates[len(updates) - found.update])
        raise _unknown(deployment_id)

    def last_config(self, environment: DeploymentEnvironment) -> dict[str, Any]:
        """The config that the last successful update was made with; empty when there was none."""
        if environment not in existing_environments(self.checkout):
            return {}
        for update in self._updates(select_stack(self.checkout, environment)):
            if update.result == "succeeded":
                return config_of(update) if update.kind == "update" else {}
        return {}

    def destroy(self, environment: DeploymentEnvironment | str) -> bool:
        """Stops the endpoint and deletes what the stack holds; registry and history stay.

        Returns:
            Whether there was anything to delete.
        """
        wanted = DeploymentEnvironment.named(environment)
        with changing(self.checkout, wanted):
            require_unlocked(self.checkout, wanted)
            stack = select_stack(self.checkout, wanted)
            if not stack.outputs() and not _has_resources(stack):
                return False
            run_destroy(stack, self.log)
        return True

    def unlock(self, environment: DeploymentEnvironment | str) -> int:
        """Removes what dead runs left in the environment's state: locks, and creations they had begun.

        What they were creating is not in the state then; the next update creates it, or finds it running.

        Returns:
            How many locks there were.
        """
        wanted = DeploymentEnvironment.named(environment)
        locks = remove_stale_locks(self.checkout, wanted)
        for lock in locks:
            self.log(f"removed the lock of a run that has died ({lock})")
        if locks:
            forget_pending_creations(select_stack(self.checkout, wanted))
        return len(locks)

    def require_gates(
        self, model_id: str, environment: DeploymentEnvironment, config: DeploymentConfig, override_reason: str
    ) -> None:
        """Raises unless a model version passes the gates of the config, or somebody has said why it should anyway.

        Raises:
            GatesFailed: names each gate that it does not pass.
        """
        from model_store.errors import ModelNotFound
        from model_store.persistence import library_versions

        file = stack_config_file(self.checkout, environment)
        before = read_config(file).get(MODEL_VERSION)
        try:
            deployed = self.registry.get_metadata(str(before)) if before else None
        except ModelNotFound:
            deployed = None
        # An image has its own libraries; a process of this machine has these.
        installed = image_versions(self.checkout) if in_cluster(file) else library_versions()
        unsigned = why_unsigned(self.registry, model_id, environment, read_config(file))
        try:
            candidate = with_proofs(self.registry.get_metadata(model_id), self.registry.state(model_id), installed)
            require_gates(candidate, deployed, config.gates, installed, unsigned)
        except GatesFailed as refusal:
            if not override_reason:
                raise
            detail = "; ".join(line.strip() for line in str(refusal).splitlines()[1:-1])
            self.registry.audit.append("force", model_id, override_reason, environment=str(environment), gates=detail)
            self.log(f"deploying although {detail}: {override_reason}")

    def converge(
        self,
        environment: DeploymentEnvironment,
        model_id: str,
        config: DeploymentConfig,
        message: str,
        *,
        auto_rollback: bool = False,
        rollout: RolloutConfig | None = None,
    ) -> DeployOutcome:
        """Writes the stack's config and brings the stack to it; when that fails, the config is as it was.

        Args:
            environment: which.
            model_id: the stable model version.
            config: how it is deployed.
            message: for the stack's history.
            auto_rollback: as for `deploy`.
            rollout: what the other slot holds, and its weight; as it is when not given.

        Raises:
            ModelStoreError, StackBusy, StackLocked, DeploymentFailed: as for `deploy`.
        """
        for version in filter(None, (model_id, rollout.other if rollout else "")):
            self.registry.verify_artifact(version)
            self.registry.require_key(version)
        self._require_free_address(environment, config)
        with changing(self.checkout, environment):
            require_unlocked(self.checkout, environment)
            stack = select_stack(self.checkout, environment)
            file = stack_config_file(self.checkout, environment)
            before = read_config(file).get(MODEL_VERSION)
            try:
                with changed_config(file, model_id, config, rollout):
                    result = run_up(stack, environment, message, self.log)
                    require_as_asked(file, config, result.outputs)
            except DeploymentFailed as error:
                reason = f"{error}{why_not_ready(file, config)}"
                if not auto_rollback or before in (None, model_id) or not in_cluster(file):
                    raise DeploymentFailed(reason) from None
                self.log(f"{model_id} did not get healthy; going back to {before}")
                back = message_for(Intent.ROLLBACK, str(before), f"{model_id} did not get healthy")
                run_up(stack, environment, back, self.log)
                raise DeploymentFailed(f"{reason}; {environment} went back to {before}") from None
            current = current_deployment(self._history(environment, stack), environment)
            outcome = DeployOutcome(current, result.changed, result.changes, result.outputs)
        self._record(outcome)
        return outcome

    def _require_free_address(self, environment: DeploymentEnvironment, config: DeploymentConfig) -> None:
        """Stops before anything is changed when a process of this machine cannot listen there."""
        from components.process_supervision import address_taken_by_another

        file = stack_config_file(self.checkout, environment)
        platform = str(read_config(file).get(PLATFORM, "local"))
        require_platform(environment, platform, file.name)
        address = {"checkout": self.checkout, "deployment_name": config.deployment_name}
        if platform == "local" and (
            taken := address_taken_by_another({**address, "host": config.host, "port": config.port})
        ):
            raise AddressTaken(taken)

    def _record(self, outcome: DeployOutcome) -> None:
        if outcome.changed:
            deployment = outcome.deployment
            self.registry.record_deployment(
                deployment.model_id,
                environment=deployment.environment,
                deployment_id=deployment.deployment_id,
            )

    def _history(self, environment: DeploymentEnvironment, stack: "Stack") -> list[Deployment]:
        return deployments(environment, self._updates(stack))

    def _updates(self, stack: "Stack") -> list[Any]:
        # Without a page size the engine lists the newest ten only.
        return list(stack.history(page_size=_ALL_UPDATES, page=1, show_secrets=False))

    def deployed_config(self, environment: DeploymentEnvironment) -> DeploymentConfig:
        """The deployment config in an environment's stack file.

        Raises:
            ConfigError: it does not fit.
        """
        path = stack_config_file(self.checkout, environment)
        return parse_deployment_config(read_config(path).get(DEPLOYMENT), f"{path.name}: {DEPLOYMENT}")


def _unknown(deployment_id: str) -> UnknownDeployment:
    return UnknownDeployment(
        f"there is no deployment {deployment_id!r}; see: python scripts/deploy_model.py list-deployments"
    )


def _has_resources(stack: "Stack") -> bool:
    state = stack.export_stack().deployment or {}
    return bool(state.get("resources") or state.get("pending_operations"))


def _require_environment(config: DeploymentConfig, wanted: DeploymentEnvironment, path: Path) -> None:
    if config.environment != wanted:
        raise ConfigError(
            f"{path}: environment: {config.environment!r} is not allowed; allowed: {str(wanted)!r}, "
            "the environment that is deployed to"
        )
