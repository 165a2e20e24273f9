"""The templates of the page: markup in which no text from data is ever markup, filled with figures.

Whatever comes from data (names of classes and of files, paths) is escaped by Jinja where it enters, and a content
security policy lets nothing run or load but this package's own script and style and the pictures inside the file. Names
are cut, lists have an end and pictures a budget, so that no dataset makes a page of more than MOST_BYTES.
"""

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources

from yoso_cli.evaluation.per_image import Interval
from yoso_cli.runtime.words import counted

MOST_BYTES = 8_000_000
"""No page is larger: it can be sent by mail and opens at once. Pictures take 5 MB of it, the table of classes 2 MB."""

# The longest class of the published datasets has 57 letters.
_LONGEST_NAME = 80


def render(
    template: str, values: Mapping[str, object], *, style: str, script: str = "", package: str = "yoso_cli.page"
) -> str:
    """A whole document: a template of `package`, or of this one, filled with `values`.

    Args:
        template: that extends base.html.
        values: what it shows.
        style: put into the document, with a policy that allows it; empty if a server sends both.
        script: likewise; empty for none.
        package: of the template.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("yoso_cli.page")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Sorted keys would fail where a dictionary has keys of two types, and say nothing.
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {"cut": cut, "percent": percent, "span": span, "counted": counted}
    environment.globals |= values
    allowed = _digest(script) if script else "none"
    return environment.get_template(template).render(style=style, script=script, digest=allowed)


def cut(text: str, most: int = _LONGEST_NAME) -> str:
    """The same text, or its two ends where it is longer than `most` letters."""
    half = most // 2
    return text if len(text) <= most else f"{text[: most - half - 1]}…{text[-half:]}"


def percent(fraction: float | None) -> str:
    """A figure as people read it."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"


def span(interval: Interval | None) -> str:
    """An interval as people read it."""
    return "" if interval is None else f"{100 * interval.low:.1f} – {100 * interval.high:.1f}"


def own_file(name: str, package: str = "yoso_cli.page") -> str:
    """A style or script of this package, or of another one."""
    return (resources.files(package) / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """What a content security policy calls a script that it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
