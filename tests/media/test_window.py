"""A window where there is a display, and a plain refusal where there is none."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from yoso_cli.errors import UsageError
from yoso_cli.media.window import Window


def test_without_a_display_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tkinter")
    monkeypatch.delenv("DISPLAY", raising=False)
    if sys.platform == "darwin":
        pytest.skip("Tk needs no DISPLAY there")
    with pytest.raises(UsageError, match="--show needs a display, and there is none") as caught:
        Window("a.mp4")
    assert "Leave it out" in caught.value.hint


def test_without_tk_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(UsageError, match="--show needs Tk, which this Python lacks") as caught:
        Window("a.mp4")
    assert "python3-tk" in caught.value.hint


class Screen:
    """Stands for Tk: 200 x 100 pixels; `pressed` is bound to the keys."""

    def __init__(self) -> None:
        self.bound: dict[str, Any] = {}
        self.shown: list[tuple[int, int]] = []
        self.destroyed = 0

    def title(self, text: str) -> None:
        self.text = text

    def protocol(self, _: str, close: Any) -> None:
        self.closing = close

    def bind(self, key: str, call: Any) -> None:
        self.bound[key] = call

    def winfo_screenwidth(self) -> int:
        return 200

    def winfo_screenheight(self) -> int:
        return 100

    def update(self) -> None:
        pass

    def destroy(self) -> None:
        self.destroyed += 1


def test_pictures_fit_the_screen_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()

    def label(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(pack=lambda: None, configure=lambda image: screen.shown.append(image))

    tk = ModuleType("tkinter")
    tk.__dict__.update(Tk=lambda: screen, Label=label, TclError=RuntimeError)
    monkeypatch.setitem(sys.modules, "tkinter", tk)
    image_tk = ModuleType("PIL.ImageTk")
    image_tk.__dict__.update(PhotoImage=lambda picture: picture.size)
    monkeypatch.setitem(sys.modules, "PIL.ImageTk", image_tk)
    monkeypatch.setattr("PIL.ImageTk", image_tk, raising=False)
    with Window("a.mp4") as window:
        assert window.show(np.zeros((30, 40, 3), np.uint8))
        assert window.show(np.zeros((300, 400, 3), np.uint8))
        assert screen.shown == [(40, 30), (120, 90)]
        screen.bound["q"](None)
        assert not window.show(np.zeros((30, 40, 3), np.uint8))
    assert (screen.text, screen.destroyed, len(screen.shown)) == ("a.mp4", 1, 2)
