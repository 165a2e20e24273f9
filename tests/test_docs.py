"""What the documents say is so: commands parse, links lead somewhere, figures are the recipes', the map is complete."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from test_house import FLOORS

from yoso_cli.cli import COMMANDS, yoso
from yoso_cli.conversion.category_file import read_table
from yoso_cli.conversion.mapping_file import read_mapping
from yoso_cli.errors import DataError, RecipeError, RunError, UsageError
from yoso_cli.recipe import file as recipe_file
from yoso_cli.releases.catalog import RELEASES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PAGES = {"README.md": README} | {
    f"docs/{path.name}": path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))
}
"""Path -> text of what a person reads: the README and the pages that it leads to."""
WRITTEN = "\n".join(PAGES.values())
PACKAGED = dict(recipe_file.packaged())

# Longer than any set-up command that a person would trust.
LONGEST_COMMAND = 200
# The README is for a newcomer; what is longer belongs on a page of its own.
LONGEST_README = 300
WIDEST_PROSE = 120


def blocks(language: str) -> list[str]:
    """The pages' code blocks of a language, also those inside a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", WRITTEN, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def section(heading: str) -> str:
    """What stands in the README under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no heading {heading!r}"
    return found[1]


def script(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)


def typed_commands() -> list[str]:
    """Every `yoso ...` line of a code block, the examples of the help among them."""
    whole = re.sub(r" \\\n *", " ", "\n".join([*blocks("sh"), *blocks("text")]))
    lines = re.split(r"\n| && ", whole)
    return sorted({match[1] for line in lines if (match := re.match(r" *(?:Example: )?(yoso .*)", line))})


def words_of(line: str) -> list[str]:
    """The words after `yoso`, without a comment and without what the shell does with the output."""
    words = shlex.split(line, comments=True)[1:]
    ends = [words.index(mark) for mark in (">", ">>", "|") if mark in words]
    return words[: min(ends, default=len(words))]


def parsed(words: list[str]) -> click.Context:
    """The context in which the command would run. Raises click's UsageError when it would not."""
    command: click.Command | None = yoso
    context = click.Context(yoso, info_name="yoso")
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(context, name)
        assert command, f"there is no command {name!r}"
        if isinstance(command, click.Group) and command.invoke_without_command and not commands_in(words):
            return command.make_context(name, words, parent=context)
        # A group with a command has no options here: what follows its name is that command.
        group = isinstance(command, click.Group)
        context = command.make_context(name, [] if group else words, parent=context, resilient_parsing=group)
    return context


def commands_in(words: list[str]) -> list[str]:
    return [word for word in words if not word.startswith("-")]


