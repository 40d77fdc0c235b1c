"""The jobs of GitLab's pipeline, each in a fresh clone with what the header lists and the rights of its environment."""

from collections.abc import Callable, Iterator

import pytest

from tests.workflows.act import Forge
from tests.workflows.gitlab import GitLab, Notes
from tests.workflows.traffic import published, serves

pytestmark = pytest.mark.timeout(1500)
_TAG = "model-v3"


@pytest.fixture(scope="session")
def gitlab(released: Forge) -> Iterator[GitLab]:
    """The repository on GitLab; a release has been made already, so that the stacks are there."""
    with Notes() as notes:
        yield GitLab(released, notes)
        notes.shutdown()


def _ran(gitlab: GitLab, job: str, **event: str) -> str:
    done = gitlab.run(job, **event)
    assert done.returncode == 0, done.stdout[-6000:]
    return str(done.stdout)


def test_a_merge_request_has_one_note_that_a_second_push_changes(
    gitlab: GitLab, pushed: Callable[[str, str], str]
) -> None:
    version = serves(gitlab.forge.sandbox, "production")
    for replicas in (6, 7):
        event = {"CI_MERGE_REQUEST_IID": "12", "CI_COMMIT_SHA": pushed(f"max_replicas: {replicas}", version)}
        triggered = gitlab.triggered("preview", **event)
        _ran(gitlab, "preview-stacks", CI_PIPELINE_SOURCE="pipeline", **triggered)
        (note,) = gitlab.notes.kept.values()
        assert "### Preview of `production`" in note
        assert "### Preview of `staging`" in note
        assert "HorizontalPodAutoscaler" in note
    event["CI_COMMIT_SHA"] = pushed("max_replicas: 1", version)
    triggered = gitlab.triggered("preview", **event)
    refused = gitlab.run("preview-stacks", CI_PIPELINE_SOURCE="pipeline", **triggered)
    assert refused.returncode != 0, "a config that is refused fails the job"
    (note,) = gitlab.notes.kept.values()
    assert "min_replicas at most as large as max_replicas" in note


@pytest.fixture(scope="session")
def tried(gitlab: GitLab) -> GitLab:
    """A release whose canary in staging is not decided when its job ends."""
    for job in ("register", "sign"):
        _ran(gitlab, job, CI_COMMIT_TAG=_TAG)
    assert "the rollout is not decided" in _ran(gitlab, "staging", CI_COMMIT_TAG=_TAG)
    return gitlab


@pytest.fixture(scope="session")
def approved(tried: GitLab) -> GitLab:
    """The release is the stable version in staging, by the scheduled job, and a person has approved it."""
    forge, new = tried.forge, tried.reports["register"]["MODEL_ID"]
    with published(forge.sandbox, "staging", serves(forge.sandbox, "staging"), new):
        _ran(tried, "resume: [staging]", CI_PIPELINE_SOURCE="schedule", TASK="resume")
    assert serves(forge.sandbox, "staging") == new
    _ran(tried, "approval", CI_COMMIT_TAG=_TAG)
    return tried


def test_a_tag_goes_from_its_file_to_production_and_back(approved: GitLab) -> None:
    forge, new = approved.forge, approved.reports["register"]["MODEL_ID"]
    before = serves(forge.sandbox, "production")
    assert before != new
    _ran(approved, "production", CI_COMMIT_TAG=_TAG)
    assert serves(forge.sandbox, "production") == new
    told = {"TARGET": "production", "REASON": "callers $(touch owned) complain"}
    _ran(approved, "rollback", CI_PIPELINE_SOURCE="web", TASK="rollback", **told)
    assert serves(forge.sandbox, "production") == before
    assert not list(forge.root.rglob("owned"))


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_what_runs_does_not_differ_from_the_stacks(approved: GitLab, environment: str) -> None:
    _ran(approved, f"drift: [{environment}]", CI_PIPELINE_SOURCE="schedule", TASK="drift")
