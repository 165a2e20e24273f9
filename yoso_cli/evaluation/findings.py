"""All that one pass over the pictures tells: the score, how sure it is, and where the rest was lost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yoso_cli.evaluation.calibration import Calibration
from yoso_cli.evaluation.confidence import Confidence, confidence
from yoso_cli.evaluation.losses import Losses, Meeting, confusion
from yoso_cli.evaluation.measures import FAILURES, Counts, Measures, measures, total
from yoso_cli.evaluation.quality import PanopticQuality
from yoso_cli.evaluation.tallies import ImageTallies
from yoso_cli.panoptic.types import Category, PanopticSet


@dataclass(frozen=True)
class Findings:
    """What was found in a set of pictures.

    Attributes:
        measures: the score, and what else was asked for.
        tallies: each picture's part in the score.
        confidence: its intervals.
        losses: what each cause of errors costs.
        confusion: which classes are taken for which, the most frequent first.
        calibration: of the predicted segments' scores; None where they have none.
    """

    measures: Measures
    tallies: ImageTallies
    confidence: Confidence
    losses: Losses
    confusion: tuple[Meeting, ...]
    calibration: Calibration | None

    @property
    def quality(self) -> PanopticQuality:
        """The score."""
        return self.measures.quality


def find(counted: Iterable[Counts], truth: PanopticSet, metrics: Sequence[str] = ("pq", FAILURES)) -> Findings:
    """Sums up what the pictures of `truth` add to the score.

    Args:
        counted: what each picture adds, in the order of `truth`; one at a time is held in memory.
        truth: their set.
        metrics: those of `measures.METRICS` that were counted, and FAILURES.
    """
    images = [(record.image_id, record.image_file) for record in truth.records]
    return found(total(counted, len(truth.categories), metrics), images, truth.categories)


def found(counted: Counts, images: Sequence[tuple[int | str, str]], categories: Sequence[Category]) -> Findings:
    """What `counted`, with failures, amounts to; `images` has the id and the file of each picture."""
    by_image = ImageTallies.of(images, counted.parts, len(categories))
    figures, failures = measures(counted, categories), counted.failures
    assert failures is not None, "failures were asked for"
    return Findings(
        figures,
        by_image,
        confidence(by_image, categories),
        Losses.of(failures.errors, figures.quality),
        confusion(failures.errors, categories),
        Calibration.of(failures.reliability),
    )
