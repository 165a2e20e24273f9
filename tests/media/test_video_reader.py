"""Frames come in order, upright, in their colours and with their times, whatever the video; or it says why not."""

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media.clips import clip, encoded, number, scene
from PIL import Image
from releases.server import Behaviour, serving

from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.media import sources
from yoso_cli.media.video_reader import VideoReader


def numbers(path: Path, **options: Any) -> list[int]:
    with VideoReader(path, **options) as reader:
        return [number(frame.image) for frame in reader]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".gif"])
def test_frames_come_in_order_with_their_times(tmp_path: Path, suffix: str) -> None:
    with VideoReader(clip(tmp_path / f"a{suffix}", 12)) as reader:
        assert (reader.size, reader.rate, reader.count, reader.has_audio) == ((64, 96), 25, 12, False)
        assert not reader.live
        frames = list(reader)
        assert not reader.problem
    assert [number(frame.image) for frame in frames] == list(range(12))
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time for frame in frames] == [Fraction(place, 25) for place in range(12)]
    assert frames[0].image.dtype == np.uint8


def test_an_avi_with_another_codec(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.avi", [scene(place) for place in range(10)], codec="mjpeg", pixels="yuvj420p")
    assert numbers(path) == list(range(10))


def test_every_start_stop_and_fps_choose_frames(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 60)
    assert numbers(path, every=7) == list(range(0, 60, 7))
    assert numbers(path, start=1) == list(range(25, 60))
    assert numbers(path, stop=1) == list(range(25))
    assert numbers(path, start=0.5, stop=1.5, every=10) == [13, 23, 33]
    assert numbers(path, fps=5) == list(range(0, 60, 5))
    assert numbers(path, fps=100) == list(range(60))
    with VideoReader(path, start=0.5, stop=1.5, every=10) as reader:
        assert reader.count == 3
        assert [(frame.index, frame.time) for frame in reader] == [
            (0, Fraction(13, 25)),
            (10, Fraction(23, 25)),
            (20, Fraction(33, 25)),
        ]
        assert reader.rate == Fraction(5, 2)


def test_times_of_a_variable_frame_rate_are_kept(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.51, 2.0]
    with VideoReader(clip(tmp_path / "a.mp4", 5, times=times)) as reader:
        assert [round(float(frame.time), 3) for frame in reader] == times


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (-90, 3), (180, 2)])
def test_a_phones_rotation_is_applied(tmp_path: Path, rotation: int, turns: int) -> None:
    wanted = scene(5)
    path = encoded(tmp_path / "a.mp4", [np.ascontiguousarray(np.rot90(wanted, -turns))], rotation=rotation)
    with VideoReader(path) as reader:
        assert reader.size == (64, 96)
        (frame,) = reader
    assert np.abs(frame.image.astype(int) - wanted).mean() < 6


