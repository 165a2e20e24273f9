"""Groups of pictures: by folder, video, name and table; a picture without a group is told."""

from pathlib import Path

import pytest

from yoso_cli.datasets.grouping import groups_of
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.types import ImageRecord

FILES = ("a/x/scene01_1.jpg", "a/x/scene01_2.jpg", "a/y/scene02_1.jpg", "b/y/scene02_9.jpg")


def records(*files: str, videos: tuple[object, ...] = ()) -> list[ImageRecord]:
    return [
        ImageRecord(place, file, "p.png", 1, 1, (), videos[place] if videos else None)  # type: ignore[arg-type]
        for place, file in enumerate(files)
    ]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("", list(FILES)),
        ("folder", ["a/x", "a/x", "a/y", "b/y"]),
        ("folder:1", ["a", "a", "a", "b"]),
        ("folder:2", ["a/x", "a/x", "a/y", "b/y"]),
        (r"scene\d+", ["scene01", "scene01", "scene02", "scene02"]),
        (r"_(\d)", ["1", "2", "1", "9"]),
        (r"(?:a|b)/(.)/", ["x", "x", "y", "y"]),
    ],
)
def test_groups_by_name(how: str, expected: list[str]) -> None:
    assert groups_of(records(*FILES), how) == expected


def test_frames_of_a_video_belong_together_without_being_asked() -> None:
    found = records(*FILES, videos=(1, 1, "1", 2))
    assert groups_of(found) == groups_of(found, "video") == ["1", "1", "'1'", "2"]
    mixed = records(*FILES, videos=(1, 1, None, 2))
    assert groups_of(mixed) == list(FILES)
    with pytest.raises(DataError, match=r"1 of 4 pictures would have no group: a/y/scene02_1\.jpg"):
        groups_of(mixed, "video")


def test_a_table_says_the_group_of_each_picture(tmp_path: Path) -> None:
    table = tmp_path / "scenes.csv"
    rows = [f'"{file}",s{place % 2},x' for place, file in enumerate(FILES)]
    table.write_text("\n".join(["\ufeffpicture,scene,more", *rows]))
    assert groups_of(records(*FILES), str(table)) == ["s0", "s1", "s0", "s1"]
    other = tmp_path / "scenes.tsv"
    other.write_text("".join(f"{file}\ts\n" for file in FILES[1:]))
    with pytest.raises(DataError, match=r"a/x/scene01_1\.jpg"):
        groups_of(records(*FILES), str(other))
    other.write_text("a\tb\nc\n")
    with pytest.raises(DataError, match=r"scenes.tsv:2: has one column"):
        groups_of(records(*FILES), str(other))
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        groups_of(records(*FILES), str(tmp_path / "none.csv"))
    other.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        groups_of(records(*FILES), str(other))


@pytest.mark.parametrize("how", ["folder", "folder:1", "scene", "x(y)?"])
def test_a_picture_without_a_group_is_told(how: str) -> None:
    found = records("x.jpg", "a/sceney.jpg")
    with pytest.raises(DataError, match=r"[12] of 2 pictures would have no group: x\.jpg") as refused:
        groups_of(found, how)
    assert "folder:1" in refused.value.hint


def test_a_broken_expression_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--group scene\(: is no regular expression"):
        groups_of(records(*FILES), "scene(")
