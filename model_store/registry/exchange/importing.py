"""Imports models of MLflow: a model's directory, a run of the file store, or an archive of one.

model_id, notes = import_mlflow(registry, Path("mlruns/1/…/artifacts/model"), RegistrationRequest(model_name=""))
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from model_store.confinement.messages import in_memory
from model_store.confinement.opening import open_confined
from model_store.errors import InvalidInput, SizeLimit, UntrustedType
from model_store.registry.exchange.archive import Archive
from model_store.registry.exchange.folder import Folder
from model_store.registry.exchange.mlmodel import (
    MLMODEL,
    MLmodel,
    ModelFile,
    model_file,
    parse_mlmodel,
    require_plain,
    xgboost_suffix,
)
from model_store.registry.exchange.runs import META, Run, list_outputs, read_run
from model_store.registry.exchange.signature import features_of_signature
from model_store.registry.files.manifest import is_model_name
from model_store.registry.outside import register_open
from model_store.registry.request import RegistrationRequest
from model_store.serialization.compression import DEFAULT_MAX_BYTES

if TYPE_CHECKING:
    from model_store.contract.preparing import Prepared
    from model_store.registry.registry import ModelRegistry

_REGISTERED = "registered_model_meta"
_MOST_MLMODEL_BYTES = 4 << 20
_MOST_META_BYTES = 64 << 10
_MOST_SIGNATURE = 32 << 10
_MOST_AUTHOR = 256
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_ZIP, _GZIP, _BZIP2, _XZ = b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ"
_USUAL_NAME = "model"
"""By which MLflow's examples log every model; it names none."""


@dataclass(frozen=True)
class _Found:
    """An MLflow model before its file is opened."""

    mlmodel: MLmodel
    run: Run
    registered_name: str


def is_mlflow(path: Path) -> bool:
    """Whether a path is for `import_mlflow`: a directory, a zip archive or a compressed one, or a tar file's `.tar`."""
    if path.is_dir():
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        beginning = file.read(512)
    if beginning.startswith((_ZIP, _GZIP, _BZIP2, _XZ)):
        return True
    return path.suffix.lower() == ".tar" and not beginning.startswith(b"bundle.json\0")


def import_mlflow(
    registry: "ModelRegistry", path: Path, request: RegistrationRequest, *, trusted: Collection[str] = ()
) -> tuple[str, list[str]]:
    """Registers an MLflow model as a new version; its file goes the way of every model file.

    Args:
        registry: to register in.
        path: a directory with an `MLmodel` file, a run's directory, or an archive of one (`.zip`, `.tar`, `.tar.gz`).
        request: what to say of the version beside what MLflow says; an empty `model_name` takes MLflow's name.
        trusted: full names that are allowed beside the rules.

    Returns:
        The model id, and what a person has to know: warnings of libraries, metrics that were left out.

    Raises:
        AccessDenied: the actor may not import or register.
        FileMissing, InvalidInput, SizeLimit, UnreadableModel: it is not an MLflow model, or not one that this program
            reads; says which file and field.
        UntrustedType, StructureRefused: the model's file breaks a rule; says what to do.
        OpeningFailed, KeyNotFound, StorageFailed: as for `register_file`.
    """
    registry.require_right("import", request.model_name or path.name)
    with _opened(path) as (source, directory):
        found = _found(source, directory)
        file = model_file(found.mlmodel)
        features, width = features_of_signature(found.mlmodel.signature)
        asked = _completed(request, found, file, features)
        asked.require_valid()
        notes = [f"the metric {name!r} is not a finite number and was left out" for name in found.run.left_out]
        with source.open(file.path) as content:
            if os.fstat(content.fileno()).st_size > DEFAULT_MAX_BYTES:
                raise SizeLimit(f"{path / file.path} has more than {DEFAULT_MAX_BYTES >> 30} GiB")
            suffix = xgboost_suffix(content) if file.suffix == ".xgb" else file.suffix

            def complete(prepared: "Prepared") -> "Prepared":
                _require_width(prepared, width)
                return replace(prepared, parameters={**found.run.parameters, **prepared.parameters})

            try:
                model_id, warnings = register_open(
                    registry, content, (directory or path) / file.path, asked, trusted=trusted,
                    read_as=f"model{suffix}", on_disk=directory is not None, complete=complete,
                )  # fmt: skip
            except UntrustedType as error:
                raise _explained(error, file) from None
            except InvalidInput as error:
                raise _contradicted(error, features) from None
    return model_id, [*notes, *warnings]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Folder | Archive, Path | None]]:
    """The files of one model, and its directory where it has one."""
    if not path.is_dir():
        with Archive(path) as archive:
            yield archive.below(_choose_directory(archive.directories_with(MLMODEL), path, "unpack it, and ")), None
        return
    directory = _model_directory(path.resolve(), path)
    folder = Folder(directory)
    try:
        yield folder, directory
    finally:
        folder.close()


