"""INPUTS: what a person names is found once, under a name of its own that mirrors its place."""

import io
import os
from pathlib import Path

import build
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from yoso_cli.errors import DataError, UsageError
from yoso_cli.media.inputs import Inputs, find_inputs, read_input
from yoso_cli.panoptic.types import Category, Panoptic, Segment


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def names(found: Inputs) -> list[str]:
    return [one.name for one in found.items]


def test_a_folder_gives_its_photos_and_videos_by_name() -> None:
    touch("in/b.JPG", "in/a.png", "in/clip.MP4", "in/notes.txt", "in/.DS_Store", "in/._a.png", "in/deep/c.webp")
    found = find_inputs(["in"])
    assert [(one.source, one.name, one.is_video) for one in found.items] == [
        ("in/a.png", "a", False),
        ("in/b.JPG", "b", False),
        ("in/clip.MP4", "clip", True),
    ]
    assert found.root == Path("in").absolute()


def test_a_folder_is_searched_to_any_depth_if_asked_for() -> None:
    touch("in/a.png", "in/x/a.png", "in/x/y/a.png", "in/.cache/z.png")
    assert names(find_inputs(["in"], recursive=True)) == ["a", "x/a", "x/y/a"]


def test_the_same_names_in_two_folders_keep_their_folders() -> None:
    touch("a/1.jpg", "b/1.jpg")
    assert names(find_inputs(["a", "b"])) == ["a/1", "b/1"]
    assert names(find_inputs(["a/1.jpg", "b/1.jpg"])) == ["a/1", "b/1"]
    assert names(find_inputs(["a/1.jpg"])) == ["1"]


def test_names_that_differ_in_their_suffix_alone_keep_it() -> None:
    touch("in/1.jpg", "in/1.png", "in/2.png")
    assert names(find_inputs(["in"])) == ["1.jpg", "1.png", "2"]


def test_what_is_named_twice_is_taken_once() -> None:
    touch("in/1.jpg", "in/2.jpg")
    assert names(find_inputs(["in", "in/1.jpg", "in/*.jpg"])) == ["1", "2"]


def test_a_pattern_may_be_quoted() -> None:
    touch("in/a.jpg", "in/x/b.jpg", "in/x/c.txt", "in/x/d.png")
    assert names(find_inputs(["in/**/*.jpg"])) == ["a", "x/b"]
    assert names(find_inputs(["in/x/*"])) == ["b", "d"]
    with pytest.raises(UsageError, match=r"in/\*\.gif: no picture or video matches"):
        find_inputs(["in/*.gif"])


def test_a_file_may_have_the_characters_of_a_pattern_and_of_a_list() -> None:
    touch("a[1].jpg", "@b.jpg")
    assert names(find_inputs(["a[1].jpg", "@b.jpg"])) == ["a[1]", "@b"]


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_a_list_has_an_input_on_each_line(separator: str) -> None:
    touch("in/a.jpg", "in/b c.jpg", "more/d.jpg")
    lines = ["in/a.jpg", "in/b c.jpg", "", "more"]
    Path("photos.txt").write_text(separator.join(lines), newline="")
    assert names(find_inputs(["@photos.txt"])) == ["in/a", "in/b c", "more/d"]
    stdin = io.BytesIO(separator.join(lines).encode())
    assert names(find_inputs(["-"], stdin=stdin)) == ["in/a", "in/b c", "more/d"]


def test_a_list_may_have_comments_but_no_lists() -> None:
    touch("a.jpg")
    Path("photos.txt").write_text("# mine\na.jpg\n")
    assert names(find_inputs(["@photos.txt"])) == ["a"]
    for line in ("@photos.txt", "-"):
        Path("photos.txt").write_text(f"{line}\n")
        with pytest.raises(UsageError, match="a list in a list"):
            find_inputs(["@photos.txt"])
    Path("photos.txt").write_text("\n\n")
    with pytest.raises(UsageError, match="lists nothing"):
        find_inputs(["@photos.txt"])
    Path("photos.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(DataError, match=r"photos\.txt: is neither a picture nor a list"):
        find_inputs(["@photos.txt"])
    with pytest.raises(UsageError, match=r"gone\.txt: there is no such list"):
        find_inputs(["@gone.txt"])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_stdin_may_be_a_picture(kind: str) -> None:
    content = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), 9, np.uint8)).save(content, format=kind)
    (one,) = find_inputs(["-"], stdin=io.BytesIO(content.getvalue())).items
    assert (one.name, one.content, one.path) == ("stdin", content.getvalue(), None)


