"""Who is signed in: one-time tokens, and the sessions that they are exchanged for.

A token is good for one sign-in within ten minutes. A session lives in this process's memory, and ends with the
console. The cookie holds a random name and nothing else.
"""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_TOKEN_SECONDS = 600.0
_IDLE_SECONDS = 8 * 3600.0
_LONGEST_SECONDS = 24 * 3600.0
_MOST_TOKENS = 16
_MOST_SESSIONS = 256


@dataclass(frozen=True)
class Person:
    """Who looks and acts."""

    actor: str
    """As roles and the audit log name them; empty: the account that the console runs under."""
    name: str
    """For the screen."""


@dataclass
class Session:
    """One browser of a person."""

    person: Person
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """Every form has it; another site cannot know it."""
    began: float = field(default_factory=time.monotonic)
    seen: float = field(default_factory=time.monotonic)


class Sessions:
    """Tokens and sessions of one console; every method may be called from any thread.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[float, Person]] = {}
        self._sessions: dict[str, Session] = {}

    def new_token(self, person: Person) -> str:
        """A token that signs a person in once, within ten minutes."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._tokens[_digest(token)] = (self._clock() + _TOKEN_SECONDS, person)
            while len(self._tokens) > _MOST_TOKENS:
                del self._tokens[next(iter(self._tokens))]
        return token

    def redeem(self, token: str) -> Person | None:
        """The person of a token, which is spent now; None for a token that is unknown, spent or too old."""
        with self._lock:
            found = self._tokens.pop(_digest(token), None)
        return found[1] if found is not None and found[0] >= self._clock() else None

    def start(self, person: Person) -> str:
        """Starts a session and returns its name for the cookie; a name that a browser brings along is never taken."""
        name, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._drop_ended()
            while len(self._sessions) >= _MOST_SESSIONS:
                del self._sessions[min(self._sessions, key=lambda each: self._sessions[each].seen)]
            self._sessions[_digest(name)] = Session(person, began=now, seen=now)
        return name

    def find(self, name: str) -> Session | None:
        """The session of a cookie; None when there is none or it is over."""
        if not name:
            return None
        with self._lock:
            self._drop_ended()
            found = self._sessions.get(_digest(name))
            if found is not None:
                found.seen = self._clock()
            return found

    def is_live(self, session: Session) -> bool:
        """Whether a session still lasts; looking does not prolong it."""
        with self._lock:
            self._drop_ended()
            return any(each is session for each in self._sessions.values())

    def end(self, name: str) -> None:
        """Ends the session of a cookie."""
        with self._lock:
            self._sessions.pop(_digest(name), None)

    def _drop_ended(self) -> None:
        now = self._clock()
        ended = [
            name
            for name, each in self._sessions.items()
            if now - each.seen > _IDLE_SECONDS or now - each.began > _LONGEST_SECONDS
        ]
        for name in ended:
            del self._sessions[name]


def _digest(secret: str) -> str:
    """What is kept of a token or a cookie: a lookup by it tells nothing of the secret by its time."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
