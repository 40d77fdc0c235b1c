"""Metadata of a model version: its immutable manifest and its status."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from numbers import Real
from typing import Any

from conventions.artifact_files import GOLDEN_FILE, RUNTIME_FILE
from model_store.errors import IllegalTransition, InvalidInput, UnreadableModel

# A dot stands between other characters: a name is a directory's name, never `..`, and never hidden.
_NAME_PATTERN = r"[A-Za-z](?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9])){0,62}"
_TYPE_PATTERN = r"[A-Za-z][A-Za-z0-9-]{0,62}"
_NAME = re.compile(_NAME_PATTERN)
_TYPE = re.compile(_TYPE_PATTERN)
_MODEL_ID = re.compile(
    rf"(?P<name>{_NAME_PATTERN})_(?P<type>{_TYPE_PATTERN})_(?P<moment>[0-9]{{8}}_[0-9]{{6}})(?:-[0-9]{{1,9}})?"
)
_DEFERRED = "_deferred_manifest"
_LONGEST_TEXT = 1 << 20
_TAG = re.compile(r"[^\s,][^,\n]{0,62}")


class ModelStatus(StrEnum):
    """Lifecycle status of a model version."""

    TRAINED = "trained"
    VALIDATED = "validated"
    STAGED = "staged"
    DEPLOYED = "deployed"
    DEPRECATED = "deprecated"
    ARCHIVED = "archived"

    @property
    def leads_to(self) -> tuple["ModelStatus", ...]:
        """The statuses that may follow this one."""
        return _TRANSITIONS[self]

    def require_transition(self, target: "ModelStatus") -> None:
        """Raises IllegalTransition unless the target may follow.

        Raises:
            IllegalTransition: it may not; lists what may.
        """
        if target not in self.leads_to:
            allowed = ", ".join(self.leads_to) or "nothing"
            raise IllegalTransition(f"{self} does not lead to {target}; it leads to: {allowed}")


_TRANSITIONS = {
    ModelStatus.TRAINED: (
        ModelStatus.VALIDATED,
        ModelStatus.STAGED,
        ModelStatus.DEPLOYED,
        ModelStatus.DEPRECATED,
        ModelStatus.ARCHIVED,
    ),
    ModelStatus.VALIDATED: (ModelStatus.STAGED, ModelStatus.DEPLOYED, ModelStatus.DEPRECATED, ModelStatus.ARCHIVED),
    ModelStatus.STAGED: (ModelStatus.VALIDATED, ModelStatus.DEPLOYED, ModelStatus.DEPRECATED, ModelStatus.ARCHIVED),
    # What is found out about a version while it serves, in staging say, is a status of its own.
    ModelStatus.DEPLOYED: (ModelStatus.VALIDATED, ModelStatus.STAGED, ModelStatus.DEPRECATED),
    # The way back: a rollback deploys a deprecated version again.
    ModelStatus.DEPRECATED: (ModelStatus.DEPLOYED, ModelStatus.ARCHIVED),
    ModelStatus.ARCHIVED: (ModelStatus.DEPRECATED,),
}


def status_named(value: ModelStatus | str) -> ModelStatus:
    """The status of a name.

    Raises:
        InvalidInput: no status has this name; lists those there are.
    """
    try:
        return ModelStatus(value)
    except ValueError:
        raise InvalidInput(f"status {value!r} is not allowed; allowed: {', '.join(ModelStatus)}") from None


@dataclass(frozen=True)
class Source:
    """The file that a model version was registered from."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class ModelMetadata:
    """Metadata of a model version: the fields of its manifest, and its status."""

    model_id: str
    model_name: str
    model_type: str
    version: int
    """1, 2, 3… within the model name; numbers are never reused."""
    description: str
    tags: tuple[str, ...]
    author: str
    created_at: str
    """RFC 3339, UTC."""
    performance_metrics: Mapping[str, float]
    digest: str
    """The artifact's digest, `sha256:<hex>`; stays the same when keys rotate."""
    size_bytes: int
    """Size of the registered artifact file; a rotation of keys can change the file's size."""
    payload_bytes: int
    """The size of the serialized and compressed model inside the artifact."""
    serializer: str
    compression: str
    encrypted: bool
    key_fingerprints: tuple[str, ...]
    """Of the keys at registration, in manifests of before; newer ones leave that to the state, since keys rotate."""
    model_class: str
    library_versions: Mapping[str, str]
    feature_schema: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)
    """One object a feature, in the model's order: `name`, `type`, and where known `minimum` and `maximum`."""
    source: Source | None = field(default_factory=lambda: None)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from, as far as it is known: `git_commit`, `parameters`, `training_data` (name, SHA-256, size)."""
    runtime: Mapping[str, Any] | None = field(default_factory=lambda: None)
    """The optimized form that is served: `format` (`onnx` or `native`) and, for ONNX, its `digest`, `size_bytes`,
    `payload_bytes`, `largest_difference` from the model, `tolerance` and `sample_rows`; for `native`, the `reason`.
    None: not made."""
    contract: Mapping[str, Any] | None = field(default_factory=lambda: None)
    """Contract of the model without its features, and its golden rows; see `model_store.contract`. None for a version
    that was registered before contracts existed, or for the registry only."""
    status: ModelStatus = field(default=ModelStatus.TRAINED, compare=False)
    key_ids: tuple[str, ...] = field(default=(), compare=False)
    """The keys that open the artifact now, by fingerprint or ARN, as the state says; empty before states said so."""
    serving: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where it serves: environments, each with the time since when."""
    ran: tuple[str, ...] = field(default_factory=tuple, compare=False)
    """The environments that it was ever deployed to."""

    @property
    def runtime_digest(self) -> str:
        """The digest of the optimized form; empty without one."""
        return str((self.runtime or {}).get("digest", ""))

    @property
    def attachments(self) -> dict[str, tuple[str, int]]:
        """The artifact files beside the artifact: by name, digest and bytes of the payload."""
        found = {}
        if self.runtime and self.runtime_digest:
            found[RUNTIME_FILE] = (self.runtime_digest, int(self.runtime["payload_bytes"]))
        if self.contract and self.contract.get("golden"):
            golden = self.contract["golden"]
            found[GOLDEN_FILE] = (str(golden["digest"]), int(golden["payload_bytes"]))
        return found

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features' names, in the model's order; empty when the model does not name them."""
        return tuple(str(feature["name"]) for feature in self.feature_schema)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values; `key_fingerprints` are those of the keys that open the artifact now."""
        values = {**asdict(self), "status": str(self.status)}
        return {**values, "key_fingerprints": list(values.pop("key_ids") or values["key_fingerprints"])}

    def manifest(self) -> dict[str, Any]:
        """The immutable fields as plain JSON values."""
        values = asdict(self)
        del values["status"], values["key_ids"], values["serving"], values["ran"]
        if self.contract is None:
            # Manifests of that time were written and signed so.
            del values["contract"]
        return values

    @classmethod
    def from_manifest(
        cls,
        manifest: Mapping[str, Any],
        status: ModelStatus,
        key_ids: Iterable[str] = (),
        serving: Mapping[str, str] | None = None,
        ran: Iterable[str] = (),
    ) -> "ModelMetadata":
        """Reads a manifest.

        Args:
            manifest: as it is stored.
            status: of the state.
            key_ids: of the state.
            serving: where the version serves, as the state says, with the time since when.
            ran: the environments that the state names.

        Raises:
            UnreadableModel: it lacks a field, or has one that this program does not know.
        """
        expected = _manifest_fields()
        if "runtime" not in manifest or "contract" not in manifest:
            manifest = {"runtime": None, "contract": None, **manifest}
        if manifest.keys() != expected:
            odd = sorted(set(manifest) ^ expected)
            raise UnreadableModel(f"the manifest's fields are not the expected ones: {', '.join(odd)}")
        values = dict(manifest)
        try:
            values["tags"] = tuple(values["tags"])
            values["key_fingerprints"] = tuple(values["key_fingerprints"])
            values["feature_schema"] = tuple(values["feature_schema"])
            values["source"] = Source(**values["source"]) if values["source"] else None
        except TypeError as error:
            raise UnreadableModel(f"the manifest has a field of another kind ({error})") from None
        values["status"], values["key_ids"] = status, tuple(key_ids)
        values["serving"], values["ran"] = dict(serving or {}), tuple(ran)
        # Equals the frozen class's constructor with every field given, and is ten times as fast.
        made = object.__new__(cls)
        made.__dict__.update(values)
        return made

    @classmethod
    def deferred(
        cls, known: dict[str, Any], read: Callable[[str, Any], Mapping[str, Any]], place: object
    ) -> "ModelMetadata":
        """Metadata whose manifest is read when a field is asked for that is not known yet.

        Args:
            known: some of the fields, `model_id`, `status`, `key_ids`, `serving` and `ran` among them; the metadata
                takes the dictionary over.
            read: reads the manifest of a version by its id and place; `from_manifest` could read the result.
            place: of the manifest.
        """
        made = object.__new__(cls)
        # A frozen class takes its fields at once this way, and a list of ten thousand in a third of the time.
        known[_DEFERRED] = (read, place)
        object.__setattr__(made, "__dict__", known)
        return made

    def __getattr__(self, name: str) -> Any:
        """A field of a deferred manifest; no field has a default in the class, so that each missing one comes here."""
        deferred = None if name.startswith("__") else self.__dict__.get(_DEFERRED)
        if deferred is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        read, place = deferred
        whole = self.from_manifest(read(self.model_id, place), self.status, self.key_ids, self.serving, self.ran)
        self.__dict__.update(whole.__dict__)
        self.__dict__.pop(_DEFERRED, None)
        return getattr(self, name)


