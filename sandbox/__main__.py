"""A cloud on this machine: S3, KMS, IAM, STS, SNS, CloudWatch, ECR and a Kubernetes control plane, on the loopback.

exit codes: 0 done (status: it runs), 1 it cannot be started or does not run, 2 wrong usage, 130 interrupted
"""

import argparse
import contextlib
import io
import json
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

from conventions import exit_codes
from sandbox.certificates import Authority, make_certificates
from sandbox.control_plane import ControlPlane
from sandbox.docker_build import service_image
from sandbox.environment import SandboxEnvironment
from sandbox.nodes.addresses import API_SERVICE, CLOUD, CONTROL
from sandbox.nodes.capability import what_hinders
from sandbox.nodes.cluster import RealCluster
from sandbox.nodes.control_groups import remove_groups
from sandbox.processes import Processes, free_ports, wait_for_port
from toolchain.cluster import ensure_cluster
from toolchain.errors import ToolchainError
from toolchain.progress import Progress
from toolchain.tools import CONTROL_PLANE, ensure

DIRECTORY_VARIABLE = "FRAUD_DETECTION_SANDBOX"
_CHECKOUT = Path(__file__).resolve().parents[1]
_READY_SECONDS = 60.0
_REGION = "eu-central-1"
REAL, SIMULATED = "real", "simulated"
_EXAMPLES = """\
examples:
  python -m sandbox start          start it and print the two lines that point `pulumi` at it
  python -m sandbox start --nodes real     the same with nodes that run containers; needs root on Linux
  python -m sandbox up staging     start it with real nodes, deploy the example's model, and ask for a prediction
  python -m sandbox check          which nodes this machine can have, and why
  python -m sandbox env            print the two lines again
  python -m sandbox stop           stop it and remove what it left

The sandbox lives in `.sandbox/` of the checkout, or where FRAUD_DETECTION_SANDBOX says. Starting one that
runs leaves it; one that was killed half-way begins again.
"""


