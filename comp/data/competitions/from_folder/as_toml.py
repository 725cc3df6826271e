"""A proposal as the text of a competition.toml: each line with its evidence, and what is not sure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from comp.data.competitions.from_folder.proposal import Fact, Proposal

_SECTIONS = ("kaggle", "folds", "data", "template")
_WIDE = 100  # letters of a line, past which its evidence stands above it


def as_toml(proposal: Proposal, slug: str, title: str) -> str:
    """The text of a competition.toml; ``unsure`` in it names the keys that a person should settle."""
    lines = [f"slug = {_value(slug)}", f"title = {_value(title)}"]
    top = {key: fact for key, fact in proposal.facts.items() if "." not in key}
    lines += [line for key, fact in top.items() for line in _line(key, fact)]
    unsure = list(proposal.unsure)
    if unsure:
        lines += [
            "# what a run names in its first lines until it is taken out here",
            f"unsure = {_value(unsure)}",
        ]
    lines += [f"# {note}" for note in proposal.notes]
    for section in _SECTIONS:
        facts = {key: fact for key, fact in proposal.facts.items() if key.startswith(f"{section}.")}
        if facts:
            lines += ["", f"[{section}]"]
            lines += [line for key, fact in facts.items() for line in _line(key.partition(".")[2], fact)]
    return "\n".join(lines) + "\n"


def _line(key: str, fact: Fact) -> list[str]:
    told = f"not sure: {fact.unsure}" if fact.unsure else ""
    comment = "; ".join(part for part in (told, fact.why) if part)
    comment = "".join(sign if sign.isprintable() else " " for sign in comment)
    line = f"{key} = {_value(fact.value)}"
    if not comment:
        return [line]
    return [f"{line} # {comment}"] if len(line) + len(comment) < _WIDE else [f"# {comment}", line]


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False)
