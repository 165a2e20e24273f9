"""The report of an evaluation of videos, and its table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from yoso_cli.evaluation.summary import in_percent
from yoso_cli.evaluation.video import VideoMeasures, VideoQuality
from yoso_cli.runtime.words import counted

FORMAT = "yoso-video-report"
VERSION = 1
"""Rises when a key changes its meaning or goes away."""


@dataclass(frozen=True)
class VideoReport:
    """One evaluation of videos.

    Attributes:
        measures: the figures.
        dataset: its name.
        split: of the dataset; empty where a bare JSON was given.
        videos: how many.
        images: frames of all of them.
        truth: its path.
        predictions: their path.
        versions: of the packages involved.
        machine: description of the machine.
        command: the command line.
    """

    measures: VideoMeasures
    dataset: str
    split: str
    videos: int
    images: int
    truth: str
    predictions: str
    versions: Mapping[str, str]
    machine: Mapping[str, str | int]
    command: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; figures in percent, unrounded, null where there is none."""
        vpq, stq = self.measures.vpq, self.measures.stq
        return {
            "format": FORMAT,
            "version": VERSION,
            "dataset": self.dataset,
            "split": self.split,
            "videos": self.videos,
            "images": self.images,
            "vpq": vpq.to_dict() if vpq else None,
            "stq": stq.to_dict() if stq else None,
            "truth": self.truth,
            "predictions": self.predictions,
            "versions": dict(self.versions),
            "machine": dict(self.machine),
            "command": self.command or None,
        }


def table(report: VideoReport) -> str:
    """The report as plain text."""
    place = f"{report.dataset} {report.split}".strip()
    size = f"{counted(report.videos, 'video')}, {counted(report.images, 'frame')}"
    blocks = [[f"Video segmentation on {place}, {size}, in percent"]]
    vpq, stq = report.measures.vpq, report.measures.stq
    if vpq:
        blocks.append(list(_windows(vpq)))
    if stq:
        blocks.append(
            [
                f"{'':<9}{'STQ':>6}{'AQ':>7}{'SQ':>7}{'tracks':>9}",
                f"{'All':<9}{in_percent(stq.stq):>6}{in_percent(stq.aq):>7}{in_percent(stq.sq):>7}{stq.tracks:>9,}",
            ]
        )
    return "\n\n".join("\n".join(block) for block in blocks)


def _windows(vpq: VideoQuality) -> Iterator[str]:
    yield f"{'Window':<9}{'VPQ':>6}{'things':>8}{'stuff':>7}{'windows':>9}"
    for one in vpq.windows:
        groups = one.quality.all.pq, one.quality.things.pq, one.quality.stuff.pq
        yield _row(counted(one.frames, "frame"), groups) + f"{one.windows:>9,}"
    yield _row("Mean", (vpq.all, vpq.things, vpq.stuff))
    empty = [str(one.frames) for one in vpq.windows if not one.windows]
    if empty:
        yield f"No video has {' or '.join(empty)} frames: these windows are not in the mean."


def _row(name: str, groups: tuple[float | None, float | None, float | None]) -> str:
    whole, things, stuff = map(in_percent, groups)
    return f"{name:<9}{whole:>6}{things:>8}{stuff:>7}"