def directory() -> Path:
    """Where the sandbox lives."""
    return Path(os.environ.get(DIRECTORY_VARIABLE) or _CHECKOUT / ".sandbox").resolve()


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "start":
            return _start(options.nodes, options.json)
        if options.command == "up":
            return _up(options.environment, options.json)
        return {"stop": _stop, "env": _env, "status": _status, "check": _check}[options.command](options.json)
    except (ToolchainError, RuntimeError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        _tell("interrupted" if _runs(directory()) else "interrupted; the started processes were stopped")
        return exit_codes.INTERRUPTED


def _start(nodes: str, as_json: bool) -> int:
    started = time.monotonic()
    here = directory()
    if _runs(here):
        return _leave(here, nodes, as_json)
    if nodes == REAL and (hindrance := what_hinders(here)):
        raise RuntimeError(f"this machine cannot run real nodes: {hindrance}; use --nodes simulated")
    _clear(here)
    here.mkdir(mode=0o700, parents=True)
    (here / "nodes").write_text(nodes)
    authority = make_certificates(here, _REGION, (CONTROL, CLOUD, API_SERVICE))
    processes = Processes(here)
    try:
        variables = _start_cluster(here, processes, authority, nodes)
    except BaseException:
        _stop_processes(here)
        raise
    (here / "environment.json").write_text(json.dumps(variables, indent=1))
    seconds = time.monotonic() - started
    _tell(f"the sandbox runs with {nodes} nodes after {seconds:.0f} s; stop it with: make sandbox-down")
    return _env(as_json)


def _runs(here: Path) -> bool:
    processes = Processes(here)
    return (here / "environment.json").exists() and bool(processes.running()) and not processes.dead()


def _leave(here: Path, nodes: str, as_json: bool) -> int:
    """Leaves the sandbox that runs, and prints its variables."""
    has = (here / "nodes").read_text()
    if nodes != has:
        raise RuntimeError(f"a sandbox with {has} nodes runs; stop it first: make sandbox-down")
    _tell(f"the sandbox runs already, with {has} nodes; stop it with: make sandbox-down")
    return _env(as_json)


def _start_cluster(here: Path, processes: Processes, authority: Authority, nodes: str) -> dict[str, str]:
    programs = ensure(CONTROL_PLANE, _tell)
    if nodes == REAL:
        programs |= ensure_cluster(_tell)
    with Progress("starting the sandbox") as progress:
        variables = _start_aws(here, processes)
        if nodes == REAL:
            port = int(variables["AWS_ENDPOINT_URL"].rsplit(":", 1)[1])
            cluster = RealCluster(here, processes, programs, _REGION, port)
            cluster.start(authority, progress.update)
            _wait_for_aws(processes, variables)
            variables |= {
                # The state goes with what it describes.
                "PULUMI_BACKEND_URL": f"file://{_make_state(here)}",
                "PULUMI_SECRETS_PROVIDER": _make_secrets_key(variables),
                "SANDBOX_GATEWAY": f"127.0.0.1:{cluster.ports['https']}",
                "SANDBOX_IMAGES": cluster.registry_url,
            }
            variables["KUBECONFIG"] = str(cluster.kubeconfig)
        else:
            plane = ControlPlane(here, processes, programs)
            plane.start()
            plane.prepare(programs["gateway-api"])
            variables["KUBECONFIG"] = str(plane.kubeconfig)
        _wait_for_aws(processes, variables)
    return variables


def _make_state(here: Path) -> Path:
    state = here / "state"
    state.mkdir()
    return state


def _make_secrets_key(variables: dict[str, str]) -> str:
    """A key of the sandbox's KMS for the secrets in the stacks' state."""
    import boto3

    kms = boto3.client(
        "kms",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        verify=variables["AWS_CA_BUNDLE"],
        region_name=_REGION,
        aws_access_key_id="sandbox",
        aws_secret_access_key="sandbox",  # noqa: S106 - of the sandbox
    )
    kms.create_alias(AliasName="alias/state", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    return f"awskms://alias/state?region={_REGION}"


def _start_aws(here: Path, processes: Processes) -> dict[str, str]:
    https, http = free_ports(2)
    command = [sys.executable, "-m", "sandbox.aws", f"--port={https}", f"--http-port={http}"]
    command += [f"--certificate={here / 'server.pem'}", f"--key={here / 'server.key'}"]
    processes.start("aws", command, {"PYTHONPATH": str(_CHECKOUT), "AWS_REGION": _REGION})
    return {
        "AWS_ENDPOINT_URL": f"https://localhost:{https}",
        "AWS_CA_BUNDLE": str(here / "ca.pem"),
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_REGION": _REGION,
        "AWS_DEFAULT_REGION": _REGION,
        "SANDBOX_HTTP_URL": f"http://localhost:{http}",
    }


def _wait_for_aws(processes: Processes, variables: dict[str, str]) -> None:
    if not wait_for_port(int(variables["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]), _READY_SECONDS):
        raise RuntimeError(f"moto does not answer: {processes.last_words('aws')}")


def _stop(as_json: bool) -> int:
    stopped = _clear(directory())
    if as_json:
        print(json.dumps({"stopped": stopped}))
    else:
        print(f"stopped: {', '.join(stopped)}" if stopped else "no sandbox runs")
    return 0


def _stop_processes(here: Path) -> list[str]:
    stopped = Processes(here).stop()
    remove_groups(here)
    return stopped


def _clear(here: Path) -> list[str]:
    stopped = _stop_processes(here)
    shutil.rmtree(here, ignore_errors=True)
    return stopped


def _env(as_json: bool) -> int:
    try:
        variables: dict[str, str] = json.loads((directory() / "environment.json").read_text())
    except OSError:
        raise RuntimeError("no sandbox runs; start one with: make sandbox") from None
    if as_json:
        print(json.dumps(variables))
        return 0
    cluster = shlex.quote(variables.pop("KUBECONFIG"))
    print("export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items()))
    print(f"export KUBECONFIG={cluster}")
    return 0


def _status(as_json: bool) -> int:
    processes = Processes(directory())
    running, dead = processes.running(), processes.dead()
    if as_json:
        print(json.dumps({"running": running, "dead": dead}))
    else:
        for name, number in running.items():
            print(f"{name}: running, process {number}")
        for name in dead:
            print(f"{name}: ended")
    return 0 if running and not dead else 1


def _up(environment: str, as_json: bool) -> int:
    here = directory()
    if not _runs(here):
        with contextlib.redirect_stdout(io.StringIO()):
            _start(REAL, as_json=False)
    if (here / "nodes").read_text() != REAL:
        raise RuntimeError("the sandbox that runs has simulated nodes; stop it first: make sandbox-down")
    variables = json.loads((here / "environment.json").read_text())
    image = service_image(_tell)
    found = SandboxEnvironment(environment, here, variables, _tell).bring_up(image)
    if as_json:
        print(json.dumps({"url": found.url, "answer": found.answer, "curl": found.call}))
    else:
        print(json.dumps(found.answer, indent=1))
        print(found.call)
    return 0


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _check(as_json: bool) -> int:
    hindrance = what_hinders(directory())
    nodes = SIMULATED if hindrance else REAL
    if as_json:
        print(json.dumps({"nodes": nodes, "reason": hindrance}))
    else:
        print(f"{nodes} nodes: {hindrance or 'this machine can run them'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("start", "stop", "env", "status", "check", "up"))
    parser.add_argument("environment", nargs="?", choices=("staging",), default="staging", help="for up")
    parser.add_argument(
        "--nodes",
        choices=(REAL, SIMULATED),
        default=SIMULATED,
        help="real: three nodes that run containers; simulated: pods are reported as ready, and none runs (default)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")
    return parser


if __name__ == "__main__":
    sys.exit(main())
