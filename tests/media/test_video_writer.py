"""What is written plays: with its times and its sound, and whatever ends the writing."""

import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media.clips import clip, encoded, number, scene, sound_of

from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.media.video_reader import VideoReader
from yoso_cli.media.video_writer import VideoWriter


def read(path: Path) -> list[tuple[int, float]]:
    """The number and the time of each frame."""
    with VideoReader(path) as reader:
        return [(number(frame.image), round(float(frame.time), 4)) for frame in reader]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_frame_times_are_kept_and_begin_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    times = [3.0, 3.04, 3.5, 3.501, 9.25]
    with VideoWriter(path, size=(64, 96), rate=Fraction(30000, 1001), start=3.0) as writer:
        for place, time in enumerate(times):
            writer.write(scene(place), time)
        assert writer.frames == 5
        assert not path.exists(), "it has its name when it is whole"
    assert writer.kept
    assert read(path) == [(place, round(time - 3, 4)) for place, time in enumerate(times)]


def test_times_that_do_not_rise_are_moved_by_a_tick(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 4, times=[0, 0, 0.5, 0.2])
    assert [place for place, _ in read(path)] == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [(65, 97), (64, 97), (63, 96)])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_an_odd_side_gets_its_last_pixels_twice(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    with VideoReader(clip(tmp_path / f"a{suffix}", 2, size=size)) as reader:
        assert reader.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        image = next(iter(reader)).image.astype(int)
    assert np.abs(image[: size[0], : size[1]] - scene(0, size)).mean() < 6
    assert np.abs(image[size[0] - 1] - image[-1]).mean() < 8


def test_an_mp4_is_h264_in_the_colours_of_television(tmp_path: Path) -> None:
    with av.open(str(clip(tmp_path / "a.mp4", 3))) as file:
        context = file.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_range) == (1, 1)
        assert file.streams.video[0].start_time == 0


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".mkv", "aac"), (".mov", "aac"), (".webm", "libopus")])
def test_sound_is_copied(tmp_path: Path, suffix: str, codec: str) -> None:
    source = encoded(
        tmp_path / f"source{suffix if suffix == '.webm' else '.mp4'}",
        [scene(0)] * 50,
        codec="libvpx" if suffix == ".webm" else "libx264",
        audio=codec,
    )
    path = clip(tmp_path / f"a{suffix}", 50, audio_from=source)
    assert [time for _, time in read(path)] == [round(place / 25, 4) for place in range(50)]
    name, begin, end = sound_of(path)
    assert name == ("opus" if codec == "libopus" else codec)
    assert abs(begin) < 0.05
    assert end == pytest.approx(2.0, abs=0.06)
    with av.open(str(path)) as file, av.open(str(source)) as original:
        found = [bytes(one) for one in file.demux(audio=0) if one.size]
        wanted = [bytes(one) for one in original.demux(audio=0) if one.size]
    # What an encoder puts before the beginning, to warm up, is left out.
    assert len(wanted) - len(found) in (0, 1)
    assert found == wanted[-len(found) :], "bit for bit"


def test_sound_is_trimmed_with_the_frames(tmp_path: Path) -> None:
    source = encoded(tmp_path / "source.mp4", [scene(place % 64) for place in range(100)], audio="aac")
    path = tmp_path / "a.mp4"
    with VideoReader(source, start=1.0, stop=2.0, every=5) as reader:
        with VideoWriter(path, size=reader.size, rate=reader.rate, audio_from=source, start=1.0) as writer:
            for frame in reader:
                writer.write(frame.image, frame.time)
        assert not writer.silent
    assert [time for _, time in read(path)] == [0.0, 0.2, 0.4, 0.6, 0.8]
    _, begin, end = sound_of(path)
    assert abs(begin) < 0.05
    assert end == pytest.approx(1.0, abs=0.06)