@pytest.mark.parametrize("size", [(64, 96), (720, 1280)])
@pytest.mark.parametrize("tagged", [True, False])
def test_colours_are_right(tmp_path: Path, size: tuple[int, int], tagged: bool) -> None:
    """A writer that tags BT.709, and one that tags nothing: BT.709 from 720 lines on, BT.601 below, as players do."""
    image = np.zeros((*size, 3), np.uint8)
    image[:] = (220, 30, 60)
    image[:, size[1] // 2 :] = (10, 180, 40)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        matrix = "ITU709" if tagged or size[0] >= 720 else "ITU601"
        if tagged:
            stream.codec_context.colorspace = 1
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p", dst_colorspace=matrix)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    with VideoReader(path) as reader:
        found = next(iter(reader)).image
    for column in (size[1] // 4, 3 * size[1] // 4):
        assert np.abs(found[32, column].astype(int) - image[32, column]).max() <= 4


@pytest.mark.parametrize("matrix", [0, 4, 5, 6, 7, 8, 9, 10, 14])
def test_every_matrix_that_a_file_may_state_is_read(tmp_path: Path, matrix: int) -> None:
    """Those that FFmpeg cannot convert from are read as players do where nothing is stated."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.codec_context.colorspace = 64, 96, "yuv420p", matrix
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(scene(5), format="rgb24")), *stream.encode(None)]:
            file.mux(packet)
    with VideoReader(path) as reader:
        (frame,) = reader
        assert not reader.problem
    assert np.abs(frame.image.astype(int) - scene(5)).mean() < 12


@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv444p", "gray"])
def test_other_pixel_formats_become_rgb(tmp_path: Path, pixels: str) -> None:
    path = encoded(tmp_path / "a.mp4", [scene(place) for place in range(3)], pixels=pixels)
    assert numbers(path) == [0, 1, 2]


def test_odd_sizes(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.avi", [scene(3, (65, 97))], codec="ffv1", pixels="bgr0")
    with VideoReader(path) as reader:
        (frame,) = reader
    assert frame.image.shape == (65, 97, 3)
    assert number(frame.image) == 3


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path: Path) -> None:
    """Two H.264 streams one after the other, as a recorder that changes its resolution leaves them."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuvj420p"
        file.start_encoding()
        for place in range(4):
            size = (64, 96) if place < 2 else (128, 192)
            context: Any = av.CodecContext.create("mjpeg", "w")
            context.height, context.width, context.pix_fmt, context.time_base = *size, "yuvj420p", Fraction(1, 25)
            image = np.array(Image.fromarray(scene(place)).resize(size[::-1]))
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = place, Fraction(1, 25)
            for packet in context.encode(frame):
                packet.stream = stream
                file.mux(packet)
    with VideoReader(path) as reader:
        frames = list(reader)
    assert {frame.image.shape for frame in frames} == {(64, 96, 3)}
    assert [number(frame.image) for frame in frames] == [0, 1, 2, 3]


def test_sound_is_noticed_and_covers_of_songs_are_no_video(tmp_path: Path) -> None:
    with VideoReader(encoded(tmp_path / "a.mp4", [scene(0)] * 5, audio="aac")) as reader:
        assert reader.has_audio
        assert len(list(reader)) == 5
    song = tmp_path / "song.mp4"
    with av.open(str(song), "w") as file:
        sound: Any = file.add_stream("aac", rate=48000)
        frame: Any = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="flt", layout="mono")
        frame.sample_rate = 48000
        for packet in [*sound.encode(frame), *sound.encode(None)]:
            file.mux(packet)
    with pytest.raises(DataError, match=r"song.mp4: has no pictures, only sound"):
        VideoReader(song)


def test_a_video_cut_short_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    whole = encoded(tmp_path / "a.mkv", [scene(place) for place in range(60)], g="5")
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with VideoReader(cut) as reader:
        frames = list(reader)
        assert reader.cut_short
        assert reader.problem.startswith(f"{cut}: ends before its stated end: it is cut short or damaged")
    assert 10 < len(frames) < 50
    assert [number(frame.image) for frame in frames[:10]] == list(range(10))
    with VideoReader(whole, stop=1.0) as reader:
        assert len(list(reader)) == 25
        assert not reader.problem, "stopping is no damage"


def test_an_mp4_cut_short_before_its_index_is_refused(tmp_path: Path) -> None:
    whole = encoded(tmp_path / "a.mp4", [scene(place) for place in range(30)])
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cut.mp4: is no video that can be read, or its beginning or its index is dam"):
        VideoReader(cut)


def test_an_mp4_with_its_index_first_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = tmp_path / "a.mp4"
    with av.open(str(whole), "w", options={"movflags": "faststart"}) as file:
        stream: Any = file.add_stream("libx264", rate=25, options={"g": "5", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for place in range(60):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(scene(place), format="rgb24")))
        file.mux(stream.encode(None))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with VideoReader(cut) as reader:
        frames = list(reader)
        assert reader.cut_short
    assert 5 < len(frames) < 60


def test_a_frame_that_does_not_decode_is_passed_over_and_counted(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.avi", [scene(place) for place in range(20)], codec="png", pixels="rgb24")
    content = bytearray(path.read_bytes())
    # The eleventh picture loses its size.
    found = [place for place in range(len(content) - 8) if content[place : place + 8] == b"\x89PNG\r\n\x1a\n"]
    content[found[10] + 16 : found[10] + 24] = bytes(8)
    path.write_bytes(content)
    with VideoReader(path) as reader:
        frames = [number(frame.image) for frame in reader]
        assert frames == [place for place in range(20) if place != 10]
        assert reader.skipped == 1
        assert reader.problem == f"{path}: 1 frame does not decode and is left out."


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    for name in ("text.mp4", "empty.mp4"):
        with pytest.raises(DataError, match=f"{name}: is no video that can be read"):
            VideoReader(tmp_path / name)
    with pytest.raises(DataError, match=r"folder.mp4: is not a video file"):
        VideoReader(tmp_path / "folder.mp4")
    with pytest.raises(DataError, match=r"gone.mp4: no such file"):
        VideoReader(tmp_path / "gone.mp4")


@pytest.mark.parametrize(("suffix", "said"), [(".mkv", "is no video that can"), (".avi", "no frame"), (".mp4", "n")])
def test_a_video_of_zero_frames_is_refused(tmp_path: Path, suffix: str, said: str) -> None:
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        file.start_encoding()
    with pytest.raises(DataError, match=f"a{suffix}: .*{said}"):
        VideoReader(path)


def test_a_start_after_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is over after 0.8 s; there is nothing from --start on"):
        VideoReader(clip(tmp_path / "a.mp4", 20), start=5)


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n",
        "ffconcat version 1.0\nfile '{}'\n",
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".m3u8", ".gif"])
def test_a_playlist_under_another_name_opens_nothing(tmp_path: Path, content: str, suffix: str) -> None:
    secret = clip(tmp_path / "secret.mp4", 3)
    path = tmp_path / f"a{suffix}"
    path.write_text(content.format(secret))
    with pytest.raises(DataError, match="is no video that can be read"):
        VideoReader(path)


