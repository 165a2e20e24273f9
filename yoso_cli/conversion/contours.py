"""Outlines of masks as polygons through the centres of their outermost pixels."""

# H, W height and width of the mask in pixels; N points of an outline

import numpy as np
import numpy.typing as npt

Outline = npt.NDArray[np.int32]
"""(N, 2): x and y of pixels, each next to the one before; the last is next to the first."""


def outlines(mask: npt.NDArray[np.bool_]) -> list[Outline]:
    """The outer border of each part of a mask (H, W), and the border of each hole, the longest first.

    They run over pixels of the mask: filled by the even-odd rule and drawn, as cv2.fillPoly and PIL do, all of them
    together give the mask again.
    """
    from contourpy import LineType, contour_generator

    # A line at the level of a half passes between each pixel of the mask and its neighbour outside; with a rim of
    # zeros every line closes.
    padded = np.pad(mask, 1).astype(np.float32)
    lines = contour_generator(z=padded, line_type=LineType.Separate).lines(0.5)
    return sorted((_inside(np.asarray(line), padded) for line in lines), key=len, reverse=True)


def joined(parts: list[Outline]) -> Outline:
    """One polygon of several: each is entered and left by a line from the nearest point of those before.

    The lines are one pixel wide, and on the way to another part they cross pixels outside of the mask.
    """
    whole, *others = parts
    for part in others:
        distances = np.abs(whole[:, None] - part[None]).max(axis=2)
        leave, enter = np.unravel_index(int(distances.argmin()), distances.shape)
        detour = np.roll(part, -int(enter), axis=0)
        whole = np.concatenate([whole[: leave + 1], detour, detour[:1], whole[leave:]])
    return whole


def _inside(line: npt.NDArray[np.float64], padded: npt.NDArray[np.float32]) -> Outline:
    """The pixel of the mask at each point of a line (N, 2), which is half way to one outside."""
    low, high = np.floor(line).astype(np.int32), np.ceil(line).astype(np.int32)
    pixels = np.where(padded[low[:, 1], low[:, 0]][:, None] > 0, low, high) - 1
    # The last point repeats the first, and corners repeat their pixel.
    moves = np.any(pixels != np.roll(pixels, 1, axis=0), axis=1)
    outline: Outline = pixels[moves] if moves.any() else pixels[:1]
    return outline
