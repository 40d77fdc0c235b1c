"""Exports a model version as an MLflow model: a directory that MLflow's own `load_model` reads.

    files = export_mlflow(registry, model_id, Path("fraud"))

The model's file in it is not encrypted; its directory has mode 700, its files 600.
"""

import fcntl
import hashlib
import io
import json
import os
import platform
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from model_store.artifact.reader import open_artifact
from model_store.confinement.answers import are_texts, garbled, serialized_model
from model_store.confinement.messages import in_memory
from model_store.confinement.opening import Answer, open_confined
from model_store.contract.features import default_names
from model_store.errors import EncryptionExpected, StorageFailed, VersionConflict
from model_store.registry.exchange.mlmodel import MLMODEL
from model_store.registry.exchange.signature import signature_of_features, signature_of_width
from model_store.registry.files.layout import encryption_context
from model_store.registry.files.manifest import ModelMetadata
from model_store.serialization.formats import SerializationFormat
from model_store.storage.atomic_file import sync_directory

if TYPE_CHECKING:
    from model_store.registry.registry import ModelRegistry

_BLOCK_BYTES = 1 << 20
_FILES = {
    SerializationFormat.PICKLE: "model.pkl",
    SerializationFormat.XGBOOST: "model.ubj",
    SerializationFormat.LIGHTGBM: "model.lgb",
}
_BOOSTER = "lightgbm.basic.Booster"
_WRITTEN = {
    ("sklearn", SerializationFormat.PICKLE): "",
    ("xgboost", SerializationFormat.XGBOOST): "xgboost.sklearn.",
    ("lightgbm", SerializationFormat.PICKLE): "lightgbm.sklearn.",
    ("lightgbm", SerializationFormat.LIGHTGBM): _BOOSTER,
}
"""What a child may have written, and how the name of the class begins that MLflow makes of it."""
_DISTRIBUTIONS = {
    "sklearn": ("scikit-learn",),
    "xgboost": ("xgboost", "xgboost-cpu"),
    "lightgbm": ("lightgbm",),
    "imblearn": ("imbalanced-learn",),
    "numpy": ("numpy",),
    "scipy": ("scipy",),
    "pandas": ("pandas",),
}
"""The packages that a model's objects can come from, by the names that they are installed by."""
_VERSION_FIELDS = {"sklearn": "sklearn_version", "xgboost": "xgb_version", "lightgbm": "lgb_version"}


@dataclass(frozen=True)
class _Written:
    """A model in the format of one of MLflow's flavours."""

    flavour: str
    loaded_class: str
    """What MLflow's `load_model` returns."""
    serializer: SerializationFormat
    content: BinaryIO
    requirements: Mapping[str, str]
    """Version by package."""

    @property
    def file(self) -> str:
        """The name of the model's file."""
        return _FILES[self.serializer]


def mlflow_directory(model_id: str, path: Path) -> Path:
    """The directory of an export: the path itself, or one named by the model id in an existing directory.

    A directory that holds an MLflow model already is never taken for one to write into.
    """
    return path / model_id if path.is_dir() and not (path / MLMODEL).exists() else path


def export_mlflow(registry: "ModelRegistry", model_id: str, path: Path) -> dict[str, str]:
    """Writes a model version as an MLflow model; the directory appears whole or not at all.

    Args:
        registry: holds the version.
        model_id: which.
        path: as for `mlflow_directory`; a directory that is there is never changed.

    Returns:
        The SHA-256 of each file.

    Raises:
        AccessDenied: the actor's role does not allow it.
        ModelNotFound: no model version has this id.
        VersionConflict: there is something at the path already, or somebody else is writing it.
        IntegrityError, KeyNotFound: the artifact is not the registered one, or no key opens it.
        InvalidInput: none of MLflow's flavours holds the model.
        StorageFailed: the directory cannot be written.
    """
    registry.require_right("export", model_id)
    metadata, target = registry.get_metadata(model_id), mlflow_directory(model_id, path)
    _require_free(target)
    registry.audit.append("export", model_id, format="mlflow", encrypted=False, file=target.name)
    with _payload(registry, metadata) as (payload, about):
        answer = open_confined("mlflow", about, {"model": payload})
    try:
        written = _written(answer, metadata)
        files = {**_describing_files(written, metadata), written.file: written.content}
        with _whole_directory(target) as staging:
            return {name: _write(staging / name, content) for name, content in sorted(files.items())}
    finally:
        answer.close()


