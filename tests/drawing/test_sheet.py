"""Contact sheets."""

import numpy as np

from yoso_cli.drawing.sheet import sheet


def test_a_sheet_holds_all_pictures_under_their_titles():
    rows = [[np.full((40, 40, 3), 10, np.uint8), np.full((300, 300, 3), 20, np.uint8)]] * 3
    page = sheet(rows, ["photo", "truth"])
    assert page.shape[1] > 600
    assert page.shape[0] > 900
    assert (page == 10).all(axis=2).sum() >= 3 * 290**2  # the small one was made as wide as the large one
    assert (page[:28] < 100).any()  # titles
