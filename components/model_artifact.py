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
    """Paths of the model version's files, to upload to a bucket."""
    revision: str = ""
    """Digest and key ids; another value uploads the files again. Encrypted bytes are random, so they do not count."""


@dataclass(frozen=True)
class ArtifactBucket:
    """The bucket that a model version is uploaded to."""

    bucket: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    ready: tuple[pulumi.Resource, ...] = ()
    """Resources that an upload waits for, such as the bucket's policy."""


class ModelArtifact(pulumi.ComponentResource):
    """One model version in a registry: a directory, or a bucket that its files are uploaded to.

    Guarantees: resources that depend on it get the artifact that the manifest describes; uploaded files stay when the
    stack moves to another version, so that a rollback finds them; an update uploads them again only after a change of
    the digest or the keys.

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
        self.uri = pulumi.Output.from_input(args.uri) if bucket is None else self._uploaded(name, args, bucket)
        self.register_outputs({"model_id": self.model_id, "uri": self.uri, "digest": self.digest})

    def _uploaded(self, name: str, args: ModelArtifactArgs, target: ArtifactBucket) -> pulumi.Output[str]:
        import pulumi_aws as aws  # takes a second to import; a directory does not need it

        # Each version has its own resources: the next version comes beside it, and the stack keeps the old one.
        # The bucket sets the lock's duration: the value that S3 reports is not a difference.
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
        # The address resolves once the files are uploaded, so readers come after the upload.
        return pulumi.Output.all(target.bucket, *(item.id for item in objects)).apply(
            lambda known: f"s3://{known[0]}/{args.uri}"
        )
