"""ModelArtifact: the encrypted artifact and its manifest in the registry."""

from dataclasses import dataclass

import pulumi


@dataclass(frozen=True)
class ModelArtifactArgs:
    """What a ModelArtifact stands for."""

    model_id: str
    """The model version, such as `fraud_detector_XGBoost_20241009_123456`."""
    uri: str
    """Where manifest and artifact lie: a `file://` directory."""
    digest: str
    """The artifact's digest as its manifest has it, `sha256:<hex>`."""
    measured_digest: str
    """The artifact's digest as it was measured just now, `sha256:<hex>`."""


class ModelArtifact(pulumi.ComponentResource):
    """One model version in a directory registry; creates no cloud object.

    Guarantees that whatever depends on it is given an artifact that is the one its manifest describes.

    Raises:
        pulumi.RunError: the artifact's digest is not the manifest's.
    """

    model_id: pulumi.Output[str]
    uri: pulumi.Output[str]
    digest: pulumi.Output[str]

    def __init__(self, name: str, args: ModelArtifactArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("fraud-detection:model_artifact:ModelArtifact", name, {}, opts)
        if args.measured_digest != args.digest:
            raise pulumi.RunError(
                f"the artifact of {args.model_id} has digest {args.measured_digest}, its manifest says {args.digest}; "
                "nothing was deployed. Restore the artifact, or deploy another model version."
            )
        self.model_id = pulumi.Output.from_input(args.model_id)
        self.uri = pulumi.Output.from_input(args.uri)
        self.digest = pulumi.Output.from_input(args.digest)
        self.register_outputs({"model_id": self.model_id, "uri": self.uri, "digest": self.digest})
