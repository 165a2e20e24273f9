"""Styles: what is allowed, and what is said about what is not."""

import pytest
from drawing.scenes import CATEGORIES

from yoso_cli.drawing.style import Style, chosen, shown_name
from yoso_cli.errors import UsageError
from yoso_cli.panoptic.types import Category


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"labels": "name,skore"}, r"'skore' is none of name, id, score\. Did you mean 'score'\?"),
        ({"color": "klass"}, r"'klass' is none of instance, class\. Did you mean 'class'\?"),
        ({"background": "blurred"}, r"'blurred' is none of blur, white, transparent\. Did you mean 'blur'\?"),
        ({"alpha": 1.5}, r"alpha: 1\.5 .* from 0 to 1"),
        ({"alpha": float("nan")}, "from 0 to 1"),
        ({"scale": 0}, "whole number from 1"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_those_that_are(options, told):
    with pytest.raises(UsageError, match=told):
        Style.of(**options)


def test_lists_may_be_text_with_commas():
    assert Style.of(labels="name, score", only="person,sky") == Style(("name", "score"), only=("person", "sky"))
    assert Style.of(labels=["id"], only=("person", "car,sky")) == Style(("id",), only=("person", "car", "sky"))
    assert Style.of(labels="none").words == ()


def test_a_cut_out_is_plain_unless_asked_for_more():
    usual, cut = Style(), Style(background="white")
    assert (usual.words, usual.opacity, usual.has_legend) == (("name",), 0.5, True)
    assert (cut.words, cut.opacity, cut.has_legend) == ((), 0.0, False)
    asked = Style(("id",), alpha=0.3, legend=True, background="white")
    assert (asked.words, asked.opacity, asked.has_legend) == (("id",), 0.3, True)


def test_classes_are_chosen_by_their_names_in_full_or_in_short():
    assert chosen(["Person", "sky", "sky-other-merged", "road", "route", "road, route"], CATEGORIES) == {1, 3, 4}
    both = (Category(1, "tree", False), Category(2, "tree-merged", False), Category(3, "tree, bush", False))
    assert chosen(["tree"], both) == {1}, "a full name counts before a short one"
    assert chosen(["bush"], both) == {3}


def test_a_class_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(UsageError, match=r"no class 'persn'\. Did you mean 'person'\?"):
        chosen(["persn"], CATEGORIES)


def test_a_cut_out_shows_things_unless_classes_are_named():
    assert Style().shown(CATEGORIES) == {1, 2, 3, 4}
    assert Style(background="blur").shown(CATEGORIES) == {1, 2}
    assert Style(background="blur", only=("sky",)).shown(CATEGORIES) == {3}


def test_suffixes_that_mean_nothing_are_not_shown():
    assert [shown_name(one) for one in CATEGORIES] == ["person", "car", "sky", "road, route"]


def test_a_name_is_one_line_that_fits_into_a_legend():
    assert shown_name(Category(1, "stop\n sign\t", True)) == "stop sign"
    assert shown_name(Category(1, "a" * 500, True)) == "a" * 57 + "..."
