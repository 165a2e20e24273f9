"""Items of one kind come together, and their results come out in the order of the stream."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.inference.batching import alike, in_order

kinds = st.lists(st.sampled_from("abc"), max_size=40)
counts = st.integers(1, 6)


@given(kinds, counts, counts)
def test_groups_are_of_one_kind_and_leave_nothing_out(items: list[str], most: int, window: int) -> None:
    groups = list(alike(items, lambda item: item, most=most, window=window))
    assert all(len({item for _, item in group}) == 1 for group in groups)
    assert all(1 <= len(group) <= most for group in groups)
    assert sorted(each for group in groups for each in group) == list(enumerate(items))


@given(kinds, counts, counts)
def test_results_are_in_order_and_no_item_waits_longer_than_the_window(
    items: list[str], most: int, window: int
) -> None:
    read = -1

    def reading() -> Iterator[str]:
        nonlocal read
        for item in items:
            read += 1
            yield item

    results = in_order(alike(reading(), lambda item: item, most=most, window=window))
    for place, (result, item) in enumerate(zip(results, items, strict=True)):
        assert result == item
        assert read <= place + window + 1


@given(kinds, counts)
def test_equal_kinds_are_grouped_as_soon_as_there_are_enough(items: list[str], most: int) -> None:
    groups = list(alike(["a"] * len(items), lambda item: item, most=most, window=len(items) + 1))
    assert [len(group) for group in groups[:-1]] == [most] * (len(groups) - 1)


def test_one_at_a_time_waits_for_nothing() -> None:
    endless = iter(int, 1)
    assert next(in_order(alike(endless, lambda item: item, most=1, window=1))) == 0
