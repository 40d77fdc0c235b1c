"""The end of a stack."""

from tests.sandbox.conftest import Cloud


def test_destroying_staging_leaves_its_registry(cloud: Cloud) -> None:
    cloud.reset("staging")
    bucket = cloud.outputs("staging")["registryBucket"]
    cloud.checkout.deploy_model("down", "staging")
    kept = [state for state in cloud.states("staging") if state.get("protect")]
    types = {state["type"] for state in kept}
    assert {"aws:s3/bucket:Bucket", "aws:kms/key:Key", "aws:s3/bucketPolicy:BucketPolicy"} <= types
    cloud.aws("s3").head_bucket(Bucket=bucket)
    names = {item.metadata.name for item in cloud.kubernetes("CoreV1Api").list_namespace().items}
    assert "fraud-detection-staging" not in names