@contextmanager
def _payload(registry: "ModelRegistry", metadata: ModelMetadata) -> Iterator[tuple[BinaryIO, dict[str, Any]]]:
    """The compressed model of an authenticated artifact, and what a child needs to read it."""
    with open_artifact(registry.artifact_path(metadata.model_id)) as artifact, in_memory("payload") as content:
        if not artifact.header.slots and (metadata.encrypted or registry.encrypts):
            raise EncryptionExpected(
                f"{metadata.model_id}: not encrypted, where this registry keeps encrypted artifacts"
            )
        verified = artifact.verify(registry.keys, metadata.digest, encryption_context(metadata))
        shutil.copyfileobj(io.BufferedReader(verified.payload()), content, _BLOCK_BYTES)
        content.flush()
        content.seek(0)
        header = verified.header
        yield (
            content,
            {
                "serializer": str(header.serializer),
                "compression": str(header.compression),
                "model_class": header.model_class,
            },
        )


def _written(answer: Answer, metadata: ModelMetadata) -> _Written:
    """The child's answer, checked again."""
    values = answer.values
    flavour, loaded, packages = str(values.get("flavour")), str(values.get("loaded_class")), values.get("packages")
    try:
        serializer = SerializationFormat(str(values.get("serializer")))
    except ValueError:
        raise garbled() from None
    if (flavour, serializer) not in _WRITTEN or packages is None or not are_texts(packages):
        raise garbled()
    model = serialized_model(answer, serializer)
    own = model.model_class == metadata.model_class
    # MLflow imports the class that a flavour names.
    if not own or loaded not in (model.model_class, _BOOSTER) or not loaded.startswith(_WRITTEN[flavour, serializer]):
        raise garbled()
    versions = {}
    for package in packages:
        for name in _DISTRIBUTIONS.get(package, ()):
            try:
                # The package without the accelerator's libraries is the same one.
                versions[name.removesuffix("-cpu")] = installed.version(name)
            except installed.PackageNotFoundError:
                continue
    return _Written(flavour, loaded, serializer, model.content, versions)


def _describing_files(written: _Written, metadata: ModelMetadata) -> dict[str, BinaryIO]:
    """The files beside the model's."""
    import yaml

    python = platform.python_version()
    requirements = ["mlflow", *(f"{name}=={version}" for name, version in sorted(written.requirements.items()))]
    texts = {
        MLMODEL: yaml.safe_dump(_mlmodel(written, metadata, python), sort_keys=True),
        "requirements.txt": "\n".join(requirements) + "\n",
        "python_env.yaml": yaml.safe_dump(
            {
                "python": python,
                "build_dependencies": ["pip", "setuptools", "wheel"],
                "dependencies": ["-r requirements.txt"],
            },
            sort_keys=False,
        ),
        "conda.yaml": yaml.safe_dump(
            {
                "name": "mlflow-env",
                "channels": ["conda-forge"],
                "dependencies": [f"python={python}", "pip", {"pip": requirements}],
            },
            sort_keys=False,
        ),
    }
    return {name: io.BytesIO(text.encode()) for name, text in texts.items()}