def _model_directory(path: Path, shown: Path) -> Path:
    if (path / MLMODEL).exists() or (path / MLMODEL).is_symlink():
        return path
    logged = [each for each in list_outputs(path) if (each / MLMODEL).is_file()] if (path / META).is_file() else []
    folder = Folder(path)
    try:
        below = [path / each for each in folder.directories_with(MLMODEL)]
    finally:
        folder.close()
    names = {str(each): each for each in (*logged, *below)}
    return names[_choose_directory(list(names), shown)]


def _choose_directory(directories: list[str], shown: Path, first: str = "") -> str:
    if not directories:
        raise InvalidInput(
            f"{shown}: not an MLflow model: the file {MLMODEL} is missing. Name the directory of a model, such as "
            "mlruns/<experiment>/<run>/artifacts/model or mlruns/<experiment>/models/<model>/artifacts"
        )
    if len(directories) > 1:
        some = ", ".join(sorted(directories)[:4])
        raise InvalidInput(f"{shown}: holds {len(directories)} MLflow models; {first}name one of them: {some}")
    return directories[0]


def _read_documents(contents: Mapping[str, bytes]) -> Mapping[str, Any]:
    """YAML documents, read by a confined child."""
    names = {f"document_{number}": name for number, name in enumerate(contents)}
    with ExitStack() as stack:
        files: dict[str, BinaryIO] = {}
        for part, name in names.items():
            files[part] = stack.enter_context(in_memory(part))
            files[part].write(contents[name])
            files[part].flush()
            files[part].seek(0)
        documents = open_confined("documents", {"names": names}, files).values.get("documents")
    found = documents if isinstance(documents, dict) else {}
    return {name: found.get(part) for part, name in names.items()}


def _found(source: Folder | Archive, directory: Path | None) -> _Found:
    contents = {MLMODEL: source.read(MLMODEL, _MOST_MLMODEL_BYTES)}
    if source.has(_REGISTERED):
        contents[_REGISTERED] = source.read(_REGISTERED, _MOST_META_BYTES)
    documents = _read_documents(contents)
    mlmodel = parse_mlmodel(documents[MLMODEL])
    registered = documents.get(_REGISTERED)
    name = registered.get("model_name") if isinstance(registered, dict) else None
    run = read_run(directory, mlmodel.run_id, _read_documents) if directory else Run()
    return _Found(mlmodel, run, name if isinstance(name, str) else "")


def _completed(
    request: RegistrationRequest, found: _Found, file: ModelFile, features: list[dict[str, Any]] | None
) -> RegistrationRequest:
    """The request with what MLflow says, where the caller says nothing."""
    tags = found.run.tags
    commit, user = tags.get("mlflow.source.git.commit", ""), tags.get("mlflow.user", "")
    return replace(
        request,
        model_name=request.model_name or _choose_name(found),
        model_type=request.model_type or file.model_type,
        feature_schema=request.feature_schema or features,
        author=request.author or (user if user.isprintable() and len(user) <= _MOST_AUTHOR else "") or None,
        description=request.description or tags.get("mlflow.note.content", ""),
        performance_metrics={**found.run.metrics, **request.performance_metrics},
        origin={
            "git_commit": commit if _COMMIT.fullmatch(commit) else None,
            "mlflow": _describe_origin(found, file),
            **request.origin,
        },
    )


