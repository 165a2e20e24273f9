"""What tests of drawn labels share."""

from collections import Counter

from yoso_cli.conversion.convert import InformationLoss, LabelReader
from yoso_cli.panoptic.types import Panoptic


def read_all(reader: LabelReader) -> list[tuple[Panoptic, Counter[InformationLoss]]]:
    """Every picture, in order."""
    return [reader.read(picture) for picture in reader.pictures]