def without_code(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def test_the_pages_have_the_help_of_every_command() -> None:
    done = script("scripts/help_docs", "--check")
    assert done.returncode == 0, done.stderr


def test_the_readme_names_every_command_and_leads_to_its_help() -> None:
    for name, summary in COMMANDS.items():
        assert f"| [`yoso {name}`](docs/commands.md#yoso-{name}) | {summary} |" in README
        assert f"#yoso-{name}" in anchors(PAGES["docs/commands.md"])


def test_help_keeps_its_examples_on_their_lines() -> None:
    r"""Click knows the character \b; in a raw docstring it is a backslash and a letter, and the lines run together."""
    assert [line for line in WRITTEN.splitlines() if "\\b" in line] == []


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= LONGEST_README


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_one_click_from_the_readme(page: str) -> None:
    assert page == "README.md" or page in {target.split("#")[0] for target in links(README)}


@pytest.mark.parametrize("page", PAGES)
def test_prose_is_wrapped(page: str) -> None:
    prose = [line for line in without_code(PAGES[page]).splitlines() if not re.match(r"\||!\[|#", line)]
    assert [line for line in prose if len(line) > WIDEST_PROSE] == []


@pytest.mark.parametrize(("name", "end"), [("demo", "yoso demo"), ("tests", "scripts/test")])
def test_each_set_up_command_is_one_line_that_starts_from_nothing(name: str, end: str) -> None:
    done = script("scripts/readme_command", name)
    assert done.returncode == 0, done.stderr
    (command,) = done.stdout.splitlines()
    steps = command.split(" && ")
    assert steps[0].startswith("python3 -m venv ")
    assert steps[-1] == end
    assert len(command) < LONGEST_COMMAND


@pytest.mark.parametrize("words", [["nonsense"], []])
def test_a_set_up_command_that_is_not_there_is_an_error(words: list[str]) -> None:
    done = script("scripts/readme_command", *words)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_enough_commands_are_found_to_mean_anything() -> None:
    assert {words_of(line)[0] for line in typed_commands()} == set(COMMANDS)


@pytest.mark.parametrize("line", typed_commands())
def test_every_command_line_on_the_pages_parses(line: str) -> None:
    """Its commands and options exist and take such values; nothing is run."""
    parsed(words_of(line))


@pytest.mark.parametrize("line", [line for line in typed_commands() if "--set" in line])
def test_every_value_that_the_pages_set_can_be_set(line: str) -> None:
    context = parsed(words_of(line))
    recipe = context.params.get("recipe") or "coco"
    recipe_file.load(recipe if recipe in PACKAGED else "coco", context.params["overrides"])


def test_every_command_in_the_prose_exists() -> None:
    for name in re.findall(r"`yoso ([a-z]\w*)", WRITTEN):
        assert name in COMMANDS


def test_every_recipe_in_the_prose_exists() -> None:
    named = set(re.findall(r"\bablation/([a-z0-9-]+)", WRITTEN + CHANGELOG)) - {""}
    assert named
    assert {f"ablation/{name}" for name in named} <= set(PACKAGED)
    for line in typed_commands():
        recipe = parsed(words_of(line)).params.get("recipe")
        assert recipe is None or recipe in PACKAGED or recipe in ("mine.yaml", "fine.yaml")


def test_the_papers_figures_are_those_of_the_recipes() -> None:
    rows = re.findall(r"^\| `([\w/-]+)` \| (.+) \|$", section("Results beside the paper's"), re.MULTILINE)
    assert len(rows) == 4
    for name, cells in rows:
        paper = recipe_file.read(PACKAGED[name]).paper
        expected = [paper.table, paper.pq, paper.pq_things, paper.pq_stuff, f"{paper.fps} ({paper.gpu})"]
        assert cells.split(" | ")[:5] == [str(value) for value in expected]


def test_the_released_weights_are_used_as_their_page_says() -> None:
    cells = r"^\| `(\w+)` \| (\d+) \| (\d+), (\d+) \| ([\d.]+) \|$"
    rows = re.findall(cells, PAGES["docs/weights.md"], re.MULTILINE)
    assert [name for name, *_ in rows] == list(RELEASES)
    for name, *told in rows:
        recipe = recipe_file.load(RELEASES[name].recipe)
        used = recipe.inference
        facts = [RELEASES[name].classes, used.short_edge, used.long_edge, recipe.paper.pq]
        assert told == [str(value) for value in facts]


def test_the_short_table_of_speed_is_a_part_of_the_whole() -> None:
    rows = re.findall(r"^\| \d+x\d+, .*\|$", section("Speed"), re.MULTILINE)
    assert rows
    assert [row for row in rows if f"\n{row}" not in PAGES["docs/speed.md"]] == []


def test_the_recipes_on_the_pages_are_such(tmp_path: Path) -> None:
    recipes = [text for text in blocks("yaml") if not text.startswith(("categories:", "classes:"))]
    assert recipes
    for recipe in recipes:
        (tmp_path / "mine.yaml").write_text(recipe)
        assert recipe_file.read(tmp_path / "mine.yaml").name in ("mine", "fine")


def test_the_categories_on_the_pages_are_such(tmp_path: Path) -> None:
    (text,) = (text for text in blocks("yaml") if text.startswith("categories:"))
    (tmp_path / "mine.yaml").write_text(text)
    assert [category.name for category in read_table(str(tmp_path / "mine.yaml")).categories] == ["road", "car"]


def test_the_mapping_on_the_pages_is_such(tmp_path: Path) -> None:
    (text,) = (text for text in blocks("yaml") if text.startswith("classes:"))
    (tmp_path / "map.yaml").write_text(text)
    assert list(read_mapping(tmp_path / "map.yaml").targets) == ["van", "sky", "person"]


def test_the_slip_on_the_pages_is_answered_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = re.search(r"`(mine\.yaml:\d+: ([\w.]+): .*?)`", WRITTEN)
    assert answer
    line, (group, key) = int(answer[1].split(":")[1]), answer[2].split(".")
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("\n" * (line - 1) + f"{group}: {{{key}: 1}}\n")
    with pytest.raises(RecipeError) as caught:
        recipe_file.load("mine.yaml")
    assert caught.value.problems == [answer[1]]


def links(text: str) -> Iterator[str]:
    yield from (target.strip() for target in re.findall(r"\]\(([^)]*)\)", text))
    yield from re.findall(r"(?:src|href)=\"([^\"]*)\"", text)


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def local_links() -> list[tuple[str, str]]:
    documents = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        (str(document.relative_to(ROOT)), target)
        for document in documents
        for target in links(document.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:", target)
    ]


@pytest.mark.parametrize(("document", "target"), local_links())
def test_every_local_link_leads_somewhere(document: str, target: str) -> None:
    name, _, anchor = target.partition("#")
    path = ((ROOT / document).parent / name).resolve() if name else ROOT / document
    assert path.is_relative_to(ROOT), "a link must not leave the repository"
    assert path.exists()
    if anchor:
        assert f"#{anchor}" in anchors(path.read_text(encoding="utf-8"))


def test_the_readme_shows_a_picture() -> None:
    assert re.search(r"!\[[^\]]{20,}\]\(docs/pictures/demo\.png\)", README), "with words for those who cannot see it"


def test_the_exit_codes_are_documented() -> None:
    codes = set(map(int, re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)))
    errors = {one.exit_code for one in (DataError, RunError, UsageError, RecipeError)}
    assert codes == errors | {0, 130}


