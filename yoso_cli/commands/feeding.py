"""What a recipe feeds its network with: its training pictures, augmented as it says."""

from typing import TYPE_CHECKING

from yoso_cli.commands import console, wiring

if TYPE_CHECKING:
    from yoso_cli.loading.augmentation import Augmentation
    from yoso_cli.loading.dataset import PanopticDataset
    from yoso_cli.panoptic.types import PanopticSet, Rgb
    from yoso_cli.recipe.schema import Recipe


def augmentation(recipe: "Recipe") -> "Augmentation":
    """The steps of the recipe's `augment` section."""
    from yoso_cli.loading.augmentation import Compose, ScaleJitter, ShortEdgeCrop, padding_as_picture
    from yoso_cli.loading.color import ColorJitter

    chosen = recipe.augment
    crop = (chosen.crop_height, chosen.crop_width)
    steps: list[Augmentation] = []
    if chosen.resize == "jitter":
        steps.append(ScaleJitter(crop, chosen.scale_min, chosen.scale_max, chosen.flip, chosen.crop_place))
    else:
        steps.append(ShortEdgeCrop(crop, chosen.short_edges, chosen.long_edge, chosen.category_share, chosen.flip))
    if chosen.color == "ssd":
        steps.append(ColorJitter())
    if chosen.padding == "negative":
        steps.append(padding_as_picture)
    return Compose(tuple(steps))


def training_pictures(recipe: "Recipe", panoptic_set: "PanopticSet") -> "PanopticDataset":
    """The set's pictures as the network is to see them."""
    from yoso_cli.loading.dataset import PanopticDataset

    return PanopticDataset(panoptic_set, augmentation(recipe), copy_paste=recipe.augment.copy_paste)


def contact_sheet(recipe: "Recipe", *, rows: int, columns: int) -> "Rgb":
    """The first pictures of the recipe's training split as the network would see them, each row of one picture.

    Raises:
        DataError: the dataset was not prepared, or one of these pictures cannot be read.
    """
    from yoso_cli.panoptic.draw import sheet
    from yoso_cli.runtime.progress import tracked

    pictures = training_pictures(recipe, wiring.prepared_set(recipe, recipe.data.train_split))
    places = range(min(rows, len(pictures)))
    cells = [[_seen(pictures, place, column) for column in range(columns)] for place in places]
    titles = [f"view {column + 1}" for column in range(columns)]
    return sheet(list(tracked(cells, len(cells), "draw", console.TERMINAL)), titles)


def _seen(pictures: "PanopticDataset", place: int, seed: int) -> "Rgb":
    from yoso_cli.panoptic.draw import overlay
    from yoso_cli.panoptic.types import Panoptic, measured

    view = pictures.picture((place, seed))
    ids = view.panoptic.id_map
    panoptic = Panoptic(ids, measured(ids, view.panoptic.segments))
    return overlay(view.image, panoptic, pictures.panoptic_set.categories, alpha=0.35, legend=False)
