"""ModelDeployment: deploy a model version, look after it, and take it back."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.deployment_config import DeploymentConfig
from infra.rollout_config import RolloutConfig
from infra.settings import CHECKOUT
from stacks.checks.alerts import Alert
from stacks.checks.health import HealthReport
from stacks.deployment_checks import DeploymentChecks
from stacks.deployment_history import DeploymentHistory, rollback_target
from stacks.deployment_updates import DeploymentUpdates, DeployOutcome
from stacks.engine.config_merge import deployment_config
from stacks.engine.run import Log
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment
from stacks.history import Deployment, Intent, message_for
from stacks.model_deployment import ModelDeploymentConfig
from stacks.recorded_actors import known_actors
from stacks.requirements import BreakGlassRequest
from stacks.rollout.rollouts import Rollouts
from stacks.rollout.state import require_no_rollout

if TYPE_CHECKING:
    from model_store import ModelRegistry


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
        self.log: Log = log or (lambda _line: None)
        self._history = DeploymentHistory(self.checkout)
        self._updates = DeploymentUpdates(self.checkout, lambda: self.registry, self.log)
        self.checks = DeploymentChecks(self.checkout, lambda: self.registry, self.log)

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
        """Returns how an environment serves a model version: as its stack's file says, and what differs from it.

        Args:
            model_id: a model version in the registry, by any of its names; looked up by the deploy.
            environment: the environment it is for.
            deployment_name: names the endpoint and everything of it; the stack's own when not given.
            template: a deployment template whose keys replace the stack's; each difference is logged. A stack without
                a file of its own starts from the one in `config/deployment_templates/`.
            **changes: other top-level keys that differ.

        Raises:
            ConfigError: the template or a change does not fit the schema, or the template is another environment's.
        """
        if deployment_name is not None:
            changes["deployment_name"] = deployment_name
        config = deployment_config(self.checkout, self.stack_file(environment), template, changes, self.log)
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
        reason: str = "",
        auto_rollback: bool = True,
        override_reason: str = "",
        break_glass: BreakGlassRequest | None = None,
        rollout: RolloutConfig | None = None,
        action: str = "deploy",
    ) -> DeployOutcome:
        """Deploys a model version in place of the present one; returns when its endpoint answers.

        The stack's config says so afterwards, and the plain command line's `preview` shows no change. When anything
        fails, what served before goes on, and the config is unchanged.

        Args:
            config: the model version, and how to deploy it.
            detail: added to the message in the stack's history.
            reason: why it is deployed; recorded in the stack's history and in the audit log.
            auto_rollback: whether a cluster goes back to the version before when this one does not get healthy; on
                this machine the version before goes on serving anyway.
            override_reason: why it is deployed although it does not pass a gate; recorded in the audit log.
            break_glass: why, and until when, it is deployed although it lacks what the environment requires.
            rollout: of the stack from now on; as it is when not given. `Rollouts` deploys step by step.
            action: what the audit log calls it.

        Raises:
            AccessDenied: the actor's role does not allow it; nothing was looked at.
            GatesFailed: it does not pass the gates of the config, and nobody has said why it should be deployed still.
            RequirementsMissing: it lacks what the environment requires, and nobody breaks the glass.
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
        self.registry.require_right(action, config.model_id, environment=str(environment))
        model_id = Aliases(self.registry).resolve(config.model_id)
        file = self.stack_file(environment)
        require_no_rollout(file)
        file = self.checks.require_fit(file, model_id, config, break_glass)
        self.require_gates(file, model_id, config, override_reason)
        message = message_for(Intent.DEPLOY, model_id, detail)
        why = reason or override_reason or (break_glass.reason if break_glass else "")
        return self.converge(
            file, model_id, config, message, auto_rollback=auto_rollback, rollout=rollout, action=action, reason=why
        )

    def rollback_deployment(
        self, environment: DeploymentEnvironment | str, to: str | None = None, at: date | None = None, reason: str = ""
    ) -> str:
        """Goes back to a model version that was deployed before; while a candidate is tried, withdraws it.

        Args:
            environment: which.
            to: as for `Rollouts.rollback`.
            at: as for `Rollouts.rollback`.
            reason: why; recorded in the stack's history and in the audit log.

        Returns:
            The id of the deployment that runs now; `Rollouts.rollback` tells more.

        Raises:
            As for `Rollouts.rollback`.
        """
        return Rollouts(self, reason=reason).rollback(environment, to, at).deployment.deployment_id

    def rollback_target(
        self, environment: DeploymentEnvironment, to: str | None = None, at: date | None = None
    ) -> tuple[Deployment, str]:
        """Returns the present deployment, and the model version that a rollback deploys.

        Raises:
            UnknownDeployment: nothing is deployed.
            NoPriorVersion, SeveralDeployments, ModelNotFound: as for `Rollouts.rollback`.
        """
        from model_store.registry.aliases import Aliases
        from model_store.registry.files.layout import version_prefix

        wanted = Aliases(self.registry).resolve(to) if to is not None else None
        if wanted is not None:
            version_prefix(wanted)  # what is not the id of a version was not deployed under that name either
        found = self.list_deployments(environment)
        history = found if at is None else known_actors(found, lambda: self.registry)
        return rollback_target(history, environment, wanted, at)

    def check_deployment_health(self, deployment_id: str, api_key_file: Path | None = None) -> HealthReport:
        """Checks a deployment's process, API, model and resources, and asks its endpoint some golden rows.

        Args:
            deployment_id: which.
            api_key_file: file with an API key that has the scope `predict`; the one that `make up` made, when not
                given. Without a key no golden row is asked, and the report says so.

        Raises:
            UnknownDeployment: no stack's history has it.
        """
        return self.checks.health(self.deployment(deployment_id)[0], api_key_file)

    def measure(
        self, environment: DeploymentEnvironment | str, api_key_file: Path
    ) -> tuple[dict[str, Any], list[Alert]]:
        """Returns the metrics of an environment's endpoint, and its alerts.

        Args:
            environment: which.
            api_key_file: file with an API key that has the scope `admin`.

        Raises:
            EndpointSilent: the endpoint does not answer, or refuses the key.
        """
        return self.checks.measure(self.stack_file(environment), api_key_file)

    def list_deployments(self, environment: DeploymentEnvironment | str | None = None) -> list[Deployment]:
        """The deployments of an environment, or of all, newest first."""
        return self._history.deployments(environment)

    def deployment(self, deployment_id: str) -> tuple[Deployment, dict[str, Any]]:
        """A deployment, and the config that it was made with.

        Raises:
            UnknownDeployment: no stack's history has it.
        """
        return self._history.deployment(deployment_id)

    def destroy(self, environment: DeploymentEnvironment | str, reason: str = "") -> bool:
        """Stops the endpoint and deletes what the stack holds; registry and history stay.

        Args:
            environment: which.
            reason: why; recorded in the stack's history and in the audit log.

        Returns:
            Whether there was anything to delete.
        """
        return self._updates.destroy(DeploymentEnvironment.named(environment), reason)

    def unlock(self, environment: DeploymentEnvironment | str, dead_host: str = "") -> int:
        """Removes what dead runs left in the environment's state: locks, and creations they had begun.

        Args:
            environment: which.
            dead_host: a host whose runs have ended, as a person knows; its locks go, however young they are.

        Returns:
            How many locks there were.

        Raises:
            AccessDenied: the actor's role does not allow it.
            StackBusy: a live run holds the stack, or one on another host may.
        """
        return self._updates.unlock(DeploymentEnvironment.named(environment), dead_host)

    def stack_file(self, environment: DeploymentEnvironment | str) -> StackFile:
        """The config of an environment's stack, read now.

        Raises:
            ConfigError: the file is not valid YAML.
            StacksError: the state cannot be read.
        """
        return StackFile.read(self.checkout, DeploymentEnvironment.named(environment))

    def require_gates(self, file: StackFile, model_id: str, config: DeploymentConfig, override_reason: str) -> None:
        """Raises GatesFailed unless a model version passes the config's gates, or a reason to deploy it is given."""
        self.checks.require_gates(file, model_id, config, override_reason)

    def converge(
        self, file: StackFile, model_id: str, config: DeploymentConfig, message: str, **options: Any
    ) -> DeployOutcome:
        """Writes a stack's config and brings the stack to it; arguments and errors are those of `DeploymentUpdates`."""
        return self._updates.converge(file, model_id, config, message, **options)
