"""The console's screen tells a newcomer what was found."""

from pathlib import Path

import numpy as np
from evaluation.found import CATEGORIES, PAPER, found, tally

from yoso_cli.evaluation.measures import DETAILS, METRICS, Measures, count, overlap_for, score_counts
from yoso_cli.evaluation.quality import Tally
from yoso_cli.evaluation.report import PaperRow, Report
from yoso_cli.evaluation.summary import table
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet, Segment

GOLDEN = """\
Panoptic quality on coco val2017, 2 images, in percent

           PQ   95 % interval     SQ     RQ  classes  | paper PQ  ours - paper
All      34.9     22.7 - 37.1   49.1   47.2        3  |     48.4         -13.5
Things   29.0     20.7 - 34.0   38.7   37.5        2  |     53.1         -24.1
Stuff    46.7      0.0 - 70.0   70.0   66.7        1  |        -             -
Paper: Table 1, R50 at 800,1333

PQ = SQ x RQ for each class; the rows are means over classes. Things are
countable (a car), stuff is not (the sky). SQ is the mean IoU of matched
segments, RQ the F1 score of the matching. The interval is a bootstrap over
images. 1 of 4 classes are in neither truth nor prediction and do not count.

PQ loss 65.1: spurious 37.5, missed 15.3, imprecise masks 12.3
  worst images: 0.jpg (34.44), 1.jpg (30.67)

PQ by segment size  small 34.9  medium -  large -
PQ† (stuff by IoU)  all 29.0  stuff -

Class, best first             kind       PQ     SQ     RQ     TP     FP     FN
cat                           thing    58.0   77.3   75.0      3      1      1
...n--barrier--concrete-block stuff    46.7   70.0   66.7      1      0      1
dog                           thing     0.0    0.0    0.0      0      2      0"""


def report(measured: Measures | None = None, paper: PaperRow | None = PAPER) -> Report:
    return Report(measured or found(), "coco", "val2017", 2, paper=paper)


def test_the_table_reads_as_promised() -> None:
    assert table(report()) == GOLDEN


def test_no_line_is_wider_than_80_columns() -> None:
    assert max(map(len, table(report()).splitlines())) <= 80


def test_without_published_figures_the_table_holds_ours_alone() -> None:
    text = table(report(paper=None))
    assert "paper" not in text.lower()
    assert "All      34.9     22.7 - 37.1   49.1   47.2        3\n" in text


def test_each_measure_that_was_asked_for_has_a_line(tmp_path: Path) -> None:
    scored = Panoptic(np.ones((40, 50), np.int32), (Segment(1, 1, 2000, score=0.5),))
    whole = PanopticSet("a", "b", CATEGORIES, (ImageRecord(1, "1", "1", 40, 50, ()),), tmp_path, tmp_path)
    wanted = (*METRICS, DETAILS)
    counted = count([overlap_for("1", scored, scored, wanted)], CATEGORIES, wanted)
    text = table(report(score_counts([counted], whole, wanted)))
    assert "\nPQ by segment size  small -  medium 100.0  large -\n" in text
    assert "\nPQ† (stuff by IoU)  all 100.0  stuff -\n" in text
    assert "\nBoundary PQ         all 100.0  things 100.0  stuff -\n" in text
    assert "\nMask AP of things   AP 100.0  AP50 100.0  AP75 100.0\n" in text
    assert "\n  by segment size   small -  medium 100.0  large -\n" in text
    assert "\nSemantic (pixels)   mIoU 100.0  weighted 100.0  pixel accuracy 100.0\n" in text


def test_a_long_list_of_classes_leaves_the_headline_on_the_screen() -> None:
    many = tuple(Category(index + 1, f"class {index}", True) for index in range(133))
    counted = Tally(np.arange(133), np.linspace(0.6, 0.9, 133), np.zeros(133, np.int64), np.zeros(133, np.int64))
    lines = table(report(found([counted], many))).splitlines()
    assert len(lines) < 35
    assert lines[-1].startswith("class 0 ")
    assert "  ... 119 more; --json has all ..." in lines


def test_nothing_seen_is_said_and_not_a_crash() -> None:
    text = table(report(found([tally({}, [0] * 4, [0] * 4)], CATEGORIES)))
    assert "All         -               -      -      -        0" in text
    assert text.endswith("There are no segments to evaluate.")
