"""The one door for a registry's JSON files and a bundle's: past it, kinds, ranges and sizes are known."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from model_store.errors import InvalidInput, UnreadableModel

MOST_VERSIONS = 999_999_999
"""The largest version number."""
_DEEPEST = 50
_NESTED = (dict, list)
_Value = TypeVar("_Value")
_Text = Annotated[str, Meta(max_length=1 << 20)]
_Word = Annotated[str, Meta(max_length=4096)]
_Bytes = Annotated[int, Meta(ge=0, lt=1 << 62)]
_Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
_Time = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})\Z")]


class StoredSource(Struct, forbid_unknown_fields=True):
    """The file that a version was registered from."""

    name: _Word
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    size_bytes: _Bytes


class StoredAttachment(Struct):
    """What a manifest says of a file beside the artifact; other fields are facts for people."""

    digest: _Digest | None = None
    payload_bytes: _Bytes | None = None
    size_bytes: _Bytes | None = None


class StoredContract(Struct):
    """What a manifest's contract has to have for the registry; `Contract.from_dict` reads the rest."""

    golden: StoredAttachment | None = None


class StoredTrainingData(Struct):
    """The file that a model was trained on."""

    name: _Word
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    size_bytes: _Bytes


class StoredLineage(Struct):
    """Where a version comes from; other fields are facts for people."""

    git_commit: _Word | None = None
    parameters: dict[_Word, Any] = {}
    training_data: StoredTrainingData | None = None
    registered_by: _Word | None = None
    computed_metrics: list[_Word] = []
    mlflow: dict[_Word, Any] | None = None


class StoredManifest(Struct, forbid_unknown_fields=True):
    """A manifest; the fields are those of `ModelMetadata`."""

    model_id: _Word
    model_name: _Word
    model_type: _Word
    version: Annotated[int, Meta(ge=1, le=MOST_VERSIONS)]
    description: _Text
    tags: Annotated[list[_Word], Meta(max_length=10_000)]
    author: _Word
    created_at: _Time
    performance_metrics: dict[_Word, float]
    digest: _Digest
    size_bytes: _Bytes
    payload_bytes: _Bytes
    serializer: _Word
    compression: _Word
    encrypted: bool
    key_fingerprints: Annotated[list[_Word], Meta(max_length=10_000)]
    model_class: _Word
    library_versions: dict[_Word, _Word]
    feature_schema: list[dict[str, Any]]
    source: StoredSource | None
    lineage: dict[str, Any]
    runtime: StoredAttachment | None = None
    contract: StoredContract | None = None


class StoredStatus(Struct):
    """One status in a state's history."""

    status: _Word
    at: _Word
    by: _Word
    why: _Text


class StoredDeployment(Struct):
    """One deployment in a state."""

    environment: _Word
    deployment_id: _Word
    at: _Word


class StoredGolden(Struct):
    """Golden rows that a proof added to a version of before."""

    digest: _Digest
    contract: dict[str, Any]
    feature_schema: list[dict[str, Any]]


_Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class StoredEvidence(Struct):
    """One evidence file of a version; other fields are facts for people."""

    sha256: _Sha256


class StoredDecision(Struct):
    """Who decided what, when and why."""

    at: _Word
    by: _Word
    reason: _Text = ""


class StoredValidation(StoredDecision):
    """A validation, and the evidence files that it rests on."""

    evidence: list[_Sha256] = []


class StoredApproval(StoredDecision, kw_only=True):
    """An approval of a manifest; a withdrawn one stays."""

    manifest: _Digest
    evidence: _Sha256
    withdrawn: StoredDecision | None = None
    registry: _Word | None = None
    """Where it was given, if it was carried from there: it does not count here."""


class StoredServing(Struct):
    """What serves in an environment, and since when."""

    deployment_id: _Word
    since: _Word


class StoredState(Struct):
    """A state; other fields are allowed, since later programs add some."""

    status: _Word
    history: list[StoredStatus] = []
    deployments: list[StoredDeployment] = []
    golden: StoredGolden | None = None
    proofs: list[dict[str, Any]] = []
    manifest: _Digest | None = None
    """Of the manifest's bytes; absent in states of before."""
    key_ids: list[_Word] = []
    """Names of the keys that open the files since the last rotation; absent before one."""
    evidence: list[StoredEvidence] = []
    validated: StoredValidation | None = None
    approvals: list[StoredApproval] = []
    brought_by: list[_Word] = []
    """Who imported or promoted the version; absent in states of before."""
    serving: dict[_Word, StoredServing] = {}


