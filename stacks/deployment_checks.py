"""Checks a model version before a deploy, and an endpoint after it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.deployment_config import DeploymentConfig
from stacks.checks.alerts import Alert, evaluate, measured
from stacks.checks.endpoint import endpoint_verification
from stacks.checks.gates import gate_results, image_versions, require_gates, with_proofs
from stacks.checks.golden import NAME as GOLDEN_ROWS
from stacks.checks.golden import ask_golden_rows, choose_rows
from stacks.checks.health import REQUIREMENTS, Check, HealthReport, check_health
from stacks.checks.signatures import signature_problem
from stacks.engine.cluster_state import pod_checks
from stacks.engine.docker_state import container_checks, image_library_versions, on_docker
from stacks.engine.run import Log
from stacks.engine.serving_state import mend_command
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment
from stacks.errors import GatesFailed, RequirementsMissing
from stacks.history import Deployment
from stacks.requirements import BreakGlassRequest, find_missing, missing_without_glass, with_requirements

if TYPE_CHECKING:
    from model_store import ModelRegistry


class DeploymentChecks:
    """Looks at model versions and endpoints; changes nothing.

    Args:
        checkout: the project's root.
        registry: opens the registry that deployments take their model versions from.
        log: told what an override lets pass.
    """

    def __init__(self, checkout: Path, registry: "Callable[[], ModelRegistry]", log: Log) -> None:
        self._checkout, self._registry, self._log = checkout, registry, log

    def require_fit(
        self,
        file: StackFile,
        model_id: str,
        config: DeploymentConfig,
        break_glass: BreakGlassRequest | None = None,
        *,
        way_back: bool = False,
    ) -> StackFile:
        """Raises unless a model version has what its environment requires; returns the config to change.

        Args:
            file: the stack's config.
            model_id: the version to deploy.
            config: how.
            break_glass: a person's wish to deploy it although it lacks something.
            way_back: whether it served in the environment before and is gone back to.

        Raises:
            RequirementsMissing: names each thing that it lacks, and the command that gives it.
        """
        registry = self._registry()
        glass = file.break_glass()
        if glass is not None and glass.ended and glass.model_id == file.model_version != model_id:
            self._log(f"{file.environment} serves {glass.model_id} beyond the end of its break-glass, {glass.until}")
        missing = find_missing(registry, file, model_id, config, way_back=way_back)
        try:
            changed = with_requirements(registry, file, model_id, missing, break_glass)
        except RequirementsMissing as refusal:
            told = {"environment": str(file.environment), "attempted": "rollback" if way_back else "deploy"}
            registry.audit.append("refused", model_id, str(refusal)[:2000], **told)
            raise
        if changed.broken is not None:
            lacks = ", not ".join(changed.broken.missing)
            self._log(f"broken glass until {changed.broken.until}: {model_id} is not {lacks}")
        return changed

    def require_gates(self, file: StackFile, model_id: str, config: DeploymentConfig, override_reason: str) -> None:
        """Raises unless a model version passes the gates of the config, or a reason to deploy it anyway is given.

        Raises:
            GatesFailed: names each gate that the model version does not pass.
        """
        from model_store.errors import ModelNotFound
        from model_store.registry.log.audit import GATES

        registry = self._registry()
        try:
            deployed = registry.get_metadata(file.model_version) if file.model_version else None
        except ModelNotFound:
            deployed = None
        # An image has its own libraries; a process of this machine has these.
        installed = self._installed(file)
        problem = signature_problem(registry, model_id, file.environment, file.config)
        try:
            candidate = with_proofs(registry.get_metadata(model_id), registry.state(model_id), installed)
            results = gate_results(candidate, deployed, config.gates, installed, problem)
            told: dict[str, Any] = {"environment": str(file.environment), "gates": results, "requires": config.requires}
            require_gates(candidate, deployed, config.gates, installed, problem)
            registry.audit.append(GATES, model_id, **told, outcome="passed")
        except GatesFailed as refusal:
            if not override_reason:
                registry.audit.append("refused", model_id, str(refusal)[:2000], **told, attempted="deploy")
                raise
            failed = [line.strip() for line in str(refusal).splitlines()[1:-1]]
            detail = "; ".join(failed)
            told = {**told, "gates": detail, "results": results}
            registry.audit.append("force", model_id, override_reason, **told)
            self._log("\n  ".join([f"deploying although {len(failed)} gate(s) failed: {override_reason}", *failed]))

    def _installed(self, file: StackFile) -> dict[str, str]:
        from model_store.persistence import library_versions

        if on_docker(file):
            return image_library_versions(file)
        return image_versions(self._checkout) if file.in_cluster else library_versions()

    def health(self, deployment: Deployment, api_key_file: Path | None = None) -> HealthReport:
        """Checks a deployment's process or container, API, model and resources, and asks its endpoint some golden rows.

        Args:
            deployment: what should be running.
            api_key_file: file with an API key that has the scope `predict`; the one that `make up` made, when not
                given. Without a key no golden row is asked, and the report says so.
        """
        file = StackFile.read(self._checkout, DeploymentEnvironment.named(deployment.environment))
        further = pod_checks(file, deployment)
        if deployment.current:
            further = (*further, *container_checks(file, self._checkout))
        verify = endpoint_verification(deployment.api_endpoint or file.deployment().api_endpoint, self._checkout)
        report = check_health(deployment, file.deployment(), further, verify=verify)
        if deployment.current:
            report = report.with_check(self._requirements(file))
        report = report.with_check(self._golden_rows(deployment, report, file, api_key_file))
        return report if file.in_cluster or not deployment.current else report.with_mend(mend_command(file))

    def measure(self, file: StackFile, api_key_file: Path) -> tuple[dict[str, Any], list[Alert]]:
        """Returns the metrics of an environment's endpoint, and its alerts.

        Args:
            file: the stack's config.
            api_key_file: file with an API key that has the scope `admin`.

        Raises:
            EndpointSilent: the endpoint does not answer, or refuses the key.
        """
        config = file.deployment()
        numbers = measured(
            config.api_endpoint, api_key_file, endpoint_verification(config.api_endpoint, self._checkout)
        )
        return numbers, evaluate(numbers, config)

    def _requirements(self, file: StackFile) -> Check:
        from model_store.errors import ModelStoreError

        try:
            glass, missing = missing_without_glass(self._registry(), file)
        except ModelStoreError as error:
            return Check(REQUIREMENTS, healthy=True, detail=f"not asked: {error}")
        if missing:
            over = f"break-glass ended at {glass.until}; " if glass is not None else ""
            return Check(REQUIREMENTS, healthy=False, detail=over + "; ".join(map(str, missing)))
        if glass is not None:
            return Check(REQUIREMENTS, healthy=True, detail=f"broken glass until {glass.until}: {glass.reason}")
        return Check(REQUIREMENTS, healthy=True, detail="has what the environment requires")

    def _golden_rows(
        self, deployment: Deployment, report: HealthReport, file: StackFile, api_key_file: Path | None
    ) -> Check:
        from model_store.errors import ModelStoreError
        from model_store.registry.measuring.proofs import read_golden_rows

        if api_key_file is None:
            api_key_file = self._checkout / ".secrets" / "api_key"
            if file.environment is not DeploymentEnvironment.DEVELOPMENT or not api_key_file.exists():
                return Check(GOLDEN_ROWS, healthy=True, detail="not asked: no API key was given (--api-key-file)")
        try:
            found = read_golden_rows(self._registry(), deployment.model_id)
        except ModelStoreError as error:
            return Check(GOLDEN_ROWS, healthy=True, detail=f"not asked: {error}")
        if found is None:
            how = f"python scripts/manage_models.py prove {deployment.model_id}"
            return Check(GOLDEN_ROWS, healthy=True, detail=f"not asked: the version has none; {how}")
        if not report.answers:
            return Check(GOLDEN_ROWS, healthy=False, detail="not asked: the endpoint does not answer")
        contract, golden = found
        if file.deployment().service.decision_threshold is not None:
            golden = golden.decided_by_threshold()
        verify = endpoint_verification(report.url, self._checkout)
        return ask_golden_rows(report.url, api_key_file, choose_rows(contract, golden), verify)
