"""Content of a small evaluation, and a server of it in a thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from page import pages

from yoso_cli.panoptic.types import ImageRecord, Panoptic, PanopticSet
from yoso_cli.view.content import Content
from yoso_cli.view.facts import Compared, Facts, PictureErrors
from yoso_cli.view.server import ViewServer


def predicted_set(folder: Path, truth: PanopticSet) -> PanopticSet:
    """The predictions of `pages`, on disk."""
    from yoso_cli.panoptic.files import SetWriter

    writer = SetWriter(folder, "predictions", "val", truth.categories)
    for image_id, panoptic in pages.predictions_of(truth).items():
        (record,) = [one for one in truth.records if one.image_id == image_id]
        writer.add(record, panoptic)
    return writer.finish()


def content_of(truth: PanopticSet, predicted: PanopticSet | None = None) -> Content:
    """As `api.view` makes it."""
    from yoso_cli.panoptic.files import read_panoptic

    facts = Facts.of_truth(truth)
    if predicted is None:
        return Content("set val", "truth", truth, facts)
    by_id = {record.image_id: record for record in predicted.records}
    compare = Compared(truth, predicted)
    found = [compare((record, by_id.get(record.image_id))) for record in truth.records]
    errors = [one if isinstance(one, PictureErrors) else None for one in found]

    def predict(record: ImageRecord) -> Panoptic:
        return read_panoptic(predicted, by_id[record.image_id])

    facts = facts.with_errors(errors, len(truth.categories))
    return Content(f"set {pages.HOSTILE}", pages.SECOND, truth, facts, predict)


def many(truth: PanopticSet, count: int) -> PanopticSet:
    """A set of so many pictures, which share a few files."""
    records = tuple(replace(truth.records[place % len(truth.records)], image_id=place) for place in range(count))
    return replace(truth, records=records)


@contextmanager
def served(content: Content, report: Callable[[str], None] = lambda _: None) -> Iterator[ViewServer]:
    """A running server."""
    with ViewServer(content, 0, report) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
