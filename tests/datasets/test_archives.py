"""What is found in a download, and what an archive from elsewhere cannot do."""

import io
import tarfile
import zipfile
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_layouts import zipped

from yoso_cli.datasets.archives import by_stem, stored_files
from yoso_cli.errors import DataError, UsageError


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def zip_of(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


def contents(root, *anchors):
    return {name: source.read() for name, source in stored_files(root, anchors).items()}


@pytest.mark.parametrize("where", ["a/x.png", "deep/a/x.png"])
def test_files_are_found_below_a_folder_of_that_name(tmp_path, where):
    put(tmp_path / where, b"1")
    put(tmp_path / "b" / "y.png")
    assert contents(tmp_path, "a") == {"a/x.png": b"1"}


def test_the_folder_itself_may_be_named_and_the_command_run_inside_it(tmp_path, monkeypatch):
    put(tmp_path / "a" / "c" / "x.png", b"1")
    assert contents(tmp_path / "a", "a") == {"a/c/x.png": b"1"}
    monkeypatch.chdir(tmp_path / "a")
    assert contents(tmp_path.__class__(), "a") == {"a/c/x.png": b"1"}


@pytest.mark.parametrize("pack", ["zip", "tar"])
def test_members_of_archives_are_found_like_files_and_files_go_first(tmp_path, pack):
    members = {"top/a/x.png": b"packed", "top/a/y.png": b"2", "top/other/z.png": b"3"}
    if pack == "zip":
        zip_of(tmp_path / "some.zip", members)
    else:
        with tarfile.open(tmp_path / "some.tar", "w") as file:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    put(tmp_path / "a" / "x.png", b"plain")
    assert contents(tmp_path, "a") == {"a/x.png": b"plain", "a/y.png": b"2"}


def test_a_zip_in_a_zip_is_read_where_it_is_named(tmp_path):
    """COCO ships its PNGs so."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("pngs/1.png", b"one")
    zip_of(tmp_path / "outer.zip", {"a/pngs.zip": inner.getvalue(), "a/other.zip": b"never opened"})
    found = stored_files(tmp_path, ["a", "pngs"])
    assert found["a/pngs/1.png"].read() == b"one"
    assert str(found["a/pngs/1.png"]).endswith("outer.zip:a/pngs.zip!/pngs/1.png")


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/etc/x.png", "a\\..\\..\\x.png", "C:\\x.png"])
@pytest.mark.parametrize("pack", ["zip", "tar"])
def test_an_archive_with_a_member_that_climbs_out_is_refused(tmp_path, name, pack):
    if pack == "zip":
        zip_of(tmp_path / "evil.zip", {"a/x.png": b"1", name: b"2"})
    else:
        with tarfile.open(tmp_path / "evil.tar", "w") as file:
            file.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(DataError, match=rf"evil\.{pack}: has the member .* is outside the folder"):
        stored_files(tmp_path, ["a"])


def test_links_and_devices_in_a_tar_are_not_files(tmp_path):
    with tarfile.open(tmp_path / "evil.tar", "w") as file:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(f"a/{kind.decode()}.png")
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
    assert stored_files(tmp_path, ["a"]) == {}


@pytest.mark.parametrize("name", ["some.zip", "some.tar"])
def test_a_broken_archive_is_named(tmp_path, name):
    put(tmp_path / name, b"PK not really" * 99)
    with pytest.raises(DataError, match=rf"{name}: is not a complete archive"):
        stored_files(tmp_path, ["a"])


def test_a_member_of_a_zip_without_a_name_is_damage(tmp_path):
    zip_of(tmp_path / "some.zip", {"a/x.png": b"1", "lost": b"2"})
    # In the list at the end, where a name ends at its first NUL.
    head, _, tail = (tmp_path / "some.zip").read_bytes().rpartition(b"lost")
    (tmp_path / "some.zip").write_bytes(head + bytes(4) + tail)
    with pytest.raises(DataError, match=r"some\.zip: is not a complete archive: a member has no name"):
        stored_files(tmp_path, ["a"])


def test_a_damaged_member_is_named_when_it_is_read(tmp_path):
    put(tmp_path / "a" / "x.png", bytes(range(256)) * 20)
    path = zipped(tmp_path, "some.zip", "a")
    content = bytearray(path.read_bytes())
    content[500] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"some\.zip:a/x\.png: cannot be read"):
        stored_files(tmp_path, ["a"])["a/x.png"].read()


def test_a_file_that_went_away_is_named(tmp_path):
    put(tmp_path / "a" / "x.png")
    (source,) = stored_files(tmp_path, ["a"]).values()
    source.path.unlink()
    with pytest.raises(DataError, match=r"x\.png: no such file"):
        source.read()
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        stored_files(tmp_path / "nowhere", ["a"])


def tar_of(path, members, attributes=None):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(content), attributes or {}
            file.addfile(info, io.BytesIO(content))


def with_header(path, place, start, content):
    """Changes bytes of the header at `place` in a tar, and its checksum with them."""
    whole = bytearray(path.read_bytes())
    header = whole[place : place + 512]
    header[start : start + len(content)] = content
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    whole[place : place + 512] = header
    path.write_bytes(whole)


MEMBERS = {f"a/{number}.png": b"x" * 700 for number in range(3)}


def negative(path):
    with_header(path, 1536, 124, (-512).to_bytes(12, "big", signed=True))


def negative_attribute(path):
    tar_of(path, MEMBERS, {"size": "-1536"})


def endless(path):
    with_header(path, 1536, 124, (1 << 62).to_bytes(12, "big", signed=True).replace(b"\0", b"\x80", 1))


def damaged(path):
    whole = bytearray(path.read_bytes())
    whole[1536 + 7] ^= 1
    path.write_bytes(whole)


def cut_between_members(path):
    path.write_bytes(path.read_bytes()[: 2 * 1536])


def cut_in_a_member(path):
    path.write_bytes(path.read_bytes()[: 2 * 1536 + 900])


@pytest.mark.parametrize("harm", [negative, negative_attribute, endless, damaged, cut_between_members, cut_in_a_member])
def test_a_damaged_tar_is_refused_at_once_and_as_a_whole(tmp_path, harm):
    """tarfile would read the same header for ever, or list the members before the damage alone."""
    tar_of(tmp_path / "some.tar", MEMBERS)
    harm(tmp_path / "some.tar")
    with pytest.raises(DataError, match=r"some\.tar: is not a complete archive"):
        stored_files(tmp_path, ["a"])


@pytest.mark.parametrize("pack", ["zip", "tar"])
def test_an_archive_of_too_many_members_is_refused(tmp_path, monkeypatch, pack):
    (zip_of if pack == "zip" else tar_of)(tmp_path / f"some.{pack}", MEMBERS)
    assert len(stored_files(tmp_path, ["a"])) == 3
    monkeypatch.setattr("yoso_cli.datasets.archives._MOST_MEMBERS", 2)
    (tmp_path / f"some.{pack}").rename(tmp_path / f"other.{pack}")
    with pytest.raises(DataError, match="more than 2 members"):
        stored_files(tmp_path, ["a"])


@settings(deadline=2000, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 1535), st.binary(min_size=1, max_size=12)), min_size=1, max_size=4),
    st.sampled_from(["size", "path", "GNU.sparse.major", "GNU.sparse.realsize"]),
    st.one_of(st.integers(-3000, 3000).map(str), st.text(st.characters(codec="utf-8"), max_size=8)),
    st.booleans(),
)
def test_any_tar_is_read_or_refused(tmp_path, changes, attribute, value, signed):
    path = tmp_path / "some.tar"
    tar_of(path, MEMBERS, {attribute: value})
    for start, content in changes:
        whole = bytearray(path.read_bytes())
        whole[start : start + len(content)] = content
        path.write_bytes(whole)
        if signed:
            with_header(path, start // 512 * 512, 0, b"")
    with suppress(DataError):
        for file in stored_files(tmp_path, ["a"]).values():
            file.read()


def test_files_of_one_folder_go_by_their_stem(tmp_path):
    for name in ("a/b/1.png", "a/b/2.PNG", "a/b/3.jpg", "a/b/c/4.png", "a/5.png"):
        put(tmp_path / name)
    assert set(by_stem(stored_files(tmp_path, ["a"]), "a/b/*.png")) == {"1"}


def test_a_tar_that_is_cut_short_anywhere_is_named(tmp_path):
    """Between two members too, where it reads like a whole tar with fewer."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name in "abc":
            member = tarfile.TarInfo(f"gt/{name}")
            member.size = 700
            archive.addfile(member, io.BytesIO(b"x" * 700))
    whole = path.read_bytes()
    assert len(contents(tmp_path, "gt")) == 3
    for length in range(0, 3 * 3 * 512 + 1, 256):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.tar: is not a complete archive"):
            contents(tmp_path, "gt")