def _choose_name(found: _Found) -> str:
    logged = found.run.model_name if found.run.model_name != _USUAL_NAME else ""
    name = found.registered_name or logged or found.run.run_name
    if not name:
        raise InvalidInput("MLflow has recorded no name of the model or its run here; give one: --name NAME")
    if not is_model_name(name):
        proposed = _NOT_IN_A_NAME.sub("_", name).lstrip("_-0123456789")[:63].rstrip("_-") or "NAME"
        raise InvalidInput(
            f"MLflow's name {name[:200]!r} is not a model name here; give one, such as --name {proposed}"
        )
    return name


def _describe_origin(found: _Found, file: ModelFile) -> dict[str, Any]:
    """What the manifest keeps of MLflow: where the model comes from, by MLflow's own names."""
    mlmodel, run = found.mlmodel, found.run
    facts: dict[str, Any] = {
        "run_id": mlmodel.run_id or run.run_id,
        "run_name": run.run_name,
        "experiment_id": run.experiment_id,
        "registered_model_name": found.registered_name,
        "model_id": mlmodel.model_id,
        "model_uuid": mlmodel.model_uuid,
        "artifact_path": mlmodel.artifact_path,
        "utc_time_created": mlmodel.utc_time_created,
        "mlflow_version": mlmodel.mlflow_version,
        "flavour": file.flavour,
        **file.facts,
        "signature": mlmodel.signature,
        "saved_input_example_info": mlmodel.saved_input_example_info,
        "metadata": mlmodel.metadata,
        "tags": {name: value for name, value in run.tags.items() if not name.startswith("mlflow.")},
    }
    facts = {name: value for name, value in facts.items() if value not in (None, "", {})}
    if len(str(mlmodel.signature)) > _MOST_SIGNATURE:
        # The features say the same.
        del facts["signature"]
    require_plain({**facts, "tags": None}, f"{MLMODEL}: what it says of the model")
    return facts


def _require_width(prepared: "Prepared", width: int | None) -> None:
    """Raises InvalidInput unless a signature without names has as many columns as the model takes."""
    taken = len(prepared.feature_schema)
    if width is not None and taken and width != taken:
        raise InvalidInput(f"MLmodel: the signature has {width} columns, the model takes {taken}")


def _contradicted(error: InvalidInput, features: list[dict[str, Any]] | None) -> InvalidInput:
    """The refusal of a model that its signature contradicts, with the columns concerned; any other stays as it is."""
    message = str(error)
    if features and message.startswith("the description"):
        return InvalidInput(f"{MLMODEL}: its signature contradicts the model: {message}")
    other = [f"{each['name']!r} ({each['type']})" for each in features or () if each["type"] in ("text", "time")]
    if other and message.startswith("the model does not answer an ordinary row"):
        return InvalidInput(
            f"{MLMODEL}: its signature names columns that are not numbers: {', '.join(other[:5])}; {message}"
        )
    return error


def _explained(error: UntrustedType, file: ModelFile) -> UntrustedType:
    """The refusal of a file, with what its author can do in MLflow."""
    own_code = error.name.startswith(("cloudpickle.", "__main__.", "types."))
    reason = (
        "cloudpickle has put code of the author's own into it (a function or class that is defined in a script or "
        "notebook); use steps of the libraries instead"
        if own_code
        else "log the model with steps of the libraries only"
    )
    written = file.facts.get("serialization_format", "pickle")
    explained = error.__class__.__new__(error.__class__)
    Exception.__init__(explained, f"{error}. {file.path} is in the format {written} of MLflow: {reason}")
    explained.__dict__.update(vars(error))
    return explained
