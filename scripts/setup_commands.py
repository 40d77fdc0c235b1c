"""The commands of `deploy_model.py` that prepare an environment: init and doctor."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from conventions import exit_codes
from scripts.command_line import Argument, Option, Options, Program, add_command, path_type, show

if TYPE_CHECKING:
    from stacks.deployment import ModelDeployment
    from stacks.engine.docker_findings import Finding


def add_setup_commands(
    commands: Program, program: str, make: Callable[[], "ModelDeployment"], environment: Argument
) -> None:
    """Adds init and doctor.

    Args:
        commands: the program.
        program: its name, for examples.
        make: makes what deploys.
        environment: the argument that names the environment.
    """

    def _init(options: Options) -> int:
        from stacks.engine.stack_init import init_stack_file
        from stacks.environments import DeploymentEnvironment

        path = init_stack_file(make().checkout, DeploymentEnvironment.named(options.environment), options.config)
        text = f"made {path.name}; edit it, then see what is lacking: {program} doctor {options.environment}"
        show(options, {"environment": options.environment, "file": str(path)}, text)
        return 0

    def _doctor(options: Options) -> int:
        from stacks.doctor import Doctor
        from stacks.environments import DeploymentEnvironment

        deployments = make()
        environment = DeploymentEnvironment.named(options.environment)
        found = Doctor(deployments.checkout, environment, lambda: len(deployments.registry.list_models())).findings()
        lacking = sum(not each.there for each in found)
        last = f"{lacking} thing(s) lacking" if lacking else "nothing is lacking"
        text = "\n".join([*map(_line, found), f"{environment}: {last}"])
        show(options, [each.to_dict() for each in found], text)
        return exit_codes.LACKING if lacking else 0

    template = Option("--config", type=path_type(), metavar="FILE", help="deployment template; the environment's own")
    summary = "make the stack's config file from the templates; a file that is there stays"
    add_command(commands, "init", _init, summary, f"{program} init staging", environment, template)
    summary = "say what a deploy needs and lacks, each with what mends it; 27 when something is lacking"
    add_command(commands, "doctor", _doctor, summary, f"{program} doctor production --json", environment)


def _line(finding: "Finding") -> str:
    line = f"{'ok' if finding.there else 'LACKS':5}  {finding.name:16}  {finding.detail}"
    return line if finding.there else f"{line}\n{'':7}mend: {finding.mend}"
