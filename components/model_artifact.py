"""ModelArtifact: the encrypted artifact and its manifest in the registry."""

from dataclasses import dataclass

import pulumi


@dataclass(frozen=True)
class ModelArtifactArgs:
    """Arguments of ModelArtifact: a model version and its files."""

    model_id: str
    """The model version, such as `fraud_detector_XGBoost_20241009_123456`."""
    uri: str
    """Where manifest and artifact lie: a `file://` directory, or what comes after the bucket when there is one."""
    digest: str
    """The artifact's digest as its manifest has it, `sha256:<hex>`."""
    measured_digest: str
    """The artifact's digest as it was measured just now, `sha256:<hex>`."""
    runtime_digest: str = ""
    """The digest of its optimized form, which is served where there is one; empty without one."""
    files: tuple[str, ...] = ()
    """Paths of the files that make the model version, for a bucket."""
    revision: str = ""
    """Changes when the files have to be uploaded again: digest and key ids, not the bytes, which are random."""


@dataclass(frozen=True)
class ArtifactBucket:
    """The bucket that a model version is uploaded to."""

    bucket: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    ready: tuple[pulumi.Resource, ...] = ()
    """What has to be there first."""


class ModelArtifact(pulumi.ComponentResource):
    """One model version in a registry: a directory, or a bucket that its files are uploaded to.

    Guarantees: whatever depends on it is given an artifact that is the one its manifest describes; what was uploaded
    stays when the stack goes on to another version, so that a rollback finds it, and is not uploaded again unless its
    digest or its keys have changed.

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
                "nothing was deployed. Restore the artifact, or deploy another model version."
            )
        self.model_id = pulumi.Output.from_input(args.model_id)
        self.digest = pulumi.Output.from_input(args.digest)
        self.runtime_digest = pulumi.Output.from_input(args.runtime_digest)
        self.uri = pulumi.Output.from_input(args.uri) if bucket is None else self._uploaded(name, args, bucket)
        self.register_outputs({"model_id": self.model_id, "uri": self.uri, "digest": self.digest})

    def _uploaded(self, name: str, args: ModelArtifactArgs, target: ArtifactBucket) -> pulumi.Output[str]:
        import pulumi_aws as aws  # takes a second to load, which a directory need not wait for

        # Each version has resources of its own: the next one comes beside it, and it is kept when it leaves the stack.
        # How long it is locked is the bucket's rule: what S3 reports of it is not a difference.
        opts = pulumi.ResourceOptions(
            parent=self,
            retain_on_delete=True,
            ignore_changes=["source", "object_lock_mode", "object_lock_retain_until_date"],
            depends_on=list(target.ready),
        )
        objects = []
        for path in args.files:
            file = path.rsplit("/", 1)[-1]
            made = aws.s3.BucketObjectv2(
                f"{name}-{args.model_id}-{file}",
                bucket=target.bucket,
                key=f"{args.uri}/{file}",
                source=pulumi.FileAsset(path),
                source_hash=args.revision,
                server_side_encryption="aws:kms",
                kms_key_id=target.key_arn,
                bucket_key_enabled=True,
                checksum_algorithm="SHA256",
                opts=opts,
            )
            objects.append(made)
        # The address is known once the files are there: what reads them comes after.
        return pulumi.Output.all(target.bucket, *(item.id for item in objects)).apply(
            lambda known: f"s3://{known[0]}/{args.uri}"
        )
