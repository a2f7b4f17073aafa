"""Every mutant that mutmut makes of some files: ``python -m benchmarks.mutants.listing FILE ...``, as JSON on stdout.

Run in the folder that the files' names start from, whose ``pyproject.toml`` has a section for mutmut.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.mutants.substance import Kind, compare

_MANGLED = re.compile(r"(?P<function>x.+)__mutmut_(?P<number>\d+|orig)")
_SEPARATOR = "\u01c1"
"""Between class and method in mutmut's names."""


@dataclass(frozen=True)
class Mutant:
    """One mutant.

    Attributes:
        name: mutmut's.
        file, line: where it differs.
        function: ``name``, or ``Class.name``.
        kind: see ``substance``.
        diff: lines of the function that were taken out (``-``) and put in (``+``).
    """

    name: str
    file: str
    line: int
    function: str
    kind: Kind
    diff: tuple[str, ...]


def mutants_of(file: str, source: str, mutated: str) -> Iterator[Mutant]:
    """The mutants in ``mutated``, which is what mutmut made of the file's ``source``."""
    lines = mutated.splitlines()
    starts = {name: node.lineno for name, node in _functions(ast.parse(source))}
    found: dict[str, dict[str, ast.AST]] = {}
    for name, node in _functions(ast.parse(mutated)):
        mangled = _MANGLED.fullmatch(name.rpartition(".")[2])
        if mangled is not None:
            found.setdefault(mangled["function"], {})[mangled["number"]] = node
    module = file.removesuffix(".py").replace("/", ".")
    for mangled_name, by_number in found.items():
        function = _plain(mangled_name)
        original = by_number.pop("orig")
        for number, node in by_number.items():
            difference = compare(original, node)
            yield Mutant(
                f"{module}.{mangled_name}__mutmut_{number}",
                file,
                starts[function] + difference.line,
                function,
                difference.kind,
                _diff(_text(lines, original), _text(lines, node)),
            )


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Functions of the module by name, methods by ``Class.name``."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}", inner


def _plain(mangled: str) -> str:
    """``x_name`` -> ``name``, ``xǁClassǁname`` -> ``Class.name``."""
    if mangled.startswith(f"x{_SEPARATOR}"):
        return mangled[2:].replace(_SEPARATOR, ".")
    return mangled.removeprefix("x_")


def _text(lines: list[str], node: ast.AST) -> list[str]:
    """The function's own lines, but for its first, which has mutmut's name in it, as long as nothing else is there."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    text = textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno])).split("\n")
    return [text[0].replace(node.name, "f", 1), *text[1:]]


def _diff(one: list[str], other: list[str]) -> tuple[str, ...]:
    changed = difflib.ndiff(one, other)
    return tuple(line[0] + line[2:] for line in changed if line[0] in "-+")


def main(files: list[str]) -> None:
    """Prints a list of mutants for each file."""
    from mutmut.mutation.file_mutation import mutate_file_contents  # it reads its settings when it is imported

    found = []
    for file in files:
        source = Path(file).read_text(encoding="utf-8")
        found += [asdict(mutant) for mutant in mutants_of(file, source, mutate_file_contents(file, source).code)]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
