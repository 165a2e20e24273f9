"""What weights hold, for a person and for a program; of released ones that are not here, what is known of them."""

from typing import TYPE_CHECKING, Any

from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from yoso_cli.commands.source import Source
    from yoso_cli.model.weights import Weights
    from yoso_cli.panoptic.types import Category
    from yoso_cli.recipe.schema import Recipe
    from yoso_cli.releases.catalog import Release


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
        "categories": _table(weights.categories),
        "provenance": weights.provenance,
    }


def announced(release: "Release") -> dict[str, Any]:
    """What is known of released weights that are not here, ready for JSON."""
    from yoso_cli.datasets.spec import read_categories
    from yoso_cli.recipe import file as recipe_file
    from yoso_cli.releases.catalog import LICENCE

    return {
        "weights": None,
        "name": release.name,
        "here": False,
        "address": release.address,
        "bytes": release.tensor_bytes,
        "licence": LICENCE,
        "recipe": recipe_file.load(release.recipe).to_dict(),
        "categories": _table(read_categories(release.categories)),
    }


def announcement(release: "Release") -> str:
    """The same for a person."""
    from yoso_cli.datasets.spec import read_categories
    from yoso_cli.recipe import file as recipe_file
    from yoso_cli.releases.catalog import LICENCE

    recipe = recipe_file.load(release.recipe)
    lines = {
        "weights": f"{release.name}, not on this machine: {release.tensor_bytes / 1e6:.0f} MB to download",
        **_known(recipe, read_categories(release.categories)),
        "paper": f"PQ {recipe.paper.pq:g} ({recipe.paper.table})",
        "from": release.address,
        "licence": LICENCE,
    }
    return _listed(lines)


def sheet(found: "Source") -> str:
    """A line for each thing that a person asks about weights."""
    weights = found.weights
    lines: dict[str, object] = {
        "weights": weights.path,
        "holds": f"a {weights.part} model: {counted(len(weights.state), 'tensor')}, "
        f"{_values(weights) / 1e6:.1f} million values",
        **_known(found.trained, weights.categories),
        "steps": ", ".join(weights.steps) or "none, as trained",
        **_history(weights.provenance),
    }
    return _listed(lines)


def _known(recipe: "Recipe", categories: "Sequence[Category]") -> dict[str, str]:
    """What the recipe and the classes tell, file or no file."""
    things = sum(category.isthing for category in categories)
    model, used = recipe.model, recipe.inference
    parts = {
        "proposal": model.num_proposals,
        "stage": model.num_stages,
        "class layer": model.num_class_layers,
        "mask layer": model.num_mask_layers,
    }
    return {
        "recipe": f"{recipe.name}: {recipe.description}" if recipe.description else recipe.name,
        "classes": f"{len(categories)} ({counted(things, 'thing')}, {len(categories) - things} stuff)",
        "network": ", ".join([model.backbone, *(counted(count, noun) for noun, count in parts.items())])
        + f", temperature {model.temperature:g}",
        "used at": f"short edge {used.short_edge}, long edge {used.long_edge} at most, score above "
        f"{used.score_threshold:g}, overlap {used.overlap_threshold:g}",
    }


def _table(categories: "Sequence[Category]") -> list[dict[str, Any]]:
    return [{"id": category.id, "name": category.name, "isthing": category.isthing} for category in categories]


def _listed(lines: "Mapping[str, object]") -> str:
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