@pytest.mark.parametrize("name", ["concat:a.mp4|a.mp4", "subfile,,start,0,end,0,,:a.mp4", "data:video.mp4", "pipe:0"])
def test_a_name_is_a_name_and_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    clip(Path("a.mp4"), 3)
    with pytest.raises(DataError, match="no such file"):
        VideoReader(name)
    Path("a.mp4").rename(name)
    assert numbers(Path(name)) == [0, 1, 2], "a file may have such a name"


def test_a_huge_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(tmp_path / "a.mp4", 3)
    monkeypatch.setattr(sources, "LARGEST", 64 * 96 - 1)
    with pytest.raises(DataError, match=r"has frames of 96x64 pixels, more than"):
        VideoReader(path)


def test_a_claim_of_a_huge_size_costs_nothing(tmp_path: Path) -> None:
    """A GIF of a few bytes that claims 65535 x 65535 pixels."""
    path = tmp_path / "a.gif"
    clip(path, 2)
    content = bytearray(path.read_bytes())
    content[6:10] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"pixels, more than|no video|no frame"):
        VideoReader(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".gif"])
def test_damage_anywhere_gives_frames_or_an_answer(tmp_path: Path, suffix: str) -> None:
    whole = clip(tmp_path / f"a{suffix}", 8).read_bytes()
    random = np.random.default_rng(0)
    path, read = tmp_path / f"b{suffix}", 0
    for _ in range(25):
        content = np.frombuffer(whole, np.uint8).copy()
        places = random.integers(0, len(content), random.integers(1, 12))
        content[places] = random.integers(0, 256, len(places))
        path.write_bytes(content.tobytes()[: random.integers(len(content) // 2, len(content) + 1)])
        with contextlib.suppress(DataError), VideoReader(path) as reader:
            assert {frame.image.shape for frame in reader} == {(*reader.size, 3)}
            read += 1
    assert read, "most damage leaves frames that decode"


def test_a_video_on_a_server(tmp_path: Path) -> None:
    content = clip(tmp_path / "a.mkv", 9).read_bytes()
    with serving(Behaviour(content)) as address, VideoReader(f"{address}a.mkv") as reader:
        assert [number(frame.image) for frame in reader] == list(range(9))
        assert not reader.live
    with serving(Behaviour(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")) as address, pytest.raises(RunError):
        VideoReader(f"{address}a.mp4")
    with serving(Behaviour(statuses=[404] * 9)) as address, pytest.raises(RunError, match=r"a.mp4: cannot be read"):
        VideoReader(f"{address}a.mp4")


def test_a_camera_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"camera:77: there is no such camera, /dev/video77"):
        VideoReader("camera:77")


@pytest.fixture
def silent_server() -> Iterator[int]:
    """Takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def take() -> None:
            try:
                while True:
                    taken.append(server.accept()[0])
            except OSError:
                return

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for one in taken:
            one.close()


def test_a_stream_that_does_not_answer_is_given_up(silent_server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_TIMEOUT", 0.5)
    address = f"rtsp://127.0.0.1:{silent_server}/live"
    with pytest.raises(RunError, match=f"{address}: cannot be read"):
        VideoReader(address)
    with pytest.raises(RunError, match="cannot be read: connection refused"):
        VideoReader("rtsp://127.0.0.1:9/live")


def test_other_addresses_are_refused() -> None:
    for address in ("ftp://host/a.mp4", "file:///etc/passwd", "concat://a"):
        with pytest.raises(UsageError, match="cannot be read as a stream"):
            VideoReader(address)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": 0}, "--every 0: must be at least 1"),
        ({"start": -1.0}, "--start -1: must be at least 0"),
        ({"start": 3.0, "stop": 2.0}, "--stop 2: must be after the start, at 3 seconds"),
        ({"fps": 0.0}, "--fps 0: must be above 0"),
        ({"fps": float("nan")}, "--fps nan"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        VideoReader(tmp_path / "a.mp4", **options)


def test_without_pyav_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(tmp_path / "a.mp4", 2)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'yoso-cli\[video\]'"):
        VideoReader(path)


def test_a_stream_is_live_and_its_frames_come(tmp_path: Path) -> None:
    """MPEG-TS over UDP on this machine, as cameras and encoders of television send it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        address = f"udp://127.0.0.1:{free.getsockname()[1]}"
    stop = threading.Event()

    def send() -> None:
        with av.open(f"{address}?pkt_size=1316", "w", format="mpegts") as file:
            stream: Any = file.add_stream("mpeg2video", rate=25)
            stream.height, stream.width, stream.pix_fmt, stream.codec_context.gop_size = 64, 96, "yuv420p", 5
            place = 0
            while not stop.wait(0.01):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(scene(place % 64), format="rgb24")))
                place += 1

    sender = threading.Thread(target=send)
    sender.start()
    try:
        with VideoReader(address) as reader:
            assert reader.live
            assert reader.count is None
            frames = list(itertools.islice(reader, 10))
    finally:
        stop.set()
        sender.join()
    # UDP may lose some of them.
    assert len(frames) == 10
    assert all(after.time > before.time for before, after in itertools.pairwise(frames))
