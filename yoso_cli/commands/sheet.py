"""What a weights file holds, for a person and for a program."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yoso_cli.commands.source import Source
    from yoso_cli.model.weights import Weights


def content(weights: "Weights") -> dict[str, Any]:
    """All but the tensors themselves, ready for JSON."""
    from yoso_cli.model.weights import digest

    return {
        "weights": str(weights.path),
        "part": weights.part,
        "tensors": len(weights.state),
        "values": _values(weights),
        "sha256": digest(weights.state),
        "steps": list(weights.steps),
        "recipe": weights.recipe,
        "categories": [
            {"id": category.id, "name": category.name, "isthing": category.isthing} for category in weights.categories
        ],
        "provenance": weights.provenance,
    }


def sheet(found: "Source") -> str:
    """A line for each thing that a person asks about weights."""
    weights, recipe = found.weights, found.trained
    things = sum(category.isthing for category in weights.categories)
    model, used = recipe.model, recipe.inference
    lines: dict[str, object] = {
        "weights": weights.path,
        "holds": f"a {weights.part} model: {len(weights.state)} tensors, {_values(weights) / 1e6:.1f} million values",
        "recipe": f"{recipe.name}: {recipe.description}" if recipe.description else recipe.name,
        "classes": f"{len(weights.categories)} ({things} things, {len(weights.categories) - things} stuff)",
        "network": f"{model.backbone}, {model.num_proposals} proposals, {model.num_stages} stages, "
        f"{model.num_class_layers} class and {model.num_mask_layers} mask layers, temperature {model.temperature:g}",
        "used at": f"short edge {used.short_edge}, long edge {used.long_edge} at most, score above "
        f"{used.score_threshold:g}, overlap {used.overlap_threshold:g}",
        "steps": ", ".join(weights.steps) or "none, as trained",
        **_history(weights.provenance),
    }
    return "\n".join(f"{name:<10}{_plain(value)}" for name, value in lines.items())


def _history(provenance: dict[str, Any]) -> dict[str, object]:
    """Where the weights come from: single values as they are, of a step the file it started from."""
    plain = {key: value for key, value in provenance.items() if isinstance(value, (str, int, float))}
    steps = {key: value["from"] for key, value in provenance.items() if isinstance(value, dict) and "from" in value}
    return plain | steps


def _values(weights: "Weights") -> int:
    return sum(tensor.numel() for tensor in weights.state.values() if tensor.is_floating_point())


def _plain(value: object) -> str:
    """Without the control characters that a stranger's file could send to a terminal."""
    return "".join(one if one.isprintable() else " " for one in str(value))