class StoredAliasChange(Struct):
    """One entry of an alias's history."""

    model_id: _Word | None
    at: _Word
    by: _Word
    why: _Text


class StoredAlias(Struct):
    """An alias of a model name; None: it was removed."""

    model_id: _Word | None
    history: list[StoredAliasChange]


class StoredBundle(Struct):
    """A bundle's `bundle.json`."""

    format: _Word
    model_id: _Word
    members: dict[_Word, Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]]


def require_manifest(value: object) -> Mapping[str, Any]:
    """Returns a manifest whose fields are of the kinds that everything else takes them for.

    Raises:
        UnreadableModel: a field is missing, unknown, of another kind or out of range; names it.
    """
    _require_depth(value, "manifest")
    try:
        found = msgspec.convert(value, StoredManifest)
        msgspec.json.encode(value)  # raises where a text is not Unicode
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UnreadableModel(f"the manifest cannot be read: {_reason(error)}") from None
    for name, number in found.performance_metrics.items():
        if not math.isfinite(number):
            raise UnreadableModel(f"the manifest cannot be read: the metric {name!r} is not a finite number")
    if not all(isinstance(feature.get("name"), str) for feature in found.feature_schema):
        raise UnreadableModel("the manifest cannot be read: a feature has no name")
    for attachment in (found.runtime, found.contract.golden if found.contract else None):
        if attachment is not None and attachment.digest is not None and attachment.payload_bytes is None:
            raise UnreadableModel("the manifest cannot be read: a file beside the artifact has no `payload_bytes`")
    assert isinstance(value, Mapping)  # noqa: S101 - it was converted
    return value


def _require_depth(value: object, what: str) -> None:
    level: list[Any] = [value] if isinstance(value, _NESTED) else []
    for _ in range(_DEEPEST):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, _NESTED)
        ]
        if not level:
            return
    raise UnreadableModel(f"the {what} cannot be read: it is nested more than {_DEEPEST} levels deep")


def require_state(value: object) -> dict[str, Any]:
    """Returns a state whose fields are of the kinds that everything else takes them for, with those it may lack.

    Raises:
        UnreadableModel: a field is missing or of another kind; names it.
    """
    return {"history": [], "deployments": [], **_required(value, StoredState, "state")}


def require_writable(value: _Value, require: Callable[[_Value], object]) -> _Value:
    """Returns what is to be written, if it can be read again.

    Args:
        value: the content of a file.
        require: raises UnreadableModel for what no reader takes.

    Raises:
        InvalidInput: no reader would take it; says which field, and why.
    """
    try:
        json.dumps(value, allow_nan=False)
        require(value)
    except UnreadableModel as error:
        message = str(error).replace("cannot be read", "could not be read again")
    except (ValueError, TypeError, RecursionError) as error:
        message = f"it could not be read again: {error}"
    else:
        return value
    raise InvalidInput(f"nothing was written: {message}")


def require_aliases(value: object) -> dict[str, Any]:
    """Returns the aliases of a model name: by alias, the `model_id` it points at and its `history`.

    Raises:
        UnreadableModel: a field is missing or of another kind; names it.
    """
    return _required(value, dict[str, StoredAlias], "alias file")


def require_lineage(value: object) -> dict[str, Any]:
    """Returns the lineage of a manifest whose fields are of the kinds that people and programs take them for.

    Raises:
        UnreadableModel: a field is of another kind; names it.
    """
    return _required(value, StoredLineage, "lineage")


def require_bundle(value: object) -> dict[str, Any]:
    """Returns what a bundle says of itself: `format`, `model_id` and the SHA-256 of each of its `members`.

    Raises:
        UnreadableModel: a field is missing or of another kind; names it.
    """
    return _required(value, StoredBundle, "bundle.json")


def _required(value: object, kind: Any, what: str) -> dict[str, Any]:
    _require_depth(value, what)
    try:
        msgspec.convert(value, kind)
        msgspec.json.encode(value)  # raises where a text is not Unicode
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UnreadableModel(f"the {what} cannot be read: {_reason(error)}") from None
    assert isinstance(value, dict)  # noqa: S101 - it was converted
    return value


def _reason(error: Exception) -> str:
    """A library's message in words for a person who reads a file: `version`: Expected `int`, got `str`."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "a text in it is not Unicode"
    message = str(error)
    reason, _, place = message.rpartition(" - at `$.")
    return f"`{place.rstrip('`')}`: {reason}" if reason else message[:300]
