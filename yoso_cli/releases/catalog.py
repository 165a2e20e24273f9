"""The four checkpoints that YOSO's authors released (https://github.com/hujiecpp/YOSO, release v0.1)."""

from dataclasses import dataclass

from yoso_cli.errors import UsageError, did_you_mean

ADDRESS = "https://github.com/hujiecpp/YOSO/releases/download/v0.1/"
LICENCE = "MIT, (c) 2023 Jie Hu; each dataset's own terms hold for what was learnt from it"


@dataclass(frozen=True)
class Release:
    """One released checkpoint.

    Attributes:
        name: the name in commands.
        file: its name under ADDRESS.
        categories: its class table, as `datasets.spec.read_categories` knows it.
        classes: how many classes that has.
        recipes: packaged recipes it serves, one for each scale of the paper; the first is the one it is used with.
        tensor_bytes: bytes of its tensors, counted from the released key list; the file is a little larger.
    """

    name: str
    file: str
    categories: str
    classes: int
    recipes: tuple[str, ...]
    tensor_bytes: int

    @property
    def address(self) -> str:
        """The URL of the authors' release."""
        return ADDRESS + self.file

    @property
    def recipe(self) -> str:
        """The packaged recipe with the network, sizes and thresholds it was released with."""
        return self.recipes[0]


RELEASES = {
    release.name: release
    for release in (
        Release("coco", "yoso_res50_coco.pth", "coco", 133, ("coco", "coco-512"), 168_587_452),
        Release(
            "cityscapes", "yoso_res50_cityscapes.pth", "cityscapes", 19, ("cityscapes", "cityscapes-512"), 170_466_572
        ),
        Release("ade20k", "yoso_res50_ade20k.pth", "ade20k", 150, ("ade20k",), 168_622_472),
        Release("mapillary", "yoso_res50_mapillary.pth", "mapillary-v1.2", 65, ("mapillary",), 170_817_908),
    )
}
"""Name -> release."""


def find(name: str) -> Release:
    """The release `name`. Raises UsageError for an unknown name."""
    if name not in RELEASES:
        hint = did_you_mean(name, RELEASES, f"There are {_names()}.")
        raise UsageError(f"{name}: there are no released weights of this name.", hint=hint)
    return RELEASES[name]


def with_classes(count: int) -> Release | None:
    """The release with that many classes; no two have the same number."""
    return next((release for release in RELEASES.values() if release.classes == count), None)


def _names() -> str:
    *others, last = RELEASES
    return f"{', '.join(others)} and {last}"
