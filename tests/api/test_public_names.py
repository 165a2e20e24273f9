"""What `import yoso_cli as yoso` offers, and what it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import yoso_cli as yoso

SOURCE = Path(yoso.__file__).read_text()


def test_the_import_is_light() -> None:
    code = "import sys, yoso_cli; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy', 'yaml')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_name_is_there_and_has_a_docstring() -> None:
    assert len(dir(yoso)) > 30
    for name in dir(yoso):
        assert getattr(yoso, name).__doc__, name


def test_type_checkers_see_the_names_that_python_sees() -> None:
    (block,) = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.name: node.module for node in imports for alias in node.names}
    assert all(alias.name == alias.asname for node in imports for alias in node.names)
    assert typed.keys() == set(dir(yoso))
    assert all(getattr(yoso, name).__module__ == module for name, module in typed.items())


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        _ = yoso.lode  # type: ignore[attr-defined]


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(yoso.__file__).parent / "py.typed").is_file()
