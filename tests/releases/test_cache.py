"""The cache keeps what came and holds it to its hash."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.errors import DataError
from yoso_cli.releases.cache import Cache, Known
from yoso_cli.releases.catalog import RELEASES, find, with_classes


def test_it_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("YOSO_HOME", raising=False)
    assert Cache.open().path == tmp_path / "xdg/yoso/weights"
    monkeypatch.setenv("YOSO_HOME", str(tmp_path / "home"))
    assert Cache.open().path == tmp_path / "home/weights"


def test_a_hash_is_written_down_once_and_holds(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.known("coco") is None
    first = Known("here", 3, "abc", "tensors")
    cache.check("coco", first)
    assert cache.known("coco") == first
    cache.check("coco", Known("a mirror", 3, "abc", "tensors"))
    cache.check("ade20k", Known("there", 4, "def"))
    assert cache.known("coco") == first
    with pytest.raises(DataError, match=r"coco: differs from the file first downloaded .*known\.json"):
        cache.check("coco", Known("here", 3, "abd"))


@pytest.mark.parametrize("text", ["{", "[]", '{"coco": {}}', '{"coco": 3}'])
def test_a_damaged_ledger_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "known.json").write_text(text)
    with pytest.raises(DataError, match=r"known\.json: is .* Remove it"):
        Cache(tmp_path).known("coco")


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_address_leads_out_of_the_cache(one: str, other: str) -> None:
    cache = Cache(Path("/cache"))
    place = cache.addressed(f"https://host/{one}")
    assert place.parent == cache.path
    assert len(place.name) < 120
    assert (place == cache.addressed(f"https://host/{other}")) == (one == other)


def test_releases_are_told_apart_by_their_classes() -> None:
    for release in RELEASES.values():
        assert with_classes(release.classes) == release == find(release.name)
        assert release.address.endswith(f"/v0.1/yoso_res50_{release.name}.pth")
    assert with_classes(7) is None