def test_sound_that_the_container_cannot_hold_is_left_out_and_said(tmp_path: Path) -> None:
    source = encoded(tmp_path / "source.mp4", [scene(0)] * 10, audio="aac")
    path = tmp_path / "a.webm"
    with VideoWriter(path, size=(64, 96), rate=25, audio_from=source) as writer:
        writer.write(scene(0), 0)
    assert writer.silent == "webm cannot hold sound of the kind aac"
    with VideoReader(path) as reader:
        assert not reader.has_audio
    with VideoWriter(path, size=(64, 96), rate=25, audio_from=clip(tmp_path / "mute.mp4", 2)) as writer:
        writer.write(scene(0), 0)
    assert not writer.silent, "what has no sound loses none"


@pytest.mark.parametrize("ending", [KeyboardInterrupt(), DataError("a frame"), ValueError()])
def test_what_was_written_before_an_exception_plays(tmp_path: Path, ending: BaseException) -> None:
    path = tmp_path / "a.mp4"
    writer = VideoWriter(path, size=(64, 96), rate=25)

    def ended() -> None:
        with writer:
            for place in range(7):
                writer.write(scene(place), Fraction(place, 25))
            raise ending

    with pytest.raises(type(ending)):
        ended()
    assert writer.kept
    assert [place for place, _ in read(path)] == list(range(7))
    assert names(tmp_path) == ["a.mp4"]


def test_without_a_frame_there_is_no_file_and_an_older_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, size=(64, 96), rate=25):
        pass
    assert names(tmp_path) == []
    before = clip(path, 3).read_bytes()
    with VideoWriter(path, size=(64, 96), rate=25) as writer:
        pass
    assert not writer.kept
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".gif"])
def test_a_full_disk_leaves_what_plays(tmp_path: Path, suffix: str) -> None:
    """A limit on the size of files, in a process of its own, stands for the full disk."""
    path = tmp_path / f"a{suffix}"
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
import numpy as np
from yoso_cli.errors import RunError
from yoso_cli.media.video_writer import VideoWriter
limit = 300_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
noise = np.random.default_rng(0)
try:
    with VideoWriter(Path({str(path)!r}), size=(128, 128), rate=25) as writer:
        for place in range(1000):
            writer.write(noise.integers(0, 255, (128, 128, 3), dtype=np.uint8), place / 25)
except RunError as error:
    print(error.message, error.hint, writer.kept, sep="|")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message, hint, kept = done.stdout.strip().split("|")
    assert message.startswith(f"{path}: the disk is full after ")
    assert "Free some space" in hint
    assert kept == "True"
    with VideoReader(path) as reader:
        assert len(list(reader)) > 5
    assert names(tmp_path) == [path.name]


def test_a_killed_writer_leaves_a_part_that_plays(tmp_path: Path) -> None:
    """SIGKILL gives no time for anything: the file under its temporary name can still be read."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import os, signal
from pathlib import Path
import numpy as np
from yoso_cli.media.video_writer import VideoWriter
noise = np.random.default_rng(0)
writer = VideoWriter(Path({str(tmp_path / "a.mp4")!r}), size=(128, 128), rate=25)
for place in range(200):
    writer.write(noise.integers(0, 255, (128, 128, 3), dtype=np.uint8), place / 25)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.glob("*.partial")
    with VideoReader(left) as reader:
        assert len(list(reader)) > 100


def test_other_suffixes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for name, said in (
        ("a.avi", "this kind cannot be written"),
        ("a", "has no suffix"),
        ("a.jpg", "cannot be written"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            VideoWriter(tmp_path / name, size=(64, 96), rate=25)
        assert "must end in .gif, .mkv, .mov, .mp4, .webm" in caught.value.hint
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_written_and_a_frame_that_does_not_fit_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        VideoWriter(tmp_path / "file" / "a.mp4", size=(64, 96), rate=25)
    with VideoWriter(tmp_path / "a.mp4", size=(64, 96), rate=25) as writer:
        writer.write(scene(0), 0)
        with pytest.raises(DataError, match="a frame of 32x32 pixels has another size"):
            writer.write(scene(0, (32, 32)), 1)
