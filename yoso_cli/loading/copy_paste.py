"""Simple copy-paste (https://arxiv.org/abs/2012.07177): things of one training picture pasted onto another."""

from collections.abc import Container
from dataclasses import replace

import numpy as np

from yoso_cli.loading.augmentation import AugmentedPicture
from yoso_cli.panoptic.types import Panoptic


def pasted(
    onto: AugmentedPicture, source: AugmentedPicture, things: Container[int], random: np.random.Generator
) -> AugmentedPicture:
    """About half of the things of `source` over `onto`, where they are.

    Args:
        onto: the picture to paste onto.
        source: of the same size; its crowds, stuff and void stay where they are.
        things: category ids that may be pasted.
        random: decides which.
    """
    chosen = [
        segment
        for segment in source.panoptic.segments
        if segment.category_id in things and not segment.iscrowd and random.random() < 0.5
    ]
    ids = source.panoptic.id_map
    cover = np.isin(ids, [segment.id for segment in chosen])
    # Ids of both pictures begin at 1: the pasted ones move past the others.
    offset = max((segment.id for segment in onto.panoptic.segments), default=0)
    merged = np.where(cover, ids + np.int32(offset), onto.panoptic.id_map)
    segments = (*onto.panoptic.segments, *(replace(segment, id=segment.id + offset) for segment in chosen))
    height, width = (max(one, other) for one, other in zip(onto.extent, source.extent, strict=True))
    image = np.where(cover[..., None], source.image, onto.image)
    return AugmentedPicture(image, Panoptic(merged, segments), (height, width) if cover.any() else onto.extent)
