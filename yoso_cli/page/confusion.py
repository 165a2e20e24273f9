"""The part of the page that tells which classes are taken for which."""

from collections.abc import Iterator, Sequence

from yoso_cli.evaluation.causes import Meeting
from yoso_cli.evaluation.report import Report
from yoso_cli.page.markup import Markup, each, name_of, tag
from yoso_cli.page.parts import section
from yoso_cli.panoptic.types import Category

# A matrix beyond this fits no screen; the list of what is confused most is there in any case.
_LARGEST_MATRIX = 20
_MOST_CONFUSED = 20


def confusion(report: Report) -> Markup | None:
    """Which classes are taken for which."""
    meetings = report.measures.confusion
    wrong = [one for one in meetings if one.truth and one.prediction and one.truth != one.prediction]
    seen = [one.category for one in report.quality.classes if one.pq is not None]
    if not meetings:
        return None
    lead = "True and predicted segments whose masks agree (IoU above 0.5), whatever their classes."
    listed = _most_confused(wrong) if wrong else tag("p", "No segment was found under another class.", class_="note")
    matrix = _matrix(meetings, [category.id for category in seen], report) if len(seen) <= _LARGEST_MATRIX else None
    return section("confusion", "Confusion", lead, tag("div", matrix, listed, class_="pair"))


def _most_confused(wrong: Sequence[Meeting]) -> Markup:
    rows = each(
        tag(
            "li",
            tag("b", str(one.count)),
            " × ",
            name_of(one.truth.name if one.truth else ""),
            " seen as ",
            name_of(one.prediction.name if one.prediction else ""),
        )
        for one in wrong[:_MOST_CONFUSED]
    )
    more = len(wrong) - _MOST_CONFUSED
    note = tag("p", f"{more} more kinds in report.json", class_="note") if more > 0 else None
    return tag("div", tag("h3", "Most frequent"), tag("ol", rows, class_="confused"), note)


def _matrix(meetings: Sequence[Meeting], ids: Sequence[int], report: Report) -> Markup:
    counts = {(_id(one.truth), _id(one.prediction)): one.count for one in meetings}
    names = {one.category.id: one.category.name for one in report.quality.classes}
    columns: list[int | None] = [*ids, None]
    head = tag("tr", tag("td"), *(tag("th", tag("span", _named(one, names)), scope="col") for one in columns))
    rows = each(tag("tr", *_matrix_row(one, columns, counts, names)) for one in columns)
    caption = tag("caption", "rows: truth; columns: prediction; shade: share of the row")
    return tag("div", tag("table", caption, tag("thead", head), tag("tbody", rows), class_="matrix"), class_="scroll")


def _matrix_row(
    row: int | None,
    columns: Sequence[int | None],
    counts: dict[tuple[int | None, int | None], int],
    names: dict[int, str],
) -> Iterator[Markup]:
    total = sum(counts.get((row, column), 0) for column in columns)
    yield tag("th", _named(row, names), scope="row")
    for column in columns:
        count = counts.get((row, column), 0)
        share = count / total if total else 0.0
        right = " right" if row == column else ""
        words = str(count) if count else "" if (row, column) != (None, None) else "·"
        yield tag("td", words, class_=f"cell{right}", style=f"--share:{share:.3f}")


def _id(category: Category | None) -> int | None:
    return category.id if category else None


def _named(category_id: int | None, names: dict[int, str]) -> Markup:
    return tag("i", "nothing") if category_id is None else name_of(names[category_id])
