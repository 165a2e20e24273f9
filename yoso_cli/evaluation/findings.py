"""All that one pass over the pictures tells: the score, what each picture adds to it, and how sure it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yoso_cli.evaluation.confidence import Confidence, confidence
from yoso_cli.evaluation.measures import Measures, measures, total
from yoso_cli.evaluation.quality import PanopticQuality
from yoso_cli.evaluation.score import Pair, counts
from yoso_cli.evaluation.tallies import ImageTallies
from yoso_cli.panoptic.types import PanopticSet


@dataclass(frozen=True)
class Findings:
    """What was found in a set of pictures.

    Attributes:
        measures: the score, and what else was asked for.
        tallies: each picture's part in the score.
        confidence: its intervals.
    """

    measures: Measures
    tallies: ImageTallies
    confidence: Confidence

    @property
    def quality(self) -> PanopticQuality:
        """The score."""
        return self.measures.quality


def find(pairs: Iterable[Pair], truth: PanopticSet, metrics: Sequence[str] = ("pq",)) -> Findings:
    """Scores `pairs`, truth and prediction of each picture of `truth` in its order; one at a time is held in memory.

    Args:
        pairs: the pictures.
        truth: their set.
        metrics: some of `measures.METRICS`.

    Raises:
        DataError: a pair contradicts itself, or lacks what a metric needs; says which.
    """
    k = len(truth.categories)
    names = [str(truth.panoptic_path(record)) for record in truth.records]
    counted = total(counts(pairs, truth.categories, metrics, names), k, metrics)
    images = [(record.image_id, record.image_file) for record in truth.records]
    by_image = ImageTallies.of_parts(images, counted.parts)
    return Findings(measures(counted, truth.categories), by_image, confidence(by_image, truth.categories))
