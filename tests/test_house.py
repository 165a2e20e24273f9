"""The laws of the house: arrows run down, torch stays in its half, nothing happens at import, names say what is in."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "yoso_cli"

# The floors from the top: a file imports only from its own room and from rooms on floors below.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("api",),
    ("view",),
    ("export",),
    ("page", "inspection", "conversion", "inference", "training"),
    ("datasets", "drawing", "evaluation", "loading", "media", "model"),
    ("panoptic", "releases", "run_folder"),
    ("recipe",),
    ("runtime",),
    ("atomic",),
    ("locks",),
    ("errors",),
)
ROOMS = [room for floor in FLOORS for room in floor]
# Below the use cases nobody knows recipes, but for the folder that keeps one; class tables are YAML read with the
# same care.
KNOW_RECIPES = {"commands", "api", "run_folder", "conversion"}
TORCH_HALF = {"model", "loading", "inference", "training", "export"}

FORBIDDEN_WORDS = {"utils", "util", "common", "helpers", "helper", "misc", "manager", "handler", "processor", "tmp"}
LONGEST_FUNCTION = 60

TORCH = {"torch", "torchvision"}


@dataclass(frozen=True)
class Import:
    """One import statement's module, and where it stands."""

    module: str
    in_function: bool
    for_types: bool


def files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "recipes" not in path.relative_to(PACKAGE).parts)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in files()}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def is_torch_free(module: str) -> bool:
    return room_of(module) not in TORCH_HALF


def imports(path: Path) -> list[Import]:
    return list(_imports(ast.parse(path.read_text()), False, False))


def _imports(node: ast.AST, in_function: bool, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        types = for_types or (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"))
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, inside, types) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                yield Import(whole if whole in MODULES else str(child.module), inside, types)
        else:
            yield from _imports(child, inside, types)


def floor_of(room: str) -> int:
    return next(place for place, floor in enumerate(FLOORS) if room in floor)


def ours(module: str) -> bool:
    return module.split(".")[0] == "yoso_cli"


@pytest.mark.parametrize("module", MODULES)
def test_arrows_run_down(module: str) -> None:
    """A file imports from its own room and from floors below, inside functions and for types too."""
    room = room_of(module)
    if not room:
        return
    assert room in ROOMS, f"{room} is a new room: give it its floor here"
    allowed = {room, *(one for floor in FLOORS[floor_of(room) + 1 :] for one in floor)}
    found = {one.module for one in imports(MODULES[module]) if ours(one.module) and room_of(one.module)}
    wrong = {one for one in found if room_of(one) not in allowed}
    assert not wrong, f"{module} may import from {sorted(allowed)} and imports {sorted(wrong)}"


@pytest.mark.parametrize("module", MODULES)
def test_click_stops_at_commands(module: str) -> None:
    if room_of(module) not in {"commands", "cli"}:
        assert not [one.module for one in imports(MODULES[module]) if one.module.split(".")[0] == "click"]


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) == "commands"])
def test_commands_share_options_console_and_next_step_alone(module: str) -> None:
    """Parts of a command begin with its name, and only the command imports them."""
    found = {one.module.rpartition(".")[2] for one in imports(MODULES[module]) if room_of(one.module) == "commands"}
    own = module.rpartition(".")[2] + "_"
    assert {one for one in found if not one.startswith(own)} <= {"options", "console", "next_step"}


@pytest.mark.parametrize("module", MODULES)
def test_recipes_stop_at_the_use_cases(module: str) -> None:
    """Whatever lies below takes plain arguments, so that any part can be made in one line."""
    if room_of(module) in {"", "recipe", *KNOW_RECIPES}:
        return
    assert not [one.module for one in imports(MODULES[module]) if room_of(one.module) == "recipe"]


def defers(module: str) -> bool:
    """Whether a module may import torch inside its functions: use cases, commands, devices and process groups."""
    return room_of(module) in {"", "commands", "api", "runtime"}


def reached(module: str) -> set[str]:
    """Every module that `module` can import at run time at any depth, short of what a use case defers."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in MODULES:
            own = [one for one in imports(MODULES[name]) if not one.for_types]
            waiting += [one.module for one in own if not (one.in_function and defers(name))]
    return seen


@pytest.mark.parametrize("module", [module for module in MODULES if is_torch_free(module)])
def test_torch_stays_in_its_half(module: str) -> None:
    """No file of the torch-free half can reach torch, at any depth; only what `defers` names may in a function."""
    assert not {name for name in reached(module) if name.split(".")[0] in TORCH}


def python(code: str) -> str:
    """What `code` prints in a fresh interpreter that knows this package."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


