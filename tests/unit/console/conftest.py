"""A console over a registry in a directory, and browsers that are signed in to it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from starlette.testclient import TestClient

from console.acting import open_registry_as
from console.app import make_app
from console.sessions import Person
from console.settings import ConsoleSettings
from console.state import Console
from model_store import ModelRegistry
from tests.unit.model_store.making import register

PORT = 8765
OWN = f"http://127.0.0.1:{PORT}"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
FORMULA = '=HYPERLINK("http://evil.example","x")'


@dataclass
class Opened:
    """A console, its application, and the versions in its registry."""

    console: Console
    app: object
    registry: ModelRegistry
    plain: str
    hostile: str
    signed_in: list[Person] = field(default_factory=list)

    def browser(self, base_url: str = OWN) -> TestClient:
        """A browser that is not signed in."""
        return TestClient(self.app, base_url=base_url, follow_redirects=False)  # type: ignore[arg-type]

    def browser_of(self, person: Person) -> TestClient:
        """A browser in which a person is signed in."""
        browser = self.browser()
        token = self.console.sessions.new_token(person)
        answer = browser.post("/sign-in", data={"token": token}, headers={"Origin": OWN})
        assert answer.status_code == 303
        return browser


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    checkout = tmp_path_factory.mktemp("console") / "checkout"
    (checkout / "registry").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MODEL_REGISTRY_URL", "MODEL_KEY", "MODEL_KEY_FILE", "MODEL_KMS_KEY", "MODEL_ACCESS_POLICY"):
            patch.delenv(name, raising=False)
        patch.setenv("PULUMI_BACKEND_URL", f"file://{checkout}/.state")
        registry = open_registry_as(checkout, "")
        plain = register(
            registry,
            name="fraud_detector",
            description="trained on October",
            tags=["monthly"],
            author="ann",
            performance_metrics={"accuracy": 0.96, "auc": 0.9},
        )
        hostile = register(
            registry,
            name="fraud_detector",
            description=HOSTILE,
            tags=[HOSTILE.replace(" ", "_")],
            author=FORMULA,
            performance_metrics={HOSTILE: 0.5},
            reason=HOSTILE,
            feature_schema=[{"name": HOSTILE, "type": "number"}],
            origin={"parameters": {HOSTILE: HOSTILE}, HOSTILE: HOSTILE},
        )
        console = Console.of(ConsoleSettings(checkout, PORT))
        console.histories.refresh()
        people: list[Person] = []
        yield Opened(console, make_app(console, people.append), registry, plain, hostile, people)


@pytest.fixture
def browser(opened: Opened) -> TestClient:
    """A browser of the person who runs the console, an admin."""
    return opened.browser_of(Person("", "tester"))


@pytest.fixture
def reader(opened: Opened) -> TestClient:
    """A browser of somebody whom the registry's policy does not name: a reader."""
    return opened.browser_of(Person("oidc:https://issuer.example:mallory", "mallory"))


@pytest.fixture
def change(opened: Opened) -> Callable[..., object]:
    """Sends a form as a page of the console would."""

    def send(browser: TestClient, path: str, _files: object = None, **fields: str) -> object:
        session = opened.console.sessions.find(browser.cookies[opened.console.settings.cookie])
        assert session is not None
        headers = {"Origin": OWN, "X-CSRF-Token": session.csrf}
        return browser.post(path, data=fields, files=_files, headers=headers)  # type: ignore[arg-type]

    return send


def digest_in(html: str) -> str:
    """The digest of the preview that a page shows."""
    return html.split('name="preview" value="')[1].split('"')[0]