def chart_of_the_code() -> str:
    (chart,) = re.findall(r"```text\n(yoso_cli/.*?)```", PAGES["docs/design.md"], re.DOTALL)
    return str(chart)


def test_the_map_has_the_floors_that_the_house_test_holds() -> None:
    """From the top, room by room; the package's own files aside."""
    package = chart_of_the_code().split("recipes/")[0]
    drawn = [re.findall(r"^  (\w+(?:, \w+)?)", floor, re.MULTILINE) for floor in package.split("\n --\n")]
    floors = [{room for names in floor for room in names.split(", ")} - {"__init__"} for floor in drawn]
    top = {"__main__", "cli", "commands", "api"}
    assert floors[0] == top
    assert [set(floor) for floor in FLOORS if not set(floor) <= top] == floors[1:]


def test_the_map_names_every_file_of_the_package() -> None:
    chart = chart_of_the_code()
    words = set(re.findall(r"\w+", chart))
    files = [path for path in (ROOT / "yoso_cli").rglob("*.py") if path.name != "__init__.py"]
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    assert [path.name for path in [*files, *scripts] if path.stem not in words] == []


def test_the_map_names_no_room_that_is_gone() -> None:
    chart = chart_of_the_code()
    rooms = re.findall(r"^( *)(\w+)/", chart, re.MULTILINE)
    assert len(rooms) > 10
    gone = [name for indent, name in rooms if not (ROOT / ("yoso_cli" if indent else "") / name).is_dir()]
    assert gone == []


def test_the_changelog_has_the_present_version() -> None:
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert f"## [{version[1]}]" in CHANGELOG
