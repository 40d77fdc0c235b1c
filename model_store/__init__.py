"""A versioned registry and secure persistence for trained models.

    from model_store import ModelRegistry, SecureModelPersistence

    persistence = SecureModelPersistence(encryption_key=SecureModelPersistence.generate_encryption_key())
    persistence.save_model_secure(model, "model.artifact")
    model, metadata = persistence.load_model_secure("model.artifact")

    registry = ModelRegistry()
    model_id = registry.register_model(model=model, model_name="fraud_detector", performance_metrics={"accuracy": 0.96})
    model, metadata = registry.load_model(model_id)

Heavy libraries are imported on first use. `artifact` and `keys` are the hazardous layer below: prefer the classes here.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_store.errors import ModelStoreError
    from model_store.keys.keyring import Keyring
    from model_store.persistence import SecureModelPersistence
    from model_store.registry.files.manifest import ModelMetadata, ModelStatus
    from model_store.registry.registry import ModelRegistry
    from model_store.serialization.compression import CompressionType
    from model_store.serialization.formats import SerializationFormat

_HOMES = {
    "CompressionType": "model_store.serialization.compression",
    "Keyring": "model_store.keys.keyring",
    "ModelMetadata": "model_store.registry.files.manifest",
    "ModelRegistry": "model_store.registry.registry",
    "ModelStatus": "model_store.registry.files.manifest",
    "ModelStoreError": "model_store.errors",
    "SecureModelPersistence": "model_store.persistence",
    "SerializationFormat": "model_store.serialization.formats",
}

__all__ = [
    "CompressionType",
    "Keyring",
    "ModelMetadata",
    "ModelRegistry",
    "ModelStatus",
    "ModelStoreError",
    "SecureModelPersistence",
    "SerializationFormat",
]


_SERIALIZATION = "model_store.serialization"
_FORMER = {
    "model_files": dict.fromkeys(
        ("load_model_file", "read_model_file", "inspect_model_file", "describe_model_file"),
        f"{_SERIALIZATION}.model_files",
    ),
    "native_models": {
        "LightGBMModel": f"{_SERIALIZATION}.native_models",
        "OnnxModel": f"{_SERIALIZATION}.onnx_model",
    },
    "stand_ins": dict.fromkeys(("named_function", "stand_in_class", "revived"), f"{_SERIALIZATION}.stand_ins"),
}
"""Former module → name → present module, for names that programs import or that pickles and manifests hold. The table
lists every name, because pickle asks every module for names that it looks for."""


class _Former(ModuleType):
    """A module under its former name."""

    def __getattr__(self, name: str) -> Any:
        home = _FORMER[self.__name__.rpartition(".")[2]].get(name)
        if home is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(import_module(home), name)


for _former in _FORMER:
    sys.modules[f"{__name__}.{_former}"] = _Former(f"{__name__}.{_former}")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
