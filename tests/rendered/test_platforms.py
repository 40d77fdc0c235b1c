"""What a stack declares when its config says otherwise than the committed one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from components.container_arguments import container_arguments
from infra.settings import CHECKOUT
from tests.rendered.conftest import rendered_stack
from tests.rendered.render import IMAGE, MODEL_ID, MODEL_KEY, OTHER_ID, PROMOTED


def test_development_in_a_container_is_as_closed_as_a_pod() -> None:
    image = json.dumps({"reference": IMAGE})
    stack = rendered_stack("dev", platform="docker", image=image)
    container = stack.one("ServingContainer")
    told = " ".join(container_arguments({**container, "api_keys_file": "/elsewhere/api_keys.json"}, "name", 20_001))
    assert told.endswith(f" {IMAGE}")
    for option in (
        *("--read-only", "--cap-drop ALL", "--security-opt no-new-privileges:true", "--user 1000:1000"),
        *("--publish 127.0.0.1:20001:8000", "--memory 1024m --memory-swap 1024m", "--health-interval 30s"),
        *("--log-opt max-size=10m", f"--env MODEL_ID={MODEL_ID}"),
    ):
        assert f"{option} " in told
    mounts = [each for each in told.split() if each.startswith("type=bind")]
    assert all(each.endswith(",readonly") for each in mounts)
    assert MODEL_KEY not in json.dumps(container)


def test_two_versions_in_containers_are_behind_one_traffic_splitter() -> None:
    rollout = json.dumps({"strategy": "canary", "candidate": OTHER_ID, "weight": 5})
    stack = rendered_stack("dev", platform="docker", image=json.dumps({"reference": IMAGE}), rollout=rollout)
    served = {each["run_name"]: each["model_id"] for each in stack.all("ServingContainer")}
    assert served == {
        "fraud-detection-dev-blue-container": MODEL_ID,
        "fraud-detection-dev-green-container": OTHER_ID,
    }
    told = stack.one("LocalProcess")["variables"]
    assert told["FRONT_STABLE"] == ".run/fraud-detection-dev-blue-container"
    assert told["FRONT_CANDIDATE"] == ".run/fraud-detection-dev-green-container"
    assert told["FRONT_WEIGHT"] == "5"


def test_an_image_without_a_reference_is_built_and_deployed_by_its_digest() -> None:
    built = rendered_stack("staging")
    image = built.one("image:Image")
    assert image["imageName"].endswith("fraud-detection/staging:v1")
    assert built.one("repository:Repository")["forceDelete"] is True, "a stack with images can be destroyed"
    assert image["build"]["platform"] == "linux/amd64"
    assert image["registry"]["password"] == "[secret]"
    assert built.container["image"] == IMAGE


def test_production_takes_over_stagings_image_by_its_digest_and_builds_none() -> None:
    stack = rendered_stack("production", image=json.dumps({"promoted_from": "staging"}))
    assert stack.container["image"] == PROMOTED
    job = stack.one("batch/v1:CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert job["containers"][0]["image"] == PROMOTED
    assert not [item for item in stack.resources if item["type"].startswith(("docker:", "aws:ecr"))]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ({"promoted_from": "dev"}, "image.promoted_from: the stack 'dev' has deployed no image by digest"),
        ({"promoted_from": "staging", "repository": "fraud"}, "promoted_from without a reference and without a rep"),
        ({"promoted_from": "staging", "reference": IMAGE}, "promoted_from without a reference and without a repos"),
    ],
)
def test_an_image_that_cannot_be_promoted_is_refused_by_its_key(image: dict[str, str], said: str) -> None:
    command = [sys.executable, "-m", "tests.rendered.render", "production", "--set", f"image={json.dumps(image)}"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode != 0
    assert said in done.stderr


def test_a_ready_image_is_deployed_as_it_is() -> None:
    reference = "registry.example.com/serving@sha256:" + "c" * 64
    ready = rendered_stack("staging", image=json.dumps({"reference": reference}))
    assert ready.container["image"] == reference
    assert not [item for item in ready.resources if item["type"].startswith(("docker:", "aws:ecr"))]


def test_a_graphics_processor_is_asked_for_when_the_template_does() -> None:
    import yaml

    config = yaml.safe_load((CHECKOUT / "Pulumi.staging.yaml").read_text())["config"]["fraud-detection:deployment"]
    config["resource_limits"]["gpu"] = 1
    image = json.dumps({"reference": IMAGE, "gpu": True})
    resources = rendered_stack("staging", deployment=json.dumps(config), image=image).container["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in rendered_stack("staging").container["resources"]["limits"]


@pytest.mark.parametrize(("stack", "platform"), [("staging", "kubernetes"), ("dev", "docker")])
def test_a_graphics_processor_that_the_image_cannot_use_is_refused(stack: str, platform: str) -> None:
    limits = {"cpu": "1000m", "memory": "2Gi", "gpu": 1}
    sets = {"platform": platform, "deployment": _deployment(stack, resource_limits=limits)}
    sets["image"] = json.dumps({"reference": IMAGE})
    flags = [part for key, value in sets.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "tests.rendered.render", stack, *flags]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "resource_limits.gpu: 1 is not allowed; allowed: 0, since the service's image has no library" in done.stderr
    assert "fraud-detection:image.gpu: true" in done.stderr


_NAMES = ["numpy.mean", "own_package.encoders.Rare"]


def _told(platform: str, names: object) -> str | None:
    """What the service is told to trust on a platform; None when nothing."""
    if platform == "docker":
        image = json.dumps({"reference": IMAGE})
        stack = rendered_stack("dev", platform="docker", image=image, trusted_types=json.dumps(names))
        return dict(stack.one("ServingContainer")["variables"]).get("MODEL_TRUSTED_TYPES")
    process = rendered_stack("dev", trusted_types=json.dumps(names)).one("LocalProcess")
    return dict(process.get("variables") or {}).get("MODEL_TRUSTED_TYPES")


@pytest.mark.parametrize("platform", ["local", "docker"])
def test_names_that_a_deployer_trusts_reach_the_service(platform: str) -> None:
    assert _told(platform, _NAMES) == "numpy.mean,own_package.encoders.Rare"
    assert _told(platform, []) is None


@pytest.mark.parametrize("stack", ["staging", "production"])
def test_beyond_development_only_models_of_known_structure_are_served(stack: str) -> None:
    command = [sys.executable, "-m", "tests.rendered.render", stack, "--set", f"trusted_types={json.dumps(_NAMES)}"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert f"Pulumi.{stack}.yaml: fraud-detection:trusted_types: numpy.mean" in done.stderr
    assert "MODEL_TRUSTED_TYPES" not in {item["name"] for item in rendered_stack(stack).container["env"]}


def test_both_slots_are_told_what_to_trust() -> None:
    rollout = json.dumps({"strategy": "canary", "candidate": OTHER_ID, "weight": 5})
    stack = rendered_stack("dev", rollout=rollout, trusted_types=json.dumps(_NAMES))
    told = {item.get("run_name"): item.get("variables", {}).get("MODEL_TRUSTED_TYPES") for item in stack.all("Process")}
    slots = {name: value for name, value in told.items() if name}
    assert len(slots) == 2
    assert set(slots.values()) == {",".join(_NAMES)}


@pytest.mark.parametrize(
    "value", ['["numpy"]', '["numpy.*"]', "[1]", '{"numpy.mean": true}', '"numpy.mean"', "nonsense"]
)
def test_trusted_types_that_are_not_full_names_are_refused_with_the_key(value: str) -> None:
    command = [sys.executable, "-m", "tests.rendered.render", "dev", "--set", f"trusted_types={value}"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "Pulumi.dev.yaml: fraud-detection:trusted_types: " in done.stderr
    assert "full names such as numpy.mean" in done.stderr


_SERVICE = {
    "decision_threshold": 0.25,
    "max_batch": 50,
    "max_body_bytes": 4096,
    "max_in_flight": 8,
    "request_timeout_seconds": 2.5,
    "max_header_bytes": 8192,
    "max_headers": 20,
    "header_timeout_seconds": 2.5,
    "idle_timeout_seconds": 30,
    "max_connections": 500,
    "max_connections_per_address": 100,
    "rate_limit_per_second": 10,
    "rate_limit_burst": 20,
    "rate_limit_url": "redis://redis.cache.svc:6380/0",
    "traces_endpoint": "http://192.0.2.7:4318",
    "traces_share": 0.1,
    "log_level": "WARNING",
}


_PER_ADDRESS = "MAX_CONNECTIONS_PER_ADDRESS"


def _service_variables(stack: str, platform: str) -> dict[str, str]:
    """What the service of a stack with all knobs turned is told, on a platform."""
    import yaml

    config = yaml.safe_load((CHECKOUT / f"Pulumi.{stack}.yaml").read_text())["config"]["fraud-detection:deployment"]
    changes = {"deployment": json.dumps({**config, "service": _SERVICE})}
    if platform == "docker":
        changes |= {"platform": "docker", "image": json.dumps({"reference": IMAGE})}
    rendered = rendered_stack(stack, **changes)
    if platform == "docker":
        behind, splitter = (dict(rendered.one(kind)["variables"]) for kind in ("ServingContainer", "LocalProcess"))
        assert behind.pop(_PER_ADDRESS) == "1000000", "the splitter is the one client of a container"
        return {**behind, _PER_ADDRESS: splitter[_PER_ADDRESS]}
    if platform == "local":
        return dict(rendered.one("LocalProcess")["variables"])
    return {item["name"]: item["value"] for item in rendered.container["env"]}


@pytest.mark.parametrize(("stack", "platform"), [("dev", "local"), ("dev", "docker"), ("staging", "kubernetes")])
def test_each_knob_reaches_the_service_on_each_platform(stack: str, platform: str, tmp_path: Path) -> None:
    from serving.settings import ServingSettings

    told = _service_variables(stack, platform)
    names = ("MODEL_ID", "MODEL_URI", "MODEL_SHA256", "API_KEYS_FILE")
    own = {"MODEL_ID": "m", "MODEL_URI": str(tmp_path), "MODEL_SHA256": "sha256:" + "0" * 64, "API_KEYS_FILE": "keys"}
    settings = ServingSettings.from_environment({**told, **{name: own[name] for name in names}})
    for name, value in _SERVICE.items():
        if not name.startswith("traces_"):
            assert getattr(settings, name) == value, name
    assert told["OTEL_EXPORTER_OTLP_ENDPOINT"] == _SERVICE["traces_endpoint"]
    assert (told["OTEL_TRACES_SAMPLER"], told["OTEL_TRACES_SAMPLER_ARG"]) == ("parentbased_traceidratio", "0.1")


def test_the_limit_of_an_address_is_kept_where_clients_have_addresses() -> None:
    rollout = json.dumps({"strategy": "canary", "candidate": OTHER_ID, "weight": 5})
    deployment = _deployment("dev", service={"max_connections_per_address": 7})
    stack = rendered_stack("dev", rollout=rollout, deployment=deployment)
    told = {each.get("run_name", ""): each["variables"][_PER_ADDRESS] for each in stack.all("Process")}
    assert told.pop("") == "7"
    assert sorted(told.values()) == ["1000000", "1000000"]


def test_pods_may_connect_to_what_the_service_is_told() -> None:
    import yaml

    config = yaml.safe_load((CHECKOUT / "Pulumi.staging.yaml").read_text())["config"]["fraud-detection:deployment"]
    stack = rendered_stack("staging", deployment=json.dumps({**config, "service": _SERVICE}))
    (allowed,) = [item for item in stack.all("NetworkPolicy") if item["spec"].get("ingress")]
    opened = {
        rule["ports"][0]["port"]: rule["to"][0]
        for rule in allowed["spec"]["egress"]
        if rule["ports"][0]["port"] not in (53, 443)
    }
    assert opened == {
        6380: {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "cache"}}},
        4318: {"ipBlock": {"cidr": "192.0.2.7/32"}},
    }


def _deployment(stack: str, **changes: object) -> str:
    import yaml

    config = yaml.safe_load((CHECKOUT / f"Pulumi.{stack}.yaml").read_text())["config"]["fraud-detection:deployment"]
    return json.dumps({**config, **changes})


_FILES = {"tls_certificate_file": "tls/cert.pem", "tls_key_file": "/etc/tls/key.pem", "tls_client_ca_file": "ca.pem"}
_TLS_VARIABLES = ("TLS_CERTIFICATE_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE")


@pytest.mark.parametrize("platform", ["local", "docker"])
def test_the_process_that_clients_reach_on_this_machine_has_the_certificate(platform: str) -> None:
    image = {"platform": "docker", "image": json.dumps({"reference": IMAGE})} if platform == "docker" else {}
    stack = rendered_stack(
        "dev", deployment=_deployment("dev", api_endpoint="https://127.0.0.1:8443", service=_FILES), **image
    )
    process = stack.one("LocalProcess")
    told = [process["variables"][name] for name in _TLS_VARIABLES]
    # The checkout's path is rendered as a dot.
    assert told == ["./tls/cert.pem", "/etc/tls/key.pem", "./ca.pem"]
    assert not process.get("development_host")
    if platform == "docker":
        behind = stack.one("ServingContainer")["variables"]
        assert not set(_TLS_VARIABLES) & set(behind), "what is behind the traffic splitter is on the loopback"


def test_an_https_address_without_files_has_a_certificate_of_development() -> None:
    rollout = json.dumps({"strategy": "canary", "candidate": OTHER_ID, "weight": 5})
    deployment = _deployment("dev", api_endpoint="https://127.0.0.1:8443")
    for process in (
        rendered_stack("dev", deployment=deployment).one("LocalProcess"),
        *(
            each
            for each in rendered_stack("dev", deployment=deployment, rollout=rollout).all("LocalProcess")
            if not each.get("run_name")
        ),
    ):
        assert process["development_host"] == "127.0.0.1"
        assert process["variables"]["TLS_CERTIFICATE_FILE"] == "./.secrets/tls/endpoint.pem"
    slots = rendered_stack("dev", deployment=deployment, rollout=rollout).all("LocalProcess")
    assert [bool(each.get("variables")) for each in slots if each.get("run_name")] == [False, False]


def test_pods_serve_https_from_a_secret_and_the_gateway_verifies_them() -> None:
    service = {"tls_secret": "endpoint-tls", "tls_client_ca_secret": "callers", "tls_authority": "own-ca"}
    stack = rendered_stack("staging", deployment=_deployment("staging", service=service))
    container = stack.container
    told = {item["name"]: item["value"] for item in container["env"]}
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    for variable, volume in zip(_TLS_VARIABLES, ("tls", "tls", "client-ca"), strict=True):
        assert Path(told[variable]).parent == Path(mounts[volume]["mountPath"])
    assert "subPath" not in mounts["tls"], "a file that is mounted alone would stay the old one"
    probes = [container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert {(each["scheme"], each["port"]) for each in probes} == {("HTTPS", "https")}
    assert stack.one("Service")["spec"]["ports"][0]["port"] == 443
    (policy,) = [each for each in stack.all("BackendTLSPolicy") if each.get("spec")]
    assert policy["spec"]["validation"] == {
        "hostname": "staging.api.fraud-detection.com",
        "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "own-ca"}],
    }
    route = next(each for each in stack.all("HTTPRoute") if "backendRefs" in json.dumps(each))
    assert {each["port"] for rule in route["spec"]["rules"] for each in rule["backendRefs"]} == {443}


@pytest.mark.parametrize(
    ("environment", "platform", "changes", "said"),
    [
        ("dev", "local", {"service": {"tls_secret": "x"}}, "service.tls_secret: is not allowed on platform local"),
        ("dev", "local", {"service": _FILES}, "is not allowed with service.tls_certificate_file"),
        ("staging", "local", {}, "is not allowed without a certificate; allowed: service.tls_certificate_file"),
        ("staging", "kubernetes", {"service": _FILES}, "service.tls_key_file: is not allowed on platform kubernetes"),
    ],
)
def test_tls_that_the_platform_does_not_have_is_refused_with_its_key(
    environment: str, platform: str, changes: dict[str, object], said: str
) -> None:
    from infra.deployment_config import parse_deployment_config
    from infra.endpoint_tls import require_address
    from infra.errors import ConfigError

    config = parse_deployment_config(json.loads(_deployment(environment, **changes)), "Pulumi.x.yaml")
    with pytest.raises(ConfigError) as caught:
        require_address(config, platform, "Pulumi.x.yaml")
    assert said in str(caught.value)
    assert all(line.startswith("Pulumi.x.yaml: fraud-detection:deployment.") for line in str(caught.value).splitlines())


def test_the_pods_that_carry_the_gateways_traffic_may_connect_and_so_may_a_load_balancers_addresses() -> None:
    committed = {
        "namespace": "fraud-detection-staging",
        "oidc_provider_arn": "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/A",
        "gateway": "public",
        "gateway_namespace": "gateways",
    }
    carried = {
        "gateway_pod_namespaces": ["projectcontour"],
        "gateway_addresses": ["10.0.64.0/18"],
        "monitoring_namespaces": ["monitoring"],
        "dns_addresses": ["169.254.20.10/32"],
    }
    stack = rendered_stack("staging", kubernetes=json.dumps({**committed, **carried}))
    (policy,) = (each for each in stack.all(":NetworkPolicy") if "ingress" in each["spec"])
    (way_in,) = policy["spec"]["ingress"]
    names = [each["namespaceSelector"]["matchLabels"] for each in way_in["from"] if "namespaceSelector" in each]
    assert names == [{"kubernetes.io/metadata.name": name} for name in ("gateways", "projectcontour", "monitoring")]
    assert [each["ipBlock"] for each in way_in["from"] if "ipBlock" in each] == [{"cidr": "10.0.64.0/18"}]
    names_of_hosts, _ = policy["spec"]["egress"]
    assert names_of_hosts["to"][1] == {"ipBlock": {"cidr": "169.254.20.10/32"}}
    assert {port["port"] for port in names_of_hosts["ports"]} == {53}


def test_every_pod_that_takes_a_role_is_told_its_region_by_the_name_that_boto3_reads() -> None:
    stack = rendered_stack("production")
    (job,) = stack.all(":CronJob")
    (backup,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    for container in (stack.container, backup):
        told = {each["name"]: each["value"] for each in container["env"]}
        assert told["AWS_DEFAULT_REGION"] == told["AWS_REGION"] == "eu-central-1"
        assert told["AWS_WEB_IDENTITY_TOKEN_FILE"].endswith("/token")
    assert backup["command"][0] == "python3", "the image's base may have no other name"
