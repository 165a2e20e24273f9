"""The paper's efficiency figures: its equations, and what its tables are compared with."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from yoso_cli.inference import paper
from yoso_cli.model.aggregator import AGGREGATORS
from yoso_cli.model.attention import ATTENTIONS


def test_equation_2_and_10_at_the_papers_settings() -> None:
    assert paper.aggregation_reduction(256, 128) == pytest.approx(
        (12 * 256 + 4 * 256 * 128) / (1.328125 * 256 * 128 + 15 * 128)
    )
    assert paper.attention_reduction(100, 256) == pytest.approx(612 / 103)
    assert paper.aggregation_reduction(1024, 64) > paper.aggregation_reduction(64, 64)
    assert paper.attention_reduction(20, 512) > paper.attention_reduction(300, 512)


def test_table_5_counts_those_of_128_channels() -> None:
    """The paper's text says d = 256 and its FLOPs are of 128: both aggregators, but for interpolation and sums."""
    channels = (128, 256, 512, 1024)
    pyramid = [torch.empty(1, count, 256 >> level, 256 >> level, device="meta") for level, count in enumerate(channels)]
    for name, (flops, _) in paper.AGGREGATION.items():
        with torch.device("meta"):
            module = AGGREGATORS[name](channels, 128)
        assert paper._multiply_adds(module, pyramid) / 1e9 == pytest.approx(
            flops / 1e9, abs=1.1 if name == "cfa" else 0.6
        )


def test_table_6_counts_grow_as_the_papers(capsys: pytest.CaptureFixture[str]) -> None:
    query = value = torch.empty(1, 100, 256, device="meta")
    counts = {}
    for name in paper.ATTENTION:
        with torch.device("meta"):
            module = ATTENTIONS[name](256, num_proposals=100, kernel_size=3, num_heads=8).eval()
        with torch.no_grad():
            counts[name] = paper._multiply_adds(module, query, value)
    order = sorted(counts, key=counts.__getitem__)
    assert order == sorted(paper.ATTENTION, key=lambda name: paper.ATTENTION[name][0])
    assert counts["mhca"] / 1e6 == pytest.approx(31.5, abs=0.3)


def test_contours_are_pictures_with_their_values(tmp_path: Path) -> None:
    for path in paper.draw_contours(tmp_path / "new"):
        root = ElementTree.parse(path).getroot()
        assert len(root.findall("{*}rect")) == 32 * 32 + 10