def test_importing_the_torch_free_half_loads_no_torch_and_does_nothing() -> None:
    """Importing every torch-free module neither loads torch (or what draws), nor prints, nor reads the environment."""
    names = [module for module in MODULES if is_torch_free(module) and not module.endswith("__main__")]
    code = f"""
import importlib, os, sys
original = os._Environ.__getitem__
def watched(self, key):
    frame = sys._getframe(1)
    while frame and frame.f_code.co_filename.startswith(("<frozen", os.__file__)):
        frame = frame.f_back
    if frame and "yoso_cli" in frame.f_code.co_filename:
        print("environment read:", key, frame.f_code.co_filename)
    return original(self, key)
os._Environ.__getitem__ = watched
for name in {names!r}:
    importlib.import_module(name)
    loaded = {{"torch", "torchvision", "matplotlib", "jinja2"}} & set(sys.modules)
    assert not loaded, (name, loaded)
"""
    assert python(code) == ""


def test_help_needs_neither_torch_nor_numpy() -> None:
    """`yoso --help` starts at once: it imports no command, no torch, no numpy, no YAML."""
    code = """
import contextlib, io, sys
from yoso_cli.cli import run
with contextlib.redirect_stdout(io.StringIO()) as told:
    assert run(["--help"]) == 0
assert "recipe" in told.getvalue()
print([name for name in sys.modules if name.split(".")[0] in {"torch", "numpy", "yaml", "rich"} or "commands." in name])
"""
    assert python(code) == "[]"


def test_help_of_every_command_needs_no_torch() -> None:
    """The help of each command comes without torch."""
    code = """
import contextlib, importlib.util, io, sys
from yoso_cli.cli import COMMANDS, run
for name in COMMANDS:
    if importlib.util.find_spec(f"yoso_cli.commands.{name}") is None:
        continue  # another test says which are missing
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert run([name, "--help"]) == 0, name
    assert f"yoso {name}" in told.getvalue()
    assert not {"torch", "torchvision", "numpy"} & set(sys.modules), name
"""
    assert python(code) == ""


def test_every_command_of_the_table_has_its_file_and_every_command_its_line() -> None:
    from yoso_cli.cli import COMMANDS

    defining = {path.stem for path in (PACKAGE / "commands").glob("*.py") if "\ndef command(" in path.read_text()}
    assert defining == set(COMMANDS)


# What a module may not touch while it is imported: the environment, the log, the device, the disk, the terminal.
AT_IMPORT = (
    *("os.environ", "os.getenv", "os.getcwd", "sys.argv", "Path.cwd", "Path.home", "open", "print"),
    *("logging", "warnings", "random", "np.random", "time"),
    *("torch.cuda", "torch.backends", "torch.device", "torch.manual_seed", "torch.set_num_threads"),
)


def executed_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: all but the bodies of functions and annotations."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            defaults = [*child.args.defaults, *(one for one in child.args.kw_defaults if one)]
            for part in [*child.decorator_list, *defaults]:
                yield part
                yield from executed_at_import(part)
        elif not isinstance(child, ast.Lambda) and not is_main_guard(child):
            yield child
            yield from executed_at_import(child)


def is_main_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_happens_at_import(module: str) -> None:
    """No module-level line reads the environment, sets up a log, asks for a device or touches the disk."""
    used = set()
    for node in executed_at_import(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Call):
            used.add(ast.unparse(node.func))
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "sys.argv"):
            used.add(ast.unparse(node))
    wrong = {one for one in used if one.startswith(tuple(f"{bad}." for bad in AT_IMPORT)) or one in AT_IMPORT}
    assert not wrong


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_absolute(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    relative = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    assert not relative, f"relative imports on lines {relative}"


def test_every_init_but_the_first_is_empty() -> None:
    """The import line names the home of what it imports; the package itself names what Python users need."""
    inner = [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]
    assert [path for path in inner if path.read_text().strip()] == []


def test_no_file_is_a_drawer() -> None:
    """A file is a noun of the paper or of the COCO panoptic world."""
    names = [path.stem for folder in (PACKAGE, ROOT / "tests", ROOT / "scripts") for path in folder.rglob("*.py")]
    assert [name for name in names if FORBIDDEN_WORDS & set(name.split("_"))] == []


@pytest.mark.parametrize("module", MODULES)
def test_functions_fit_in_the_head(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    long = {node.name for node in functions if (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION}
    assert not long


def test_the_floors_are_complete() -> None:
    """Each room of the table exists, so that no floor outlives its rooms."""
    assert {room_of(module) for module in MODULES} - {""} == set(ROOMS)


def test_no_test_needs_a_tool_that_a_newcomer_lacks() -> None:
    """One import at the top of a file ends the whole run; `conftest.oracle` skips the test, or fails in CI."""
    optional = {"panopticapi", "hotcoco", "tensorboard", "wandb", "onnx", "onnxruntime", "openvino", "nncf"}
    found = {
        (path.name, one.module)
        for path in (ROOT / "tests").rglob("*.py")
        for one in imports(path)
        if one.module.split(".")[0] in optional and not one.in_function
    }
    assert not found
