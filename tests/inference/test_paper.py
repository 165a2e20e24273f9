"""The paper's efficiency figures: its operations to the digit, and every row of its tables."""

import pytest
import torch
from training import tiny

from yoso_cli.inference import paper
from yoso_cli.model.aggregator import AGGREGATORS
from yoso_cli.model.attention import ATTENTIONS

CPU = torch.device("cpu")


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("name", paper.AGGREGATION)
def test_table_5_counts_those_of_128_channels(name: str, inference: bool) -> None:
    """The caption says d = 256. The command counts in inference mode, where everything is made and timed."""
    with torch.inference_mode(inference):
        _counts_those_of_128_channels(name)


def _counts_those_of_128_channels(name: str) -> None:
    pyramid = [torch.empty(1, count, 256 >> level, 256 >> level) for level, count in enumerate(paper.CHANNELS)]
    printed, _ = paper.AGGREGATION[name]
    counts = {d: paper.operations(AGGREGATORS[name](paper.CHANNELS, d), pyramid) for d in (128, 256)}
    assert round(counts[128] / 1e9, 1) == printed / 1e9
    assert round(counts[256] / 1e9, 1) != printed / 1e9


@pytest.mark.parametrize("name", paper.ATTENTION)
def test_table_6_is_counted_to_the_digit(name: str) -> None:
    module = ATTENTIONS[name](256, num_proposals=100, kernel_size=3, num_heads=8).eval()
    counted = paper.operations(module, torch.empty(1, 100, 256), torch.empty(1, 100, 256))
    assert round(counted / 1e6, 1) == paper.ATTENTION[name][0] / 1e6
    assert next(module.parameters()).device == CPU, "counting leaves the module where it is"


def test_each_table_has_the_default_network_and_the_printed_figure_of_it() -> None:
    for rows in paper.NETWORKS.values():
        assert [fps for values, fps in rows.values() if not values] == [29.2]


def small(num_classes: int, **values: object) -> torch.nn.Module:
    return tiny.YOSO(num_classes, **tiny.MODEL.arguments())


def test_every_row_of_the_tables_is_measured_beside_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the smallest network and pyramid: all of them take minutes."""
    monkeypatch.setattr(paper, "YOSO", small)
    monkeypatch.setattr(paper, "EDGE", 16)
    monkeypatch.setattr(paper, "CHANNELS", (4, 8, 16, 32))
    told: list[str] = []
    rows = paper.measure(CPU, repeats=1, tell=told.append)
    assert len(told) == len(rows) == 2 * 4 + 2 * 5 + sum(map(len, paper.NETWORKS.values()))
    assert all(row.ours > 0 for row in rows)
    bases = {(row.table, row.what): row.name for row in rows if row.ours_of_base == row.paper_of_base == 1}
    assert bases[("6", "us")] == "MHCA"
    assert [bases[(table, "FPS")] for table in paper.NETWORKS] == ["CFA", "SDCA", "N=2", "t=3", "T=2", "n=100"]
    cfa = next(row for row in rows if (row.name, row.what) == ("CFA, d=256", "us"))
    assert 1 / cfa.paper_of_base == pytest.approx(2.595, abs=0.001)


def test_one_table_can_be_measured_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "YOSO", small)
    rows = paper.measure(CPU, repeats=1, tell=lambda _: None, tables=["9"])
    assert [row.name for row in rows] == ["T=1", "T=2", "T=3"]


def test_figures_that_cannot_be_reproduced_are_reported() -> None:
    told = " ".join(paper.NOTES)
    for slip in ("d = 128", "8 heads", "46.6", "prints k", "RTX 3090"):
        assert slip in told
