"""Zips of predictions are read as the folder that they were made of, and harm nothing."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from yoso_cli.errors import DataError
from yoso_cli.panoptic import set_archive
from yoso_cli.panoptic.set_archive import is_zip, unpacked


def pack(path: Path, *members: str, contents: str = "{}") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, contents)
    return path


@pytest.mark.parametrize(
    ("members", "listing"),
    [
        (("results.json", "results/0.png"), "results.json"),
        (("results.json", "results/", "results/0.png"), "results.json"),
        (("top/results.json", "top/results/0.png"), "top/results.json"),
        (("a/b/sent/panoptic.json", "a/b/sent/panoptic/0.png"), "a/b/sent/panoptic.json"),
        (("sent/panoptic.json", "sent/manifest.json", "sent/statistics.json", "sent/panoptic/0.png"), "sent"),
        (("flat.json", "0.png"), "flat.json"),
        (("results.json", "results/0.png", "__MACOSX/results/._0.png", "__MACOSX/._results.json", ".DS_Store"), None),
        (("top\\results.json", "top\\results\\0.png"), "top/results.json"),
        (("notes.json", "results.json", "results/0.png"), "results.json"),
        (("only.json",), "only.json"),
        (("annotations/panoptic_val.json", "panoptic_val/0.png"), "annotations/panoptic_val.json"),
    ],
)
def test_the_json_is_found_with_its_pngs(tmp_path: Path, members: tuple[str, ...], listing: str | None) -> None:
    with unpacked(pack(tmp_path / "x.zip", *members)) as found:
        folder = next(one for one in found.parents if one.name.startswith("yoso-"))
        assert found == folder / (listing or "results.json")
        assert not list(folder.rglob(".*"))
        assert len(list(folder.rglob("*.png"))) == sum(one.endswith("0.png") and "._" not in one for one in members)
    assert not folder.exists()


def test_only_what_belongs_to_the_set_is_unpacked(tmp_path: Path) -> None:
    with unpacked(pack(tmp_path / "x.zip", "r.json", "r/0.png", "weights.bin", "photos/a.jpg")) as found:
        assert sorted(one.name for one in found.parent.rglob("*")) == ["0.png", "r", "r.json"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (("0.png",), "holds 0 JSON files; one with its PNGs"),
        (("a.json", "b.json"), r"holds 2 JSON files: a\.json, b\.json"),
        (("a.json", "a/0.png", "b.json", "b/0.png"), "holds 2 JSON files"),
        (("r.json", "../evil.png"), r"its member '\.\./evil\.png' does not stay inside"),
        (("r.json", "/evil.png"), "does not stay inside"),
        (("r.json", "a\\..\\..\\evil.png"), "does not stay inside"),
    ],
)
def test_what_is_no_set_or_climbs_is_refused(tmp_path: Path, members: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError, match=words), unpacked(pack(tmp_path / "x.zip", *members)):
        pass


def test_a_link_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("r/0.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("r.json", "{}")
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="does not stay inside"), unpacked(tmp_path / "x.zip"):
        pass


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "x.zip", "r.json", "r/0.png", contents="x" * 1000)
    monkeypatch.setattr(set_archive, "_MOST_BYTES", 1999)
    with pytest.raises(DataError, match="would unpack to"), unpacked(path):
        pass
    monkeypatch.setattr(set_archive, "_MOST_BYTES", 2000)
    monkeypatch.setattr(set_archive, "_MOST_MEMBERS", 1)
    with pytest.raises(DataError, match="has 2 files"), unpacked(path):
        pass


def test_a_disk_without_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "x.zip", "r.json", "r/0.png")
    usage = shutil.disk_usage(tmp_path)._replace(free=3)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(Exception, match="has no room for it"), unpacked(path):
        pass


@pytest.mark.parametrize("cut", [30, -30])
def test_a_damaged_zip_is_told(tmp_path: Path, cut: int) -> None:
    path = pack(tmp_path / "x.zip", "r.json", "r/0.png", contents="abc" * 400)
    content = bytearray(path.read_bytes())
    if cut < 0:
        content = content[:cut]
    else:
        content[cut + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.zip: is not a complete zip"), unpacked(path):
        pass


def test_a_member_without_a_name_is_told(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", "r.json", "r/0.png", "lost")
    # In the list at the end, where a name ends at its first NUL.
    head, _, tail = path.read_bytes().rpartition(b"lost")
    path.write_bytes(head + bytes(4) + tail)
    with pytest.raises(DataError, match="is not a complete zip: a member has no name"), unpacked(path):
        pass


def test_errors_name_the_zip_and_not_where_it_is_unpacked(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", "r.json", "r/0.png")

    def failing() -> Iterator[None]:
        with unpacked(path) as found:
            raise DataError(f"{found.with_suffix('')}/0.png: is wrong.", hint=f"See {found}.")
        yield

    with pytest.raises(DataError) as caught:
        next(failing())
    assert (caught.value.message, caught.value.hint) == (f"{path}/r/0.png: is wrong.", f"See {path}/r.json.")


def test_what_is_no_zip_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({}))
    (tmp_path / "b.zip").mkdir()
    for path in (tmp_path, tmp_path / "a.json", tmp_path / "gone.json", tmp_path / "b.zip"):
        with unpacked(path) as found:
            assert found == path
    pack(tmp_path / "renamed", "r.json")
    assert [is_zip(tmp_path / name) for name in ("a.json", "renamed", "gone.zip")] == [False, True, True]
    with pytest.raises(DataError, match=r"gone\.zip: no such file"), unpacked(tmp_path / "gone.zip"):
        pass
