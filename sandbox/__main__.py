"""A cloud on this machine: S3, KMS, IAM, STS, SNS, CloudWatch, ECR and a Kubernetes control plane, on the loopback.

exit codes: 0 done (status: it runs), 1 it cannot be started or does not run, 2 wrong usage, 130 interrupted
"""

import argparse
import json
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

from conventions import exit_codes
from sandbox.certificates import make_certificates
from sandbox.control_plane import ControlPlane
from sandbox.processes import Processes, free_ports, wait_for_port
from toolchain.errors import ToolchainError
from toolchain.progress import Progress
from toolchain.tools import CONTROL_PLANE, ensure

DIRECTORY_VARIABLE = "FRAUD_DETECTION_SANDBOX"
_CHECKOUT = Path(__file__).resolve().parents[1]
_READY_SECONDS = 60.0
_REGION = "eu-central-1"
_EXAMPLES = """\
examples:
  python -m sandbox start          start it and print the two lines that point `pulumi` at it
  python -m sandbox env            print the two lines again
  python -m sandbox stop           stop it and remove what it left

The sandbox lives in `.sandbox/` of the checkout, or where FRAUD_DETECTION_SANDBOX says. Starting one that runs, or one
that was killed half-way, begins again.
"""


def directory() -> Path:
    """Where the sandbox lives."""
    return Path(os.environ.get(DIRECTORY_VARIABLE) or _CHECKOUT / ".sandbox").resolve()


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return {"start": _start, "stop": _stop, "env": _env, "status": _status}[options.command](options.json)
    except (ToolchainError, RuntimeError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        Processes(directory()).stop()
        sys.stderr.write("interrupted; the started processes were stopped\n")
        return exit_codes.INTERRUPTED


def _start(as_json: bool) -> int:
    started = time.monotonic()
    programs = ensure(CONTROL_PLANE, lambda line: print(line, file=sys.stderr))
    here = directory()
    _clear(here)
    here.mkdir(mode=0o700, parents=True)
    make_certificates(here)
    processes = Processes(here)
    try:
        with Progress("starting the sandbox"):
            variables = _start_aws(here, processes)
            plane = ControlPlane(here, processes, programs)
            plane.start()
            plane.prepare(programs["gateway-api"])
            _wait_for_aws(processes, variables)
    except BaseException:
        processes.stop()
        raise
    variables["KUBECONFIG"] = str(plane.kubeconfig)
    (here / "environment.json").write_text(json.dumps(variables, indent=1))
    sys.stderr.write(f"the sandbox runs after {time.monotonic() - started:.0f} s; stop it with: make sandbox-down\n")
    return _env(as_json)


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


def _clear(here: Path) -> list[str]:
    stopped = Processes(here).stop()
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("start", "stop", "env", "status"))
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")
    return parser


if __name__ == "__main__":
    sys.exit(main())
