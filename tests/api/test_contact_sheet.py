"""The contact sheet of a recipe's augmentation."""

from itertools import combinations
from pathlib import Path

import build
import numpy as np
import pytest

from yoso_cli.api.training_parts import contact_sheet
from yoso_cli.datasets.shapes import CATEGORIES, draw_scene
from yoso_cli.recipe import file as recipe_file


def test_each_cell_has_an_augmentation_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same picture in all rows: no two of the cells are cropped, scaled and flipped alike."""
    monkeypatch.chdir(tmp_path)
    build.write_recipe(Path(build.RECIPE))
    build.write_set(Path("datasets/shapes/train"), CATEGORIES, [draw_scene(0, 0, 64, 64)] * 3)
    recipe = recipe_file.load(build.RECIPE, [])
    sheet = contact_sheet(recipe, rows=3, columns=3)
    assert np.array_equal(sheet, contact_sheet(recipe, rows=3, columns=3)), "the same again"
    edge, gap = 512, 12
    tops = [sheet.shape[0] - (edge + gap) * row for row in (3, 2, 1)]
    cells = [sheet[top : top + edge, gap + (gap + edge) * column :][:, :edge] for top in tops for column in range(3)]
    assert {cell.shape for cell in cells} == {(edge, edge, 3)}
    for one, other in combinations(cells, 2):
        assert np.abs(one.astype(int) - other).mean() > 5