def _mlmodel(written: _Written, metadata: ModelMetadata, python: str) -> dict[str, Any]:
    path = "model_path" if written.flavour == "sklearn" else "data"
    function: dict[str, Any] = {
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        "loader_module": f"mlflow.{written.flavour}",
        "python_version": python,
        path: written.file,
    }
    flavour: dict[str, Any] = {"code": None}
    if written.flavour == "sklearn":
        function["predict_fn"] = "predict"
        flavour |= {"pickled_model": written.file, "serialization_format": "pickle"}
    else:
        flavour |= {"data": written.file, "model_class": written.loaded_class}
    if written.flavour == "xgboost":
        flavour["model_format"] = "ubj"
    elif written.serializer is SerializationFormat.PICKLE and written.flavour == "lightgbm":
        # The only format of MLflow 2; a pickle is one of cloudpickle's, too.
        flavour["serialization_format"] = "cloudpickle"
    library = next(iter(_DISTRIBUTIONS[written.flavour]))
    if library in written.requirements:
        flavour[_VERSION_FIELDS[written.flavour]] = written.requirements[library]
    found = {
        "flavors": {"python_function": function, written.flavour: flavour},
        "model_uuid": uuid.uuid4().hex,
        "utc_time_created": datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds"),
        "metadata": _version_facts(metadata),
    }
    signature = _signature(metadata)
    return found if signature is None else {**found, "signature": signature}


def _signature(metadata: ModelMetadata) -> dict[str, Any] | None:
    """The signature of a model's contract; None where MLflow's types have no word for what the model takes."""
    takes = (metadata.contract or {}).get("input")
    categories = any(feature.get("dtype") == "category" for feature in metadata.feature_schema)
    if not metadata.feature_schema or takes == "texts" or categories:
        return None
    unnamed = takes == "array" and metadata.feature_names == default_names(len(metadata.feature_names))
    inputs = (
        signature_of_width(len(metadata.feature_names)) if unnamed else signature_of_features(metadata.feature_schema)
    )
    return {"inputs": json.dumps(inputs), "outputs": None, "params": None}


def _version_facts(metadata: ModelMetadata) -> dict[str, Any]:
    """What the export says of the version: MLflow keeps it as the model's `metadata`."""
    contract = metadata.contract or {}
    told: dict[str, Any] = {
        "model_id": metadata.model_id,
        "model_name": metadata.model_name,
        "version": metadata.version,
        "digest": metadata.digest,
        "performance_metrics": dict(metadata.performance_metrics),
    }
    for name in ("task", "positive_class", "threshold"):
        if contract.get(name) is not None:
            told[name] = contract[name]
    return told


def _write(path: Path, content: BinaryIO) -> str:
    state = hashlib.sha256()
    content.seek(0)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        while block := content.read(_BLOCK_BYTES):
            state.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return state.hexdigest()


@contextmanager
def _whole_directory(target: Path) -> Iterator[Path]:
    """A directory with mode 700 that takes its place at the end of the block; removed when the block fails.

    What a killed process has left of the same export is removed first: it is not encrypted.
    """
    staging, taken = target.with_name(f".{target.name}.partial"), False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _claimed(staging, target) as descriptor:
            taken = True
            for left in staging.iterdir():
                left.unlink()
            yield staging
            os.fsync(descriptor)
            _require_free(target)
            staging.rename(target)
            taken = False
            sync_directory(target.parent)
    except OSError as error:
        raise StorageFailed(f"{target}: cannot be written ({error.strerror or error})") from None
    finally:
        if taken:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _claimed(staging: Path, target: Path) -> Iterator[int]:
    """A directory that is this process's alone until the end of the block; another user's is refused."""
    staging.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VersionConflict(f"{target}: somebody else is writing it right now") from None
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or not os.path.samestat(found, os.lstat(staging)):
            raise VersionConflict(f"{staging}: is somebody else's; remove it, or name another directory")
        os.fchmod(descriptor, 0o700)
        yield descriptor
    finally:
        os.close(descriptor)


def _require_free(target: Path) -> None:
    if os.path.lexists(target):
        raise VersionConflict(f"{target}: is there already; name another directory, or remove it")
