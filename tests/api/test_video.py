"""A model over a video: results in order, with ids that persist; and a new video, whatever happens on the way."""

import os
import signal
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import build
import numpy as np
import pytest
from media.clips import clip, encoded, number, scene, sound_of

import yoso_cli as yoso
from yoso_cli.api.predict import Model
from yoso_cli.api.video import VideoResult, draw_video, predict_video
from yoso_cli.drawing.overlay import overlay
from yoso_cli.drawing.style import Style
from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.media.video_reader import VideoReader
from yoso_cli.panoptic.tracking import Tracker
from yoso_cli.panoptic.types import Rgb
from yoso_cli.runtime.stopping import Outcome


@pytest.fixture
def model(line: Path) -> Model:
    return yoso.load("runs/tiny-001", device="cpu")


def plain(result: VideoResult) -> Rgb:
    return result.image


def numbers(path: Path) -> list[int]:
    with VideoReader(path) as reader:
        return [number(frame.image) for frame in reader]


@pytest.mark.parametrize("beside", [0, 1])
def test_frames_come_in_order_with_the_masks_of_the_model(
    model: Model, monkeypatch: pytest.MonkeyPatch, beside: int
) -> None:
    """With stages in threads of their own, and without."""
    monkeypatch.setattr("yoso_cli.inference.predict.threads_beside_network", lambda _: beside)
    path = clip(Path("a.mp4"), 8)
    with VideoReader(path) as reader:
        frames = list(reader)
    found = list(model.video(path))
    tracker = Tracker(model.categories)
    assert [one.index for one in found] == list(range(8))
    assert [one.time for one in found] == [Fraction(place, 25) for place in range(8)]
    for result, frame in zip(found, frames, strict=True):
        assert np.array_equal(result.image, frame.image)
        tracked = tracker.update(model(frame.image).panoptic)
        assert np.array_equal(result.id_map, tracked.panoptic.id_map)
        assert result.numbers == tracked.numbers
        assert {one.id for one in result.segments} == result.numbers.keys()
        assert result.source == "a.mp4"


def test_a_result_is_drawn_with_its_numbers(model: Model) -> None:
    style = Style.of(legend=False)
    for result in model.video(clip(Path("a.mp4"), 3)):
        wanted = overlay(result.image, result.panoptic, model.categories, style, numbers=result.numbers)
        assert np.array_equal(result.drawn(style), wanted)
        assert np.array_equal(np.asarray(result.draw(legend=False)), wanted)


def test_options_reach_the_reader_and_errors_come_at_the_call(model: Model) -> None:
    path = clip(Path("a.mp4"), 20)
    assert [one.index for one in model.video(path, every=5, start=0.2)] == [0, 5, 10]
    with pytest.raises(DataError, match="no such file"):
        model.video("gone.mp4")
    with pytest.raises(UsageError, match="--every 0"):
        model.video(path, every=0)