def test_urls_cameras_and_streams_are_taken_as_they_are() -> None:
    words = [
        "https://host/x/street%20one.jpg?size=2",
        "http://host/",
        "https://host/clip.mp4",
        "rtsp://cam/1",
        "camera:0",
    ]
    found = find_inputs(words)
    assert [one.source for one in found.items] == words
    assert names(found) == ["street_one", "host", "clip", "1", "camera-0"]
    assert [one.is_video for one in found.items] == [False, False, True, True, True]
    assert all(one.path is None for one in found.items)


def test_two_urls_with_one_name_get_two() -> None:
    found = names(find_inputs(["https://a/x.jpg", "https://b/x.jpg", "https://c/x.jpg"]))
    assert len(set(found)) == 3


@pytest.mark.parametrize("word", ["ftp://host/a.jpg", "file:///etc/passwd", "https://", "concat:a|b://c"])
def test_other_addresses_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="is not a valid URL"):
        find_inputs([word])


def test_a_prepared_split_gives_its_photos_with_their_ids_and_not_its_label_maps() -> None:
    pictures = [(np.full((4, 4, 3), 7, np.uint8), Panoptic(np.ones((4, 4), np.int32), (Segment(1, 1, 16),)))] * 2
    build.write_set(Path("datasets/mine/val"), (Category(1, "sky", False),), pictures)
    for word in ("mine/val", "datasets/mine/val"):
        found = find_inputs([word])
        assert [(one.name, one.image_id) for one in found.items] == [("0", 0), ("1", 1)]
        assert found.root == Path("datasets/mine/val/images").absolute()


def test_an_animated_gif_is_a_video_and_another_one_a_photo() -> None:
    frames = [Image.fromarray(np.full((4, 5, 3), value, np.uint8)) for value in (0, 99)]
    frames[0].save("still.gif")
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    assert [one.is_video for one in find_inputs(["still.gif", "moving.gif"]).items] == [False, True]


def test_what_yoso_has_drawn_in_a_folder_is_no_photo() -> None:
    touch("in/a.jpg", "in/a-yoso.png")
    found = find_inputs(["in"])
    assert names(found) == ["a"]
    assert found.remarks == ("in: 1 picture that yoso has drawn passed over.",)
    assert names(find_inputs(["in/a-yoso.png"])) == ["a-yoso"], "named, it is one"


def test_a_link_to_nowhere_is_named_when_it_is_read_and_a_pipe_is_left_out() -> None:
    touch("in/a.jpg")
    Path("in/b.jpg").symlink_to("gone.jpg")
    os.mkfifo("in/c.jpg")
    found = find_inputs(["in"])
    assert names(found) == ["a", "b"]
    with pytest.raises(DataError, match=r"in/b\.jpg: no such file"):
        read_input(found.items[1])


def test_a_picture_is_no_list() -> None:
    Image.fromarray(np.full((4, 5, 3), 9, np.uint8)).save("a.jpg")
    with pytest.raises(UsageError, match=r"a\.jpg: is a picture and no list"):
        find_inputs(["@a.jpg"])


def test_what_is_not_there_is_named() -> None:
    touch("photo.jpg", "in/deep/a.jpg", "empty/notes.txt")
    with pytest.raises(UsageError, match=r"foto\.jpg: there is no such file.*'photo\.jpg'"):
        find_inputs(["foto.jpg"])
    with pytest.raises(UsageError, match=r"in: there is no picture.*--recursive"):
        find_inputs(["in"])
    with pytest.raises(UsageError, match=r"empty: there is no picture or video in this folder\. Name"):
        find_inputs(["empty"])
    with pytest.raises(UsageError, match="there is no such file"):
        find_inputs(["a\0b"])


FOLDERS = st.lists(st.sampled_from(["a", "b", "x.y"]), max_size=3).map("/".join)
FILES = st.tuples(FOLDERS, st.sampled_from(["1", "2", "a"]), st.sampled_from([".jpg", ".png", ".PNG", ".mp4"]))


@settings(max_examples=40)
@given(files=st.lists(FILES, min_size=1, max_size=12, unique=True), together=st.booleans())
def test_no_two_inputs_ever_have_one_name(
    files: list[tuple[str, str, str]], together: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("in")
    paths = [folder / parent / f"{stem}{suffix}" for parent, stem, suffix in files]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = find_inputs([str(folder)] if together else map(str, paths), recursive=True)
    assert len(set(names(found))) == len(found.items) == len(paths)
    for one in found.items:
        assert (found.root / one.file).samefile(one.source)
        assert ".." not in one.name.split("/")
        assert not one.name.startswith("/")
