"""What the pages share: the settings, who is signed in, and what is known of registry and environments."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request

from console.acting import open_registry_as, rights_of
from console.audit_view import AuditView
from console.guard import session_of
from console.histories import Histories
from console.jobs import Jobs
from console.looking import Looking
from console.sessions import Sessions
from console.settings import ConsoleSettings
from console.versions import Versions

if TYPE_CHECKING:
    from model_store import ModelRegistry
    from model_store.registry.access import Rights


@dataclass(frozen=True)
class Console:
    """One running console."""

    settings: ConsoleSettings
    sessions: Sessions
    versions: Versions
    histories: Histories
    looking: Looking
    audit: AuditView
    jobs: Jobs

    @classmethod
    def of(cls, settings: ConsoleSettings, sessions: Sessions | None = None) -> "Console":
        """A console that has looked at nothing yet."""
        histories = Histories(settings)
        looking = Looking(settings, histories)
        versions = Versions(settings.checkout)
        return cls(settings, sessions or Sessions(), versions, histories, looking, AuditView(versions), Jobs())

    @property
    def checkout(self) -> Path:
        """The project's root."""
        return self.settings.checkout

    def registry_of(self, request: Request) -> "ModelRegistry":
        """The registry, in which the signed-in person acts."""
        return open_registry_as(self.checkout, session_of(request).person.actor)

    def rights(self, request: Request) -> "Rights":
        """What the signed-in person may do now."""
        return rights_of(self.versions.registry, session_of(request).person.actor)

    def changed(self) -> None:
        """Reads again what is known: something was changed."""
        self.versions.forget()
        self.histories.refresh(now=True)
        self.looking.again()


def console_of(request: Request) -> Console:
    """The console that answers a request."""
    found: Console = request.app.state.console
    return found
