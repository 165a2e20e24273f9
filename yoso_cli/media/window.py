"""A window that shows pictures as they come, where there is a display."""

from types import TracebackType

from PIL import Image

from yoso_cli.errors import UsageError
from yoso_cli.panoptic.types import Rgb

# Of the screen, as frames and bars of the desktop take the rest.
_SHARE = 0.9


class Window:
    """A window of the desktop. A context manager, for the main thread.

    Args:
        title: of the window.

    Raises:
        UsageError: there is no display, or this Python has no Tk.
    """

    def __init__(self, title: str) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError:
            hint = "Install it (python3-tk on Debian and Ubuntu), or leave out --show."
            raise UsageError("--show needs Tk, which this Python lacks.", hint=hint) from None
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            hint = "Leave it out, or connect with ssh -X."
            raise UsageError("--show needs a display, and there is none.", hint=hint) from error
        self._photo: ImageTk.PhotoImage | None = None
        self._open = True
        self._root.title(title)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        for key in ("<Escape>", "q"):
            self._root.bind(key, lambda _: self.close())

    def __enter__(self) -> "Window":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, image: Rgb) -> bool:
        """Shows a picture, uint8 (H, W, 3), scaled down to fit the screen; False once the window is closed."""
        from PIL import ImageTk

        if not self._open:
            return False
        picture = Image.fromarray(image)
        screen = self._root.winfo_screenwidth(), self._root.winfo_screenheight()
        picture.thumbnail((round(_SHARE * screen[0]), round(_SHARE * screen[1])))
        # Tk shows it only as long as somebody holds it.
        self._photo = ImageTk.PhotoImage(picture)
        self._label.configure(image=self._photo)
        self._root.update()
        return self._open

    def close(self) -> None:
        """Closes it, as the window's own button, Escape and q do."""
        if self._open:
            self._open = False
            self._root.destroy()
