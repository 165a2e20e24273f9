"""The category tables: as many things and stuffs as published, in the order that defines the train ids."""

import pytest
from conftest import oracle

from yoso_cli.datasets.spec import read_categories

SIZES = {
    "coco": (80, 53),
    "cityscapes": (8, 11),
    "ade20k": (100, 50),
    "mapillary-v1.2": (37, 28),
    "mapillary-v2.0": (70, 46),
}


@pytest.mark.parametrize("name", SIZES)
def test_there_are_as_many_things_and_stuffs_as_published(name):
    categories = read_categories(name)
    things = sum(category.isthing for category in categories)
    assert (things, len(categories) - things) == SIZES[name]


@pytest.mark.parametrize("name", SIZES)
def test_ids_ascend_and_names_differ(name):
    categories = read_categories(name)
    ids = [category.id for category in categories]
    assert ids == sorted(set(ids))
    assert len({category.name for category in categories}) == len(ids)
    assert all(category.name == category.name.strip() for category in categories)


def test_cityscapes_is_the_table_of_the_official_scripts():
    labels = oracle("cityscapesscripts.helpers.labels").labels
    evaluated = sorted((label for label in labels if not label.ignoreInEval), key=lambda label: label.trainId)
    expected = [(label.id, label.name, label.hasInstances, label.color) for label in evaluated]
    assert [(one.id, one.name, one.isthing, one.color) for one in read_categories("cityscapes")] == expected
    assert [label.trainId for label in evaluated] == list(range(19))


def test_ade20k_counts_from_0_and_mapillary_from_1():
    """ADE20K's label maps store the category plus one, 0 being void; those of Mapillary store the category less one."""
    assert [category.id for category in read_categories("ade20k")] == list(range(150))
    assert [category.id for category in read_categories("mapillary-v1.2")] == list(range(1, 66))
    assert {category.id for category in read_categories("mapillary-v2.0")} < set(range(1, 125))