def test_a_stream_may_be_left_early(model: Model) -> None:
    before = threading.active_count()
    stream = model.video(clip(Path("a.mp4"), 20))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_cut_video_gives_its_frames_and_then_the_error(model: Model) -> None:
    whole = encoded(Path("a.mkv"), [scene(place) for place in range(60)], g="5")
    Path("cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    stream, found = model.video("cut.mkv"), []

    def collect() -> None:
        found.extend(result.index for result in stream)

    with pytest.raises(DataError, match=r"cut.mkv: ends before its stated end"):
        collect()


def test_a_drawn_video_has_all_frames_their_times_and_the_sound(model: Model) -> None:
    source = encoded(Path("a.mp4"), [scene(place) for place in range(50)], audio="aac")
    done = draw_video(model, source, Path("b.mp4"), draw=plain)
    assert (done.path, done.frames, done.outcome, done.problem) == (Path("b.mp4"), 50, Outcome.FINISHED, "")
    assert numbers(Path("b.mp4")) == list(range(50))
    assert sound_of(Path("b.mp4"))[0] == "aac"


def test_pictures_may_be_larger_than_frames_and_start_and_stop_trim(model: Model) -> None:
    source = clip(Path("a.mp4"), 50)
    done = draw_video(
        model, source, Path("b.mkv"), draw=lambda one: np.concatenate([one.image, one.image], 1), start=0.4, stop=1.2
    )
    assert done.frames == 20
    with VideoReader(Path("b.mkv")) as reader:
        assert reader.size == (64, 192)
        assert [(number(frame.image), frame.index) for frame in reader] == [(10 + place, place) for place in range(20)]


def test_no_target_writes_nothing(model: Model) -> None:
    before = build.listing()
    done = draw_video(model, clip(Path("a.mp4"), 5), None, draw=plain)
    assert (done.path, done.frames) == (None, 5)
    assert build.listing().keys() - before.keys() == {"a.mp4"}


def test_what_cannot_be_written_is_refused_before_a_frame_is_read(model: Model) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        draw_video(model, Path("gone.mp4"), Path("b.avi"), draw=plain)


def test_a_cut_video_is_drawn_as_far_as_it_goes(model: Model) -> None:
    whole = encoded(Path("a.mkv"), [scene(place) for place in range(60)], g="5")
    Path("cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    done = draw_video(model, Path("cut.mkv"), Path("b.mp4"), draw=plain)
    assert "ends before its stated end" in done.problem
    assert numbers(Path("b.mp4")) == list(range(done.frames))


@pytest.mark.parametrize(
    ("sent", "outcome"), [(signal.SIGINT, Outcome.INTERRUPTED), (signal.SIGTERM, Outcome.TERMINATED)]
)
def test_a_signal_ends_it_after_a_frame_and_it_can_be_gone_on_with(
    model: Model, sent: signal.Signals, outcome: Outcome
) -> None:
    source = clip(Path("a.mp4"), 40)

    def interrupting(result: VideoResult) -> Rgb:
        if result.index == 7:
            os.kill(os.getpid(), sent)
        return result.image

    done = draw_video(model, source, Path("b.mp4"), draw=interrupting)
    assert done.outcome is outcome
    # A few are drawn before they are written, and those are let go of.
    assert 2 <= done.frames < 14
    assert numbers(Path("b.mp4")) == list(range(done.frames))
    rest = draw_video(model, source, Path("c.mp4"), draw=plain, start=done.reached)
    assert numbers(Path("c.mp4")) == list(range(done.frames, 40))
    assert rest.outcome is Outcome.FINISHED


def test_a_full_disk_keeps_what_plays_and_says_how_to_go_on(model: Model) -> None:
    clip(Path("a.mp4"), 60)
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
import numpy as np
import yoso_cli as yoso
from yoso_cli.api.video import draw_video
model = yoso.load("runs/tiny-001", device="cpu")
noise = np.random.default_rng(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    draw_video(model, "a.mp4", Path("b.mp4"), draw=lambda _: noise.integers(0, 255, (256, 256, 3), dtype=np.uint8))
except yoso.RunError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "b.mp4: the disk is full after " in done.stdout
    assert "b.mp4 keeps " in done.stdout
    assert " frames and plays; go on with --start " in done.stdout
    with VideoReader(Path("b.mp4")) as reader:
        assert len(list(reader)) > 3


def test_an_error_of_the_drawing_comes_out_and_what_was_written_plays(model: Model) -> None:
    def failing(result: VideoResult) -> Rgb:
        if result.index == 5:
            raise RunError("no more ink.", hint="Buy some.")
        return result.image

    with pytest.raises(RunError, match=r"no more ink") as caught:
        draw_video(model, clip(Path("a.mp4"), 20), Path("b.mp4"), draw=failing)
    assert "b.mp4 keeps 5 frames and plays; go on with --start 0.161" in caught.value.hint
    assert numbers(Path("b.mp4")) == list(range(5))


def test_of_a_live_source_the_newest_frames_are_taken(model: Model) -> None:
    """A source that gives a thousand frames at once, and a network that is slower."""

    class Camera:
        live, source = True, "camera:0"

        def __iter__(self) -> Any:
            with VideoReader(clip(Path("a.mp4"), 64)) as reader:
                yield from reader

    camera: Any = Camera()
    found = [one.index for one in predict_video(model, camera)]
    assert found == sorted(set(found))
    assert found[-1] == 63
    assert len(found) < 64


def test_memory_does_not_depend_on_the_length(model: Model) -> None:
    """A hundred frames in the middle of which nothing more is taken."""
    clip(Path("a.mp4"), 150, size=(180, 320))
    code = """
import resource
from pathlib import Path
import yoso_cli as yoso
from yoso_cli.api.video import draw_video
model = yoso.load("runs/tiny-001", device="cpu")
held = {}
def draw(result):
    if result.index in (50, 149):
        held[result.index] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return result.image
draw_video(model, "a.mp4", Path("b.mp4"), draw=draw)
print(held[149] - held[50])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 10_000, "KiB"
