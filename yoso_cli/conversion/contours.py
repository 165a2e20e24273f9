"""Outlines of masks as polygons that give the mask again, whichever way a reader fills them.

An outline runs through the outermost pixels of its mask, a quarter of a pixel off their centres: the centres of all
pixels of the mask lie inside it, and no others, as pycocotools fills; and its points cut down to whole numbers are
pixels of the mask, as Ultralytics hands them to cv2.fillPoly, which adds what the outline crosses.
"""

# H, W height and width of the mask in pixels; N points of an outline

import numpy as np
import numpy.typing as npt

Outline = npt.NDArray[np.float64]
"""(N, 2): x and y of points, from the upper left corner of the first pixel; the last is followed by the first."""

# Of the way from a pixel outside (0) to the centre of one of the mask (1).
_LEVEL = 0.75


def outlines(mask: npt.NDArray[np.bool_]) -> list[Outline]:
    """The outer border of each part of a mask (H, W), and the border of each hole, the longest first.

    Filled by the even-odd rule, all of them together give the mask.
    """
    from contourpy import LineType, contour_generator

    # With a rim of zeros every line closes; its pixels' centres are whole numbers to contourpy.
    padded = np.pad(mask, 1).astype(np.float32)
    lines = contour_generator(z=padded, line_type=LineType.Separate).lines(_LEVEL)
    return sorted((_corners(np.asarray(line)[:-1] - 0.5) for line in lines), key=len, reverse=True)


def joined(parts: list[Outline]) -> Outline:
    """One polygon of several: each is entered and left by a line from the nearest point of those before.

    The lines enclose nothing; a reader that adds what an outline crosses sees them one pixel wide.
    """
    whole, *others = parts
    for part in others:
        distances = np.abs(whole[:, None] - part[None]).max(axis=2)
        leave, enter = np.unravel_index(int(distances.argmin()), distances.shape)
        detour = np.roll(part, -int(enter), axis=0)
        whole = np.concatenate([whole[: leave + 1], detour, detour[:1], whole[leave:]])
    return whole


def _corners(line: Outline) -> Outline:
    """A closed line (N, 2) without the points at which it goes straight on."""
    after, before = np.roll(line, -1, axis=0) - line, line - np.roll(line, 1, axis=0)
    found: Outline = line[after[:, 0] * before[:, 1] != after[:, 1] * before[:, 0]]
    return found
