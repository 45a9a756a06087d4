"""Benchmarks take from the package only what it has: they run seldom, and would not tell."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / "benchmarks").rglob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != "ukulele":
            continue
        module = import_module(str(node.module))
        for name in (alias.name for alias in node.names):
            part = hasattr(module, "__path__") and find_spec(f"{node.module}.{name}") is not None
            assert part or hasattr(module, name), f"{script.name}:{node.lineno}: {node.module} has no {name}"
