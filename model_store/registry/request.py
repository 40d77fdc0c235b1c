"""A request to register a model version: what the library and the command line both build."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from model_store.contract.options import PreparationOptions
from model_store.errors import InvalidInput
from model_store.registry.files.manifest import require_metrics, require_names, require_text
from model_store.serialization.compression import CompressionType
from model_store.serialization.formats import SerializationFormat

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


REGISTERED_BY = "registered_by"
"""In the lineage: the actor who registered the version, wherever it is imported."""
COMPUTED_METRICS = "computed_metrics"
"""In the lineage: the metrics that the registration computed itself, on a labelled holdout."""
_RESERVED = frozenset((REGISTERED_BY, COMPUTED_METRICS))
"""What no caller says for the registration."""
_PATHS = ("source", "training_data", "sample", "holdout")


@dataclass(frozen=True, kw_only=True)
class RegistrationRequest(PreparationOptions):
    """Everything that a registration needs beside the model.

    Attributes:
        model_name: a letter, then letters, digits, `_` and `-`.
        description: free text.
        tags: short texts without commas.
        author: who trained the model; None: the actor.
        performance_metrics: finite numbers by name.
        source: file that holds the model, recorded by name and SHA-256.
        source_description: name, SHA-256 and size of the file that was read; None: of the file at `source` now.
        signing_key: signs the manifest.
        compression: of the artifact.
        origin: lineage facts of a model from another store; its audit record is an import.
        reason: why; stands in the audit record.
    """

    model_name: str
    description: str = ""
    tags: Sequence[str] = ()
    author: str | None = None
    performance_metrics: Mapping[str, float] = field(default_factory=dict)
    source: Path | None = None
    source_description: Mapping[str, Any] | None = None
    training_data_description: Mapping[str, Any] | None = None
    signing_key: "Ed25519PrivateKey | None" = None
    compression: CompressionType | str = CompressionType.ZSTD
    origin: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    def __post_init__(self) -> None:
        """Takes a text for the path that it names."""
        for name in _PATHS:
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))

    def require_valid(self) -> None:
        """Raises InvalidInput unless the fields are allowed for every model.

        Raises:
            InvalidInput: the name, the type, a tag or a metric is not allowed, or as for `require_consistent`.
        """
        self.require_consistent()
        if isinstance(self.tags, str) or not isinstance(self.tags, Sequence):
            raise InvalidInput(f"tags is {self.tags!r}; allowed: a list of texts, such as ['monthly']")
        require_names(self.model_name, self.model_type or "Model", self.tags)
        for name, text in (("description", self.description), ("author", self.author or "")):
            require_text(name, text)
        for tag in self.tags:
            require_text("tag", tag)
        for name in _PATHS:
            if not isinstance(path := getattr(self, name), Path | None):
                raise InvalidInput(f"{name} is {path!r}; allowed: a path")
        require_metrics(self.performance_metrics)
        if reserved := sorted(_RESERVED & set(self.origin)):
            raise InvalidInput(
                f"origin has {', '.join(reserved)}, which the registration itself finds out; leave it out"
            )


class RegistrationKeywords(TypedDict, total=False):
    """Further keywords of `ModelRegistry.register_model`; `RegistrationRequest` documents them."""

    model_type: str | None
    feature_schema: Sequence[Mapping[str, Any]] | None
    format_type: SerializationFormat | str
    runtime: bool
    positive_class: Any | None
    threshold: float | None
    sample: Path | None
    training_data: Path | None
    holdout: Path | None
    label: str | None
    versions: Mapping[str, str]
    registry_only: bool
    source: Path | None
    source_description: Mapping[str, Any] | None
    training_data_description: Mapping[str, Any] | None
    signing_key: "Ed25519PrivateKey | None"
    compression: CompressionType | str
    origin: Mapping[str, Any]
    reason: str
