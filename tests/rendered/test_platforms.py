"""What a stack declares when its config says otherwise than the committed one."""

import json

from tests.rendered.conftest import rendered_stack
from tests.rendered.render import IMAGE, MODEL_ID, MODEL_KEY


def test_development_in_a_container_is_as_closed_as_a_pod() -> None:
    image = json.dumps({"reference": IMAGE})
    container = rendered_stack("dev", platform="docker", image=image).one("container:Container")
    assert container["image"] == IMAGE
    assert container["readOnly"] is True
    assert container["capabilities"] == {"drops": ["ALL"]}
    assert "no-new-privileges:true" in container["securityOpts"]
    assert all(volume["readOnly"] for volume in container["volumes"])
    assert container["ports"] == [{"internal": 8000, "external": 8000, "ip": "127.0.0.1"}]
    assert container["healthcheck"]["tests"][0] == "CMD"
    assert container["wait"] is True, "an update fails unless the health check passes"
    assert f"MODEL_ID={MODEL_ID}" in container["envs"]
    assert MODEL_KEY not in json.dumps(container)


def test_an_image_without_a_reference_is_built_and_deployed_by_its_digest() -> None:
    built = rendered_stack("staging")
    image = built.one("image:Image")
    assert image["imageName"].endswith("fraud-detection/staging:v1")
    assert image["registry"]["password"] == "[secret]"
    assert built.container["image"] == IMAGE


def test_a_ready_image_is_deployed_as_it_is() -> None:
    reference = "registry.example.com/serving@sha256:" + "c" * 64
    ready = rendered_stack("staging", image=json.dumps({"reference": reference}))
    assert ready.container["image"] == reference
    assert not [item for item in ready.resources if item["type"].startswith(("docker:", "aws:ecr"))]


def test_a_graphics_processor_is_asked_for_when_the_template_does() -> None:
    import yaml

    from infra.settings import CHECKOUT

    config = yaml.safe_load((CHECKOUT / "Pulumi.staging.yaml").read_text())["config"]["fraud-detection:deployment"]
    config["resource_limits"]["gpu"] = 1
    resources = rendered_stack("staging", deployment=json.dumps(config)).container["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in rendered_stack("staging").container["resources"]["limits"]
