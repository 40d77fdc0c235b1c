"""The local platform's components, on Pulumi's mocks: what they declare and what they refuse."""

import asyncio
from typing import Any

import pulumi
import pulumi.runtime
import pytest


class _Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        outputs = dict(args.inputs)
        if "LocalProcess" in args.typ:
            outputs |= {"url": f"http://{args.inputs['host']}:{int(args.inputs['port'])}", "pid": 1}
        return f"{args.name}-id", outputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        raise AssertionError(f"no component of the local platform calls {args.token}")


_LOOP = asyncio.new_event_loop()
asyncio.set_event_loop(_LOOP)
pulumi.runtime.set_mocks(_Mocks(), preview=False)

from components.local_process import LocalProcessProvider  # noqa: E402
from components.local_serving import LocalServing, LocalServingArgs, LocalVersion  # noqa: E402
from components.model_artifact import ModelArtifact, ModelArtifactArgs  # noqa: E402

DIGEST = "sha256:" + "0" * 64


@pytest.fixture(autouse=True)
def _loop_of_its_own() -> None:
    """The mocks belong to an event loop, in whose place other tests of the process may have put another."""
    asyncio.set_event_loop(_LOOP)


def _artifact_args(measured: str = DIGEST) -> ModelArtifactArgs:
    return ModelArtifactArgs("m_XGBoost_20260101_000000", "file:///registry/m", DIGEST, measured)


def _serving_args(**changes: Any) -> LocalServingArgs:
    return LocalServingArgs(
        **{
            "deployment_name": "fraud-dev",
            "environment": "development",
            "version": LocalVersion("m_XGBoost_20260101_000000", "file:///registry/m", DIGEST),
            "host": "127.0.0.1",
            "port": 8000,
            "model_key_file": "/keys/model.key",
            "api_keys_file": "/keys/api_keys.json",
            "checkout": "/checkout",
            **changes,
        }
    )


@pulumi.runtime.test
def test_an_artifact_gives_id_path_and_digest() -> Any:
    artifact = ModelArtifact("model", _artifact_args())

    def check(values: list[str]) -> None:
        assert values == ["m_XGBoost_20260101_000000", "file:///registry/m", DIGEST]

    return pulumi.Output.all(artifact.model_id, artifact.uri, artifact.digest).apply(check)


def test_an_artifact_whose_digest_is_not_its_manifests_is_refused() -> None:
    with pytest.raises(pulumi.RunError, match=r"its manifest says sha256:0+; nothing was deployed"):
        ModelArtifact("model", _artifact_args(measured="sha256:" + "f" * 64))


@pulumi.runtime.test
def test_serving_gives_id_url_and_model_id() -> Any:
    serving = LocalServing("fraud-dev", _serving_args())

    def check(values: list[str]) -> None:
        assert values == ["fraud-dev-process-id", "http://127.0.0.1:8000", "m_XGBoost_20260101_000000"]

    return pulumi.Output.all(serving.id_, serving.url, serving.model_id).apply(check)


def test_the_provider_captures_nothing_so_that_the_state_does_not_change_with_its_code() -> None:
    from pulumi.dynamic.dynamic import serialize_provider

    assert len(serialize_provider(LocalProcessProvider())) < 200
