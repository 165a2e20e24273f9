"""The options of a picture's style, as any command can have them."""

from collections.abc import Sequence

import click
import pytest
from click.testing import CliRunner

from yoso_cli.commands.options import drawing_options
from yoso_cli.drawing.style import Style
from yoso_cli.errors import UsageError


def style_of(*line: str) -> Style:
    found: list[Style] = []

    @click.command()
    @drawing_options
    def command(style: Style) -> None:
        found.append(style)

    outcome = CliRunner().invoke(command, line)
    if outcome.exception and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    assert outcome.exit_code == 0, outcome.output
    return found[0]


@pytest.mark.parametrize(
    ("line", "style"),
    [
        ((), Style()),
        (("--labels", "name,id,score"), Style(("name", "id", "score"))),
        (("--labels", "none", "--no-legend"), Style((), legend=False)),
        (("--color", "class", "--alpha", "0.3"), Style(color="class", alpha=0.3)),
        (("--side-by-side",), Style(side_by_side=True)),
        (("--only", "person,car", "--only", "sky"), Style(only=("person", "car", "sky"))),
        (("--background", "transparent"), Style(background="transparent")),
    ],
)
def test_options_make_a_style(line: Sequence[str], style: Style) -> None:
    assert style_of(*line) == style


def test_a_label_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="Did you mean 'name'"):
        style_of("--labels", "naem")
