"""One step of a rollout, with the reason that a person gave for all of them."""

from infra.deployment_config import DeploymentConfig
from infra.rollout_config import RolloutConfig
from stacks.deployment_updates import DeployOutcome
from stacks.engine.stack_file import StackFile
from stacks.errors import DeploymentFailed
from stacks.history import Intent, message_for
from stacks.rollout.deployer import Deployer


class Steps:
    """Takes the steps of a rollout.

    Args:
        deployments: what changes the stacks.
        reason: why, in a person's words; recorded with every step.
    """

    def __init__(self, deployments: Deployer, reason: str = "") -> None:
        self._deployments, self.reason = deployments, reason

    def change(
        self,
        file: StackFile,
        config: DeploymentConfig,
        rollout: RolloutConfig,
        detail: str,
        action: str,
        reason: str = "",
    ) -> DeployOutcome:
        """Changes what is beside the stable version; a cluster takes a step that fails back there too.

        Args:
            file: the stack's config as it was read.
            config: how the versions are deployed.
            rollout: what the other slot holds, and its weight.
            detail: of the message in the stack's history.
            action: what the audit log calls it.
            reason: of this step alone; the reason of all steps when empty.

        Raises:
            As for `Deployer.converge`.
        """
        before, stable = file.rollout(), file.model_version
        self._deployments.log(detail)
        message = message_for(Intent.ROLLOUT, stable, detail)
        try:
            return self.converge(file, stable, config, message, action=action, rollout=rollout, reason=reason)
        except DeploymentFailed:
            if file.in_cluster and rollout.other and rollout.other != before.other:
                cause = f"{rollout.other} did not get healthy"
                back = message_for(Intent.ROLLOUT, stable, cause)
                self.converge(file, stable, config, back, action="abort", rollout=before, reason=cause)
            raise

    def converge(
        self,
        file: StackFile,
        model_id: str,
        config: DeploymentConfig,
        message: str,
        *,
        action: str,
        rollout: RolloutConfig | None = None,
        reason: str = "",
    ) -> DeployOutcome:
        """Brings the stack to a config; arguments and errors are those of `Deployer.converge`."""
        return self._deployments.converge(
            file, model_id, config, message, rollout=rollout, action=action, reason=reason or self.reason
        )
