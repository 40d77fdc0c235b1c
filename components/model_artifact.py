"""ModelArtifact: the encrypted artifact and its manifest in the registry."""

from dataclasses import dataclass

import pulumi


@dataclass(frozen=True)
class ModelArtifactArgs:
    """Arguments of ModelArtifact: a model version and its files."""

    model_id: str
    """The model version, such as `fraud_detector_XGBoost_20241009_123456`."""
    uri: str
    """Location of manifest and artifact: a `file://` directory, or the prefix in the bucket."""
    digest: str
    """The artifact's digest in its manifest, `sha256:<hex>`."""
    measured_digest: str
    """The measured digest of the artifact, `sha256:<hex>`."""
    runtime_digest: str = ""
    """Digest of the model's optimized form; empty: the version has none."""
    files: tuple[str, ...] = ()
    """Paths of the files that make the model version, where it is to be promoted into a bucket."""
    revision: str = ""
    """Changes when the files have to be promoted again: digest and key ids, not the bytes, which are random."""
    source: str = ""
    """Location of the registry that the version is promoted from: an absolute path or a URL."""
    checkout: str = ""
    """The checkout whose `manage_models.py` promotes it."""
    reason: str = ""
    """Why, for the audit logs of both registries; such as the deployment's name."""


@dataclass(frozen=True)
class ArtifactBucket:
    """The bucket whose registry a model version is promoted into."""

    bucket: pulumi.Input[str]
    region: str
    ready: tuple[pulumi.Resource, ...] = ()
    """Resources that an upload waits for, such as the bucket's policy."""


class ModelArtifact(pulumi.ComponentResource):
    """One model version in a registry: a directory, or a bucket that it is promoted into.

    Guarantees: whatever depends on it is given an artifact that is the one its manifest describes; a version that was
    promoted stays when the stack goes on to another one, so that a rollback finds it, with its state, evidence,
    signatures and audit record, and is not promoted again unless its digest or its keys have changed.

    Raises:
        pulumi.RunError: the artifact's digest is not the manifest's.
    """

    model_id: pulumi.Output[str]
    uri: pulumi.Output[str]
    digest: pulumi.Output[str]
    runtime_digest: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        args: ModelArtifactArgs,
        bucket: ArtifactBucket | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("fraud-detection:model_artifact:ModelArtifact", name, {}, opts)
        if args.measured_digest != args.digest:
            raise pulumi.RunError(
                f"the artifact of {args.model_id} has digest {args.measured_digest}, its manifest says {args.digest}; "
                "nothing was deployed. Restore it (manage_models.py verify --repair BACKUP), or deploy another one."
            )
        self.model_id = pulumi.Output.from_input(args.model_id)
        self.digest = pulumi.Output.from_input(args.digest)
        self.runtime_digest = pulumi.Output.from_input(args.runtime_digest)
        self.uri = pulumi.Output.from_input(args.uri) if bucket is None else self._promoted(name, args, bucket)
        self.register_outputs({"model_id": self.model_id, "uri": self.uri, "digest": self.digest})

    def _promoted(self, name: str, args: ModelArtifactArgs, target: ArtifactBucket) -> pulumi.Output[str]:
        from components.promoted_version import PromotedVersion

        # Each version has a resource of its own: the next one comes beside it, and it is kept when it leaves the stack.
        made = PromotedVersion(
            f"{name}-{args.model_id}",
            {
                "model_id": args.model_id,
                "source": args.source,
                "target": pulumi.Output.concat("s3://", target.bucket),
                "region": target.region,
                "revision": args.revision,
                "checkout": args.checkout,
                "reason": args.reason,
            },
            pulumi.ResourceOptions(parent=self, retain_on_delete=True, depends_on=list(target.ready)),
        )
        # The address is known once the version is there: what reads it comes after.
        return pulumi.Output.all(target.bucket, made.id).apply(lambda known: f"s3://{known[0]}/{args.uri}")
