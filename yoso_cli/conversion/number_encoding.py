"""How instance maps hold instance numbers: plainly, or with the class in the same value.

    number               plain; 0 is no instance
    class*256+number     KITTI (http://www.cvlibs.net/datasets/kitti/eval_instance_seg.php): number 0 is no instance
    class*1000+number    Cityscapes: numbers from 0 on; a class alone is no instance
    number*256+class     ADE20K and KITTI-STEP, whose maps are RGB with the class in red: number 0 is no instance

Taken for plain, values with the class in them tell instances apart all the same, but a group without instances becomes
one instance of them.
"""

# H, W height and width of the picture in pixels

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.types import LARGEST_ID, IdMap

PLAIN = "number"
EXAMPLES = (PLAIN, "class*256+number", "class*1000+number", "number*256+class")

_CLASS_FIRST = re.compile(r"class\s*\*\s*(\d{1,8})\s*\+\s*number")
_NUMBER_FIRST = re.compile(r"number\s*\*\s*(\d{1,8})\s*\+\s*class")
# As Cityscapes has it: the class alone where there is no instance, so that instances start at 0.
_FROM_ZERO = 1000
# Every so many-th pixel shows whether a map can be encoded.
_STEP = 7


@dataclass(frozen=True)
class NumberEncoding:
    """One of them.

    Attributes:
        factor: of what comes first; 1 where the value is the number.
        class_first: whether that is the class.
    """

    factor: int = 1
    class_first: bool = True

    @classmethod
    def of(cls, text: str) -> "NumberEncoding":
        """As typed. Raises UsageError for anything else."""
        typed = text.strip().lower()
        for pattern, class_first in ((_CLASS_FIRST, True), (_NUMBER_FIRST, False)):
            match = pattern.fullmatch(typed)
            if match and 1 < int(match[1]) <= LARGEST_ID:
                return cls(int(match[1]), class_first)
        if typed == PLAIN:
            return cls()
        raise UsageError(
            f"--instance-encoding {text}: is not known.",
            hint=f"There are {', '.join(EXAMPLES)}, and the same with another factor.",
        )

    def __str__(self) -> str:
        first, last = ("class", "number") if self.class_first else ("number", "class")
        return PLAIN if self.factor == 1 else f"{first}*{self.factor}+{last}"

    def decoded(self, values: IdMap) -> IdMap:
        """The instance numbers, int32 (H, W), 0 for none."""
        if self.factor == 1:
            return values
        if not self.class_first:
            high: IdMap = values // np.int32(self.factor)
            return high
        numbers: IdMap = values % np.int32(self.factor)
        if self.factor == _FROM_ZERO:
            numbers = np.where(values >= self.factor, numbers + np.int32(1), np.int32(0))
        return np.where(values >= self.factor, numbers, np.int32(0))

    def fits(self, values: IdMap, classes: IdMap) -> bool:
        """Whether every value that is not 0 has the class (H, W) of its pixel in it, one of them with a number."""
        held = values != 0
        high, low = values // np.int32(self.factor), values % np.int32(self.factor)
        if not self.class_first:
            return bool(high.any()) and bool((low == classes)[held].all())
        # A class alone is one without an instance.
        own = np.where(high == 0, low, high)
        return bool((high != 0).any()) and bool((own == classes)[held].all())

    def require_fit(self, values: IdMap, classes: IdMap, known: Collection[int], where: Path) -> None:
        """Raises DataError for values that do not have the class of their pixel in them, where it is one of `known`."""
        looked = np.isin(classes, list(known)) & (values != 0)
        high, low = values // np.int32(self.factor), values % np.int32(self.factor)
        own = low if not self.class_first else np.where(high == 0, low, high)
        odd = looked & (own != classes)
        if self.factor != 1 and odd.any():
            value, category_id = int(values[odd][0]), int(classes[odd][0])
            raise DataError(
                f"{where}: is not {self}: the value {value} is at pixels of the class {category_id} "
                f"({np.count_nonzero(odd)} pixels do not fit).",
                hint="Choose another --instance-encoding, or leave it out.",
            )


_LIKELY = tuple(NumberEncoding.of(text) for text in EXAMPLES[1:])


def require_plain(values: IdMap, classes: IdMap, where: Path) -> None:
    """Refuses an instance map that has the class of each pixel in its values, where nobody said how to read it.

    Args:
        values: int32 (H, W), as stored.
        classes: int32 (H, W), of the semantic map.
        where: the instance map.

    Raises:
        UsageError: it looks encoded.
    """
    if values.max(initial=0) < min(one.factor for one in _LIKELY):
        return
    some = slice(None, None, _STEP)
    for likely in _LIKELY:
        thin = likely.fits(values[some, some], classes[some, some]) or not (values[some, some] >= likely.factor).any()
        if thin and likely.fits(values, classes):
            raise UsageError(
                f"{where}: its values look like {likely}: each has the class of its pixel in it.",
                hint=f"Add --instance-encoding '{likely}', or --instance-encoding {PLAIN} to take them as they are.",
            )
