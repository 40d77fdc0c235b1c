"""Counts and sizes of a registry."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from model_store.registry.aliases import Aliases
from model_store.registry.files.manifest import ModelMetadata
from model_store.registry.registry import ModelRegistry


def statistics(registry: ModelRegistry) -> dict[str, Any]:
    """Counts and sizes: versions by status, name, type and compression, bytes, the newest version, records."""
    models = registry.list_models()
    aliases = Aliases(registry).all()
    by_name: dict[str, list[ModelMetadata]] = defaultdict(list)
    for model in models:
        by_name[model.model_name].append(model)
    return {
        "versions": len(models),
        "bytes": sum(_size(registry, model) for model in models),
        "by_status": dict(Counter(str(model.status) for model in models)),
        "by_name": dict(Counter(model.model_name for model in models)),
        "by_type": dict(Counter(model.model_type for model in models)),
        "by_compression": dict(Counter(model.compression for model in models)),
        "encrypted": sum(model.encrypted for model in models),
        "aliases": sum(len(each) for each in aliases.values()),
        "serving": {name: model.model_id for model in models for name in sorted(model.serving)},
        "newest": models[-1].model_id if models else None,
        "damaged": registry.listed_damage(),
        "models": [_count_one_model(registry, name, own, aliases) for name, own in sorted(by_name.items())],
    }


def _count_one_model(
    registry: ModelRegistry, name: str, own: Sequence[ModelMetadata], aliases: dict[str, dict[str, str]]
) -> dict[str, Any]:
    return {
        "name": name,
        "versions": len(own),
        "bytes": sum(_size(registry, model) for model in own),
        "by_status": dict(Counter(str(model.status) for model in own)),
        "aliases": sorted(aliases.get(name, {})),
        "newest": own[-1].model_id,
    }


def _size(registry: ModelRegistry, model: ModelMetadata) -> int:
    """Bytes of the artifact; of a remote one as its manifest says, since looking would download it."""
    if registry.storage.parallel_reads > 1:
        return model.size_bytes
    try:
        return registry.artifact_path(model.model_id).stat().st_size
    except OSError:
        return 0
