"""A model card in Markdown: what a model version is, how good it is, and where it comes from.

Headings follow Mitchell et al., "Model Cards for Model Reporting" (2019), as far as the registry knows.
"""

from collections.abc import Mapping
from typing import Any

from model_store.registry.files.manifest import ModelMetadata


def model_card(metadata: ModelMetadata, state: Mapping[str, Any]) -> str:
    """The card of a model version.

    Args:
        metadata: the model version.
        state: its state, with history and deployments.
    """
    lineage = metadata.lineage
    training = lineage.get("training_data") or {}
    parts = [
        f"# {metadata.model_name} version {metadata.version}",
        metadata.description or "No description.",
        "## Model details",
        _table(
            {
                "Model id": f"`{metadata.model_id}`",
                "Type": f"{metadata.model_type} (`{metadata.model_class}`)",
                "Status": str(metadata.status),
                "Author": metadata.author,
                "Registered": metadata.created_at,
                "Tags": ", ".join(metadata.tags) or "none",
                "Artifact digest": f"`{metadata.digest}`",
                "Encrypted": "yes" if metadata.encrypted else "no",
            }
        ),
        "## Metrics",
        _table({name: f"{value:g}" for name, value in metadata.performance_metrics.items()}) or "None recorded.",
        "## Training",
        _table(
            {
                "Commit": f"`{lineage.get('git_commit') or 'unknown'}`",
                "Training data": f"{training['name']} (`sha256:{training['sha256']}`)" if training else "not recorded",
                "Source file": f"{metadata.source.name} (`sha256:{metadata.source.sha256}`)"
                if metadata.source
                else "registered from memory",
                **{f"Parameter {name}": f"{value}" for name, value in lineage.get("parameters", {}).items()},
                **{f"Library {name}": version for name, version in metadata.library_versions.items()},
            }
        ),
        "## Features",
        "\n".join(f"- `{feature['name']}` {_range(feature)}".rstrip() for feature in metadata.feature_schema)
        or "Not recorded.",
        "## History",
        "\n".join(f"- {item['at']} {item['status']} by {item['by']}: {item['why']}" for item in state["history"]),
    ]
    return "\n\n".join(parts) + "\n"


def _table(values: Mapping[str, str]) -> str:
    if not values:
        return ""
    cells = {_one_line(name): _one_line(value) for name, value in values.items()}
    rows = [f"| {name} | {value} |" for name, value in cells.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _one_line(text: str) -> str:
    """A text that stays in its cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _range(feature: Mapping[str, Any]) -> str:
    if "minimum" not in feature or "maximum" not in feature:
        return ""
    return f"{feature['minimum']:g} to {feature['maximum']:g}"
