"""What the pods of a stack would publish, and what its API server says: kwok runs no container."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from tests.sandbox.conftest import aws_client, deployment_name


@contextmanager
def published(variables: Mapping[str, str], stack: str, stable: str, candidate: str) -> Iterator[None]:
    """Publishes requests of both versions every two seconds."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(2):
            for model_id, requests in ((stable, 1000), (candidate, 300)):
                _publish(variables, stack, model_id, requests)

    publisher = threading.Thread(target=work)
    publisher.start()
    try:
        yield
    finally:
        over.set()
        publisher.join()


def _publish(variables: Mapping[str, str], stack: str, model_id: str, requests: int) -> None:
    dimensions = {"Environment": stack, "Deployment": deployment_name(stack), "ModelVersion": model_id}
    counts = {"Requests": requests, "Errors": 0, "Decisions": requests, "Frauds": requests // 50}
    latency = {"Values": [4.0, 8.0], "Counts": [requests * 9 // 100, requests // 100], "Unit": "Milliseconds"}
    data = {name: {"Value": value} for name, value in counts.items()} | {"Latency": latency, "Drift": {"Value": 0.05}}
    aws_client(dict(variables), "cloudwatch").put_metric_data(
        Namespace="FraudDetection",
        MetricData=[
            {
                "MetricName": name,
                "Timestamp": datetime.now(UTC),
                "Dimensions": [{"Name": key, "Value": text} for key, text in dimensions.items()],
                **values,
            }
            for name, values in data.items()
        ],
    )


def serves(variables: Mapping[str, str], stack: str) -> str:
    """The version that has all requests, as the API server has it."""
    name = deployment_name(stack)
    slot = "-green" if route(variables, stack).get("-green") == 100 else ""
    found = kubernetes(variables, "AppsV1Api").read_namespaced_deployment(f"{name}{slot}", _namespace(stack))
    return next(str(item.value) for item in found.spec.template.spec.containers[0].env if item.name == "MODEL_ID")


def route(variables: Mapping[str, str], stack: str) -> dict[str, int]:
    """Percent of the requests by slot."""
    api, name = kubernetes(variables, "CustomObjectsApi"), deployment_name(stack)
    namespace = _namespace(stack)
    found = api.get_namespaced_custom_object("gateway.networking.k8s.io", "v1", namespace, "httproutes", name)
    (rule,) = [rule for rule in found["spec"]["rules"] if not rule["matches"][0].get("headers")]
    return {each["name"].removeprefix(name) or "-blue": each["weight"] for each in rule["backendRefs"]}


def kubernetes(variables: Mapping[str, str], api: str) -> Any:
    """A client of the sandbox's API server."""
    from kubernetes import client, config

    configuration = client.Configuration()
    config.load_kube_config(variables["KUBECONFIG"], client_configuration=configuration)
    return getattr(client, api)(client.ApiClient(configuration))


def _namespace(stack: str) -> str:
    return f"fraud-detection-{stack}"
