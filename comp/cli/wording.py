"""Where texts of the library, which speak Python, come to speak of options: `folds=5` is shown as --folds 5.

The library names arguments in backticks, as Python writes them: `folds`, `only=[0, 2]`, `partial=True`,
`allow={"unreadable-image": "REASON"}`, several with a comma between them. From Python these texts stay as they are.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer


@dataclass(frozen=True)
class Option:
    """How the command line spells an argument; ``negative`` is the other flag of a switch, ``multiple`` that it repeats."""

    flag: str
    negative: str = ""
    multiple: bool = False


def options_of(app: typer.Typer, arguments: Sequence[str]) -> dict[str, Option]:
    """The options of the verb that a command line begins with, by the names of their arguments in Python."""
    verbs: Mapping[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    verb = verbs.get(arguments[0]) if arguments else None
    options = [p for p in verb.params if p.param_type_name == "option"] if verb is not None else []
    return {
        str(p.name): Option(p.opts[-1], (*p.secondary_opts, "")[0], bool(p.multiple and not p.is_flag))
        for p in options
    }


def in_options(options: Mapping[str, Option]) -> Callable[[str], str]:
    """The function that shows the arguments of a text as ``options``; all else, other backticks too, stays as it is."""

    def reworded(text: str) -> str:
        parts = text.split("`")
        shown, number = parts[0], 1
        while number < len(parts):
            spelled = _spelled(parts[number], options) if _stands_alone(parts, number) else None
            if spelled is None:
                shown, number = f"{shown}`{parts[number]}", number + 1
            else:
                shown, number = f"{shown}{spelled}{parts[number + 1]}", number + 2
        return shown

    return reworded


def _stands_alone(parts: Sequence[str], number: int) -> bool:
    """Whether a part of a text stands between two single backticks."""
    last = len(parts) - 1
    doubled = (number > 1 and not parts[number - 1]) or (number + 1 < last and not parts[number + 1])
    return number < last and not doubled


def _spelled(code: str, options: Mapping[str, Option]) -> str | None:
    """An argument, or several with values, as options; None where that is not what the code is."""
    if code in options:
        return options[code].flag
    if "=" not in code or code != code.strip():
        return None
    try:
        call = ast.parse(f"f({code})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(call, ast.Call) or call.args:
        return None
    words: list[str] = []
    for argument in call.keywords:
        option = options.get(argument.arg or "")
        more = _words(argument.value, option, code) if option is not None else None
        if more is None:
            return None
        words += more
    return " ".join(words)


def _words(value: ast.expr, option: Option, code: str) -> list[str] | None:
    """An option with its value, as often as it has values; None for a value that no command line takes."""
    if isinstance(value, ast.Constant) and isinstance(value.value, bool):
        flag = option.flag if value.value else option.negative
        return [flag] if flag else None
    items = _items(value, code)
    if items is None:
        return None
    if not option.multiple:
        items = [",".join(items)]
    return [word for item in items for word in (option.flag, item)]


def _items(value: ast.expr, code: str) -> list[str] | None:
    """The parts of a value as they are typed: of a list its items, of a table KEY=VALUE."""
    if isinstance(value, ast.List | ast.Tuple):
        every = [_item(item, code) for item in value.elts]
    elif isinstance(value, ast.Dict):
        keys = [_item(key, code) if key is not None else None for key in value.keys]
        every = [
            None if key is None or (text := _item(item, code)) is None else f"{key}={text}"
            for key, item in zip(keys, value.values, strict=True)
        ]
    else:
        every = [_item(value, code)]
    whole = [item for item in every if item is not None]
    return whole if len(whole) == len(every) else None


def _item(value: ast.expr, code: str) -> str | None:
    if isinstance(value, ast.Name):  # what stands for a value: FILE
        return value.id
    if not isinstance(value, ast.Constant):
        return None
    if isinstance(value.value, str):
        text = value.value
        return f'"{text}"' if any(c.isspace() for c in text) and '"' not in text else text
    if value.value is ...:
        return "…"
    return ast.get_source_segment(f"f({code})", value)  # a number as it was written: 1e-6
