"""Faults of processes, stopped and killed: one alone, one of a group, behind a traffic splitter, supervisors."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

from tests.faults.endpoint import Endpoint, Place, connections_of
from tests.faults.fault import Fault

_IN_FLIGHT = "in flight on that process"


class _ProcessFault(Fault):
    may_fail = _IN_FLIGHT
    counts_go_on = False
    answers_metrics = False
    number = signal.SIGKILL
    processes = 1

    def prepare(self, place: Place, stack: ExitStack) -> Endpoint:
        """As many processes as the fault has."""
        return Endpoint(place, variables={"PROCESSES": str(self.processes)})

    def target(self, endpoint: Endpoint) -> int:
        """The process that gets the signal."""
        return endpoint.serving

    def begin(self, endpoint: Endpoint) -> int:
        """Sends the signal."""
        target = self.target(endpoint)
        open_connections = connections_of(target)
        os.kill(target, self.number)
        return open_connections


class ServerStopped(_ProcessFault):
    """The only process that serves."""

    name = "SIGSTOP of the process that serves"
    number = signal.SIGSTOP
    says = ("the serving process",)


class ServerKilled(_ProcessFault):
    """The only process that serves."""

    name = "SIGKILL of the process that serves"
    says = ("the serving process",)


class MemberStopped(_ProcessFault):
    """One of two."""

    name = "SIGSTOP of one of two processes"
    number = signal.SIGSTOP
    processes = 2
    says = ("a process does not answer and is replaced", "a process is ready")
    answers_metrics = True

    def target(self, endpoint: Endpoint) -> int:
        """The first."""
        return endpoint.members()[0]


class MemberKilled(MemberStopped):
    """One of two."""

    name = "SIGKILL of one of two processes"
    number = signal.SIGKILL
    says = ("a process has ended", "a process is ready")


class GroupKilled(_ProcessFault):
    """The process that starts the two that serve, and takes no connection itself."""

    name = "SIGKILL of the process that keeps two others"
    processes = 2


class GroupStopped(GroupKilled):
    """The process that starts the two that serve; they serve on until it is replaced."""

    name = "SIGSTOP of the process that keeps two others"
    number = signal.SIGSTOP
    says = ("the serving process",)


class SupervisorStopped(_ProcessFault):
    """The supervisor, which takes no connection itself; it goes on in the end."""

    name = "SIGSTOP of the supervisor"
    may_fail = "none"
    number = signal.SIGSTOP
    counts_go_on = True
    answers_metrics = True

    def target(self, endpoint: Endpoint) -> int:
        """The supervisor."""
        self._stopped = endpoint.supervisor
        return self._stopped

    def end(self, endpoint: Endpoint) -> None:
        """Lets it go on."""
        os.kill(self._stopped, signal.SIGCONT)


class SupervisorKilled(_ProcessFault):
    """The supervisor, which takes no connection itself."""

    name = "SIGKILL of the supervisor"
    may_fail = "none"

    def target(self, endpoint: Endpoint) -> int:
        """The supervisor."""
        return endpoint.supervisor


class _SplitterFault(_ProcessFault):
    most_rate = 300

    def prepare(self, place: Place, stack: ExitStack) -> Endpoint:
        """A traffic splitter in front of the stable version and a canary of half of the requests."""
        self.slots = [Endpoint(place, name=f"faults-{slot}", version=n, port=0) for n, slot in enumerate("ab")]
        for each in self.slots:
            stack.callback(each.stop)
            each.start()
        splitter = Endpoint(place, module="serving.traffic_splitter")
        splitter.variables = {
            "FRONT_DIRECTORY": str(splitter.directory),
            "FRONT_STABLE": str(self.slots[0].directory),
            "FRONT_CANDIDATE": str(self.slots[1].directory),
            "CANDIDATE_MODEL_ID": place.versions[1].model_id,
            "FRONT_WEIGHT": "50",
        }
        return splitter

    def logs(self, endpoint: Endpoint) -> list[Path]:
        """Of the splitter and both versions."""
        return [endpoint.log, *(each.log for each in self.slots)]


class SplitterKilled(_SplitterFault):
    """The traffic splitter in front of two versions."""

    name = "SIGKILL of the traffic splitter"


class CandidateKilled(_SplitterFault):
    """The candidate's process behind the traffic splitter, which asks the stable version in its place."""

    name = "SIGKILL of the candidate behind the traffic splitter"
    may_fail = "none"

    def begin(self, endpoint: Endpoint) -> int:
        """Kills it."""
        os.kill(self.slots[1].serving, signal.SIGKILL)
        return 0


class StableKilled(_SplitterFault):
    """The stable version's process behind the traffic splitter, which asks it again once it is there."""

    name = "SIGKILL of the stable version behind the traffic splitter"
    may_fail = "none"

    def begin(self, endpoint: Endpoint) -> int:
        """Kills it."""
        os.kill(self.slots[0].serving, signal.SIGKILL)
        return 0
