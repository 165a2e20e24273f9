"""All that one pass over the pictures tells: the score, what each picture adds to it, and how sure it is."""

from collections.abc import Iterable
from dataclasses import dataclass

from yoso_cli.evaluation.confidence import Confidence, confidence
from yoso_cli.evaluation.quality import PanopticQuality, total
from yoso_cli.evaluation.score import Pair, tallies
from yoso_cli.evaluation.tallies import ImageTallies
from yoso_cli.panoptic.types import PanopticSet


@dataclass(frozen=True)
class Findings:
    """What was found in a set of pictures.

    Attributes:
        quality: the score.
        tallies: each picture's part in it.
        confidence: its intervals.
    """

    quality: PanopticQuality
    tallies: ImageTallies
    confidence: Confidence


def find(pairs: Iterable[Pair], truth: PanopticSet) -> Findings:
    """Scores `pairs`, truth and prediction of each picture of `truth` in its order; one at a time is held in memory.

    Raises:
        DataError: a pair contradicts itself; says which.
    """
    names = [str(truth.panoptic_path(record)) for record in truth.records]
    counted = list(tallies(pairs, truth.categories, names))
    images = [(record.image_id, record.image_file) for record in truth.records]
    by_image = ImageTallies.of(images, counted, len(truth.categories))
    quality = PanopticQuality.from_tally(total(counted, len(truth.categories)), truth.categories)
    return Findings(quality, by_image, confidence(by_image, truth.categories))
