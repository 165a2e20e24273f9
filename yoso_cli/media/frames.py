"""Which frames of a video are taken."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FrameChoice:
    """Which frames of a video are taken; by default all.

    Attributes:
        every: of how many frames one is taken.
        start: seconds from the beginning at which to begin.
        stop: seconds from the beginning at which to end.
        fps: the most frames per second.
    """

    every: int = 1
    start: float | None = None
    stop: float | None = None
    fps: float | None = None


ALL_FRAMES = FrameChoice()
"""Every frame."""