@cache
def _manifest_fields() -> frozenset[str]:
    return frozenset(item.name for item in fields(ModelMetadata)) - {"status", "key_ids", "serving", "ran"}


def new_model_id(model_name: str, model_type: str, moment: datetime, version: int | None = None) -> str:
    """The id of a model version, such as `fraud_detector_XGBoost_20241009_123456`.

    Args:
        model_name: of the model.
        model_type: such as `XGBoost`.
        moment: of the registration.
        version: makes the id another one, `…_123456-7`, where a version of the same second has the shorter one.
    """
    suffix = "" if version is None else f"-{version}"
    return f"{model_name}_{model_type}_{moment.astimezone(UTC):%Y%m%d_%H%M%S}{suffix}"


def parse_model_name(model_id: str) -> str:
    """The model name in a model id.

    Raises:
        InvalidInput: it is not a model id.
    """
    return _matched(model_id)["name"]


def type_of(model_id: str) -> str:
    """The model type in a model id.

    Raises:
        InvalidInput: it is not a model id.
    """
    return _matched(model_id)["type"]


def moment_of(model_id: str) -> datetime:
    """The second in a model id.

    Raises:
        InvalidInput: it is not a model id, or names no time.
    """
    found = _matched(model_id)["moment"]
    try:
        return datetime.strptime(found, "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidInput(f"{model_id!r} names no time") from None


def _matched(model_id: str) -> "re.Match[str]":
    found = _MODEL_ID.fullmatch(model_id)
    if found is None:
        raise InvalidInput(f"{model_id!r} is not a model id; one looks like fraud_detector_XGBoost_20241009_123456")
    return found


def is_model_id(text: str) -> bool:
    """Whether a text is a model id."""
    return _MODEL_ID.fullmatch(text) is not None


def is_model_name(text: str) -> bool:
    """Whether a text is a model name: a letter, then letters, digits, `_`, `-`, single dots; at most 63 characters."""
    return _NAME.fullmatch(text) is not None


def require_names(model_name: str, model_type: str, tags: Iterable[str]) -> None:
    """Raises InvalidInput unless model name, model type and tags are allowed.

    Raises:
        InvalidInput: one is not; says what is allowed.
    """
    if not is_model_name(model_name):
        raise InvalidInput(
            f"model name {model_name!r} is not allowed; allowed: a letter, then letters, digits, _, - and single dots "
            "between them, 63 characters at most"
        )
    if not _TYPE.fullmatch(model_type):
        raise InvalidInput(f"model type {model_type!r} is not allowed; allowed: a letter, then letters, digits and -")
    for tag in tags:
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            raise InvalidInput(f"tag {tag!r} is not allowed; allowed: 1 to 63 characters without commas")


def require_text(name: str, text: str) -> None:
    """Raises InvalidInput unless a text can be stored: Unicode, of at most a mebibyte.

    Raises:
        InvalidInput: it cannot; names it.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"the {name} is {text!r}; allowed: text")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"the {name} is not Unicode text: it has a character of another encoding") from None
    if size > _LONGEST_TEXT:
        raise InvalidInput(f"the {name} has {size} bytes; allowed: {_LONGEST_TEXT}")


def require_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics as floats.

    Args:
        metrics: numbers by name: Python's, or scalars and 0-d arrays of numpy and libraries like it.

    Raises:
        InvalidInput: one is not a finite number.
    """
    if not isinstance(metrics, Mapping):
        raise InvalidInput(f"the metrics are {metrics!r}; allowed: numbers by name")
    for name in metrics:
        require_text("name of a metric", str(name))
    return {str(name): _finite_number(str(name), value) for name, value in metrics.items()}


def _finite_number(name: str, value: Any) -> float:
    plain = value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
    try:
        number = math.nan if isinstance(plain, bool) or not isinstance(plain, Real) else float(plain)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidInput(f"metric {name!r} is {value!r}; allowed: a finite number")
    return number
