"""`yoso view`: browse a dataset, a run or predictions in a browser."""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console, options
from yoso_cli.errors import UsageError
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.view.content import Content
    from yoso_cli.view.server import ViewServer

# Pictures in a file.
MOST = 500


@click.command(name="view")
@click.argument("what", metavar="SET|RUN")
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Show these predictions beside the truth: a folder or JSON of any tool, as for `yoso eval --predictions`.",
)
@click.option("--split", default="", metavar="NAME", show_default="its val split", help="The split to show.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write one HTML file with some pictures inside instead, at most 25 MB.",
)
@click.option(
    "--count",
    type=click.IntRange(1, MOST),
    default=60,
    show_default=True,
    metavar="N",
    help="With --html: at most so many pictures, the worst ones where errors are known.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", show_default="8765, or a free one", help="To serve at."
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@options.workers_option
@options.device_option
@options.datasets_option
@options.force_option
@options.json_option
def command(
    what: str,
    predictions: Path | None,
    split: str,
    html: Path | None,
    count: int,
    port: int | None,
    no_browser: bool,
    workers: int | None,
    device: str,
    root: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Browse a dataset, or predictions beside their truth, in a page on this machine.

    SET is a dataset as for `yoso check`; RUN is a run folder, shown beside the truth that it is evaluated on. Pictures
    are filtered by class, size, number of segments, kind of error and score, and shown as photo, truth, prediction and
    errors. Classes can be hidden. The address of the page leads to the picture that is shown.

    The page is served to this machine and the printed address alone, until Ctrl-C. Thumbnails are made as they are
    scrolled to.

    \b
    Example:
      yoso view mine
      yoso view runs/mine-001 --predictions predictions
      yoso view coco --split val2017 --html coco.html
    """
    from yoso_cli.api.view import open_view

    if html is not None and html.exists() and not force:
        raise UsageError(f"{html}: exists already.", hint="Add --force to overwrite it, or name another file.")
    content = open_view(
        what,
        predictions=predictions,
        split=split,
        root=root,
        device=device,
        workers=workers,
        progress=console.TERMINAL,
    )
    if html is not None:
        _write(content, html, count, as_json)
    else:
        _serve(content, port, not no_browser, as_json)
    if not as_json:
        console.next_step(_next(what, predictions))


def _write(content: "Content", html: Path, count: int, as_json: bool) -> None:
    from yoso_cli.api.view import write_view

    made = write_view(content, html, count=count, progress=console.TERMINAL)
    text = (
        f"{html}: {made.pictures:,} of {counted(made.of, 'picture')}, {made.size / 1e6:.1f} MB (open it in a browser)"
    )
    console.result({"html": str(html), "pictures": made.pictures, "of": made.of, "bytes": made.size}, text, as_json)


def _serve(content: "Content", port: int | None, with_browser: bool, as_json: bool) -> None:
    from yoso_cli.view.server import ViewServer

    with ViewServer(content, port, console.say) as server:
        console.result({"url": server.url, "pictures": len(content)}, server.url, as_json)
        sys.stdout.flush()
        _say_how_to_reach(server, len(content))
        if with_browser:
            _open_browser(server.url)
        _serve_until_stopped(server)


def _next(what: str, predictions: Path | None) -> str:
    named = shlex.quote(what)
    if (Path(what) / "recipe.yaml").is_file():
        return f"yoso eval {named}"
    if predictions is None:
        return f"yoso stats {named}"
    return f"yoso eval --predictions {shlex.quote(str(predictions))} --truth {named}"


def _serve_until_stopped(server: "ViewServer") -> None:
    """Until Ctrl-C or SIGTERM, which are how this ends, and no failure."""
    import signal
    import threading

    previous = signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        console.say("Stopped.")
    finally:
        signal.signal(signal.SIGTERM, previous)


def _say_how_to_reach(server: "ViewServer", pictures: int) -> None:
    console.say(f"{counted(pictures, 'picture')}; Ctrl-C ends it.")
    if "SSH_CONNECTION" in os.environ:
        console.say(
            f"From another machine: `ssh -L {server.port}:127.0.0.1:{server.port} HOST` there, then open the address."
        )


def _open_browser(url: str) -> None:
    """Where there is a screen: without one, a browser of the terminal might start."""
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        import webbrowser

        webbrowser.open(url)
