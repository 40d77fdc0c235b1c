"""A stack that an earlier release deployed: the present code has nothing to change in it."""

import json
from pathlib import Path
from typing import Any

from tests.checkout import Deployed

_RECORDED = Path(__file__).with_name("recorded_state.json")
"""The state of the stack `dev` as it was exported before modules moved into sub-packages, places and ids left out."""


def test_a_preview_of_a_recorded_state_shows_no_change(deployed: Deployed, tmp_path: Path) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    exported = json.loads(checkout.pulumi("stack", "export", "-s", "dev").stdout)
    (process,) = [each for each in exported["deployment"]["resources"] if each["type"].endswith(":LocalProcess")]
    values = {
        "root": str(checkout.root),
        "port": str(checkout.port),
        "model_id": deployed.first,
        "digest": process["inputs"]["model_digest"].removeprefix("sha256:"),
        "runtime_digest": process["inputs"]["model_runtime_digest"],
    }
    text = _RECORDED.read_text()
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    recorded = json.loads(text)
    recorded["deployment"]["secrets_providers"] = exported["deployment"]["secrets_providers"]
    assert _identities(recorded) == _identities(exported)
    file = tmp_path / "state.json"
    file.write_text(json.dumps(recorded))
    checkout.pulumi("stack", "import", "--file", str(file), "-s", "dev")
    output = checkout.pulumi("preview", "--diff", "--expect-no-changes", "-s", "dev").stdout
    assert "unchanged" in output
    checkout.deploy(deployed.second)
    assert checkout.served_model() == deployed.second


def _identities(state: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["urn"], each["type"]) for each in state["deployment"]["resources"]}
