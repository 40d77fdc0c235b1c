"""What the engine says is told in one line, with the way out where a person has one."""

import pytest

from stacks.engine.reading import last_error, with_advice

_FULL = """code: 255
 stdout: Updating (dev):
 stderr: error: 2 errors occurred:
\t* open /full/.pulumi/locks/organization/fraud-detection/dev/1.json.tmp: no space left on device
\t* remove /full/.pulumi/locks/organization/fraud-detection/dev/1.json: no such file or directory


"""


def test_errors_that_the_engine_lists_are_one_line() -> None:
    reason = last_error(_FULL)
    assert reason.startswith("open /full/.pulumi/locks/")
    assert reason.endswith("no such file or directory")
    assert reason.count("; ") == 1
    assert with_advice(reason, "dev").endswith(
        "the state cannot be written; make room there, or name another place in PULUMI_BACKEND_URL"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("error: no stack named 'x' found\n", "no stack named 'x' found"),
        ("warning: old\nerror: first\nerror: second\n  more", "second"),
        ("error: 1 error occurred:\n\t* update failed\n\n", "update failed"),
        (
            "error: 2 errors occurred:\n    1) open /x: no space left on device\n    2) Unknown",
            "open /x: no space left on device",
        ),
        ("error: 2 errors occurred:\n", "2 errors occurred:"),
        ("all went well", ""),
    ],
)
def test_the_last_error_counts(text: str, reason: str) -> None:
    assert last_error(text) == reason


def test_what_cannot_be_written_elsewhere_is_not_the_state() -> None:
    reason = "dial unix /var/run/docker.sock: connect: permission denied"
    assert with_advice(reason, "dev") == reason
