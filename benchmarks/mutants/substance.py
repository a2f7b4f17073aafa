"""What of a mutant is more than words: a function and its mutant are compared node by node.

Not worth a test, and so never sampled:

    words       prose in a message, of an error, a log line or a warning
    assertion   ``strict`` of a zip whose sides are equally long by construction
    typing      the type that ``cast`` names, which nothing reads when the program runs
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

Kind = Literal["substance", "words", "assertion", "typing"]
_LOGGERS = frozenset({"log", "_log", "_LOG", "LOG", "logger", "logging", "warnings"})


@dataclass(frozen=True)
class Difference:
    """Where two functions part.

    Attributes:
        line: of the first function's source, from its ``def`` line (0).
        kind: what the difference is about.
    """

    line: int
    kind: Kind


def compare(function: ast.AST, mutant: ast.AST) -> Difference:
    """The place where the mutant differs, and whether that is more than words.

    Raises:
        ValueError: it does not differ.
    """
    path = _part(function, mutant, ())
    if path is None:
        raise ValueError("a mutant that differs in nothing")
    lines = [node.lineno for node, _ in path if hasattr(node, "lineno")]
    return Difference(lines[-1] - lines[0], _kind(path))


Step = tuple[ast.AST, ast.AST | None]
"""A node of the function, and what stands in its place in the mutant."""


def _part(one: ast.AST, other: ast.AST | None, above: tuple[Step, ...]) -> tuple[Step, ...] | None:
    """The way from the root down to the outermost node that is not the same, or whose parts are not as many."""
    path = (*above, (one, other))
    if type(one) is not type(other) or other is None:
        return path
    for (name, mine), (_, theirs) in zip(ast.iter_fields(one), ast.iter_fields(other), strict=True):
        if name == "name" and len(above) == 0:
            continue  # mutmut names the function anew
        if isinstance(mine, list) and isinstance(theirs, list):
            if len(mine) != len(theirs):
                return path
            pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if isinstance(a, ast.AST)]
            if any(a != b for a, b in zip(mine, theirs, strict=True) if not isinstance(a, ast.AST)):
                return path
        elif isinstance(mine, ast.AST):
            pairs = [(mine, theirs)]
        elif mine != theirs or type(mine) is not type(theirs):
            return path
        else:
            continue
        for a, b in pairs:
            found = _part(a, b if isinstance(b, ast.AST) else None, path)
            if found is not None:
                return found
    return None


def _kind(path: tuple[Step, ...]) -> Kind:
    node, mutated = path[-1]
    changed = [node]
    if isinstance(node, ast.Call) and isinstance(mutated, ast.Call):
        changed = _arguments_that_differ(node, mutated)
    above = [step for step, _ in path]
    calls = [step for step in above if isinstance(step, ast.Call)]
    if any(_name(call.func).partition(".")[0] in _LOGGERS for call in calls):
        return "words"
    if all(_is_prose(part) for part in changed) or _in_a_message(above):
        return "words"
    keywords = [part for part in (*above, *changed) if isinstance(part, ast.keyword)]
    if any(keyword.arg == "strict" for keyword in keywords) and any(_name(call.func) == "zip" for call in calls):
        return "assertion"
    if any(_name(call.func) == "cast" and call.args and _holds(call.args[0], changed) for call in calls):
        return "typing"
    return "substance"


def _arguments_that_differ(call: ast.Call, mutant: ast.Call) -> list[ast.AST]:
    """The argument that was taken out; the call itself where it is not that."""
    given = [*call.args, *call.keywords]
    left = [*mutant.args, *mutant.keywords]
    if len(given) != len(left) + 1:
        return [call]
    for one, other in zip_longest(given, left):
        if other is None or ast.dump(one) != ast.dump(other):
            return [one]
    return [call]


def _is_prose(node: ast.AST) -> bool:
    """A string with a blank in it, or an f-string with one in its fixed parts."""
    if isinstance(node, ast.keyword):
        return _is_prose(node.value)
    if isinstance(node, ast.JoinedStr):
        return any(_is_prose(part) for part in node.values)
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value


def _in_a_message(above: list[ast.AST]) -> bool:
    """Inside an f-string of prose."""
    return any(isinstance(node, ast.JoinedStr) and _is_prose(node) for node in above)


def _holds(tree: ast.AST, nodes: list[ast.AST]) -> bool:
    return any(node is one for node in ast.walk(tree) for one in nodes)


def _name(function: ast.expr) -> str:
    return ast.unparse(function)
