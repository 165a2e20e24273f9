"""Pictures as files."""

import numpy as np
import pytest
from PIL import Image

from yoso_cli.drawing.picture_file import read_made_from, require_format, write_picture
from yoso_cli.errors import UsageError

RGB = np.full((4, 5, 3), 77, np.uint8)
RGBA = np.full((4, 5, 4), 77, np.uint8)


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("deep/a.jpeg", "JPEG")])
def test_a_picture_is_written_in_the_format_of_its_name(tmp_path, name, kind):
    write_picture(tmp_path / name, RGB, made_from="stamp 17")
    with Image.open(tmp_path / name) as found:
        assert (found.format, found.size) == (kind, (5, 4))
    assert read_made_from(tmp_path / name) == "stamp 17"


def test_transparency_is_kept_in_png_and_refused_for_jpeg(tmp_path):
    write_picture(tmp_path / "a.png", RGBA)
    with Image.open(tmp_path / "a.png") as found:
        assert np.array_equal(np.asarray(found), RGBA)
    with pytest.raises(UsageError, match=r"a\.jpg: a JPEG cannot be transparent\. Use a name that ends in \.png"):
        write_picture(tmp_path / "a.jpg", RGBA)
    with pytest.raises(UsageError, match="cannot be transparent"):
        require_format(tmp_path / "a.jpeg", transparent=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["a", "a.gif", "a.txt"])
def test_a_name_of_no_picture_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"ends in \.png"):
        write_picture(tmp_path / name, RGB)
    assert not list(tmp_path.iterdir())
