"""How much of the truth is void, where predictions are neither right nor wrong.

A predicted segment of which more than half lies in void or in a crowd of its class is no error (Kirillov et al.,
https://arxiv.org/abs/1801.00868, Sec. 4.1). Where only things are labelled, all the rest is void: false detections
there cost nothing, and PQ can be 100 in spite of any number of them.
"""

from dataclasses import dataclass

import numpy as np

from yoso_cli.evaluation.matching import Matching
from yoso_cli.evaluation.quality import Figures
from yoso_cli.panoptic.regions import Ints

# Below this share there is too little void to matter.
_LITTLE = 0.02


@dataclass(frozen=True)
class VoidShare(Figures):
    """What does not count.

    Attributes:
        share: of the true pixels that is void, 0..1; None without pixels.
        ignored: predicted segments that match nothing and are no errors, as they lie in void or crowds.
        stuff: the part of the true pixels that is of stuff classes, 0..1.
    """

    share: float | None
    ignored: int
    stuff: float | None

    @property
    def hides_errors(self) -> bool:
        """Whether nothing but things is labelled, so that false detections in the rest do not count."""
        return self.stuff == 0 and (self.share or 0) >= _LITTLE

    @classmethod
    def of(cls, counted: Ints) -> "VoidShare":
        """Of the sum of what `void_of` counts."""
        pixels, void, stuff, ignored = counted.tolist()
        return cls(void / pixels if pixels else None, ignored, stuff / pixels if pixels else None)


def void_of(matching: Matching) -> Ints:
    """(4,) true pixels, those that are void, those of stuff, and predicted segments that are ignored."""
    pairs, true = matching.pairs, matching.true
    stuff = ~np.array([category.isthing for category in matching.categories], np.bool_)
    # A row of -1 is no segment; the last entry stands for it.
    of_stuff = np.append(stuff[true.category], False)[pairs.t]
    ignored = matching.excused.copy()
    ignored[matching.p] = False
    sums = (pairs.pixels.sum(), pairs.pixels[pairs.void].sum(), pairs.pixels[of_stuff].sum(), ignored.sum())
    return np.array(sums, np.int64)
