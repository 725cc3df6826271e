"""The page of checks, written from their registry; ``make docs`` keeps docs/checks.md."""

from __future__ import annotations

from comp.checks.context import SECTIONS, Check, in_order

HEAD = """# Checks

What `comp check` and `comp run` look at, in the order of the table of findings. A finding has a severity: an **error**
stops a run before it trains (exit 1), a **warning** and a **note** are said and recorded. An error is lowered to a
warning by `--allow CHECK=REASON`, or by `[check] allow` in competition.toml; the reason is kept with the run.
`control-rows` can never be allowed. No check changes a row. `comp checks` lists them all.

What no check can know: whether a label is right (`label-errors` says where it may not be), whether the site judges what `competition.toml` says, and whether the
test images were drawn as the training images were.
"""


def render() -> str:
    """The page as Markdown."""
    import comp.checks.runner  # noqa: F401, it loads them

    every = in_order()
    parts = [HEAD]
    for section, title in SECTIONS.items():
        rows = "".join(_row(one) for one in every if one.section == section)
        parts.append(
            f"## {title}\n\n| check | severity | catches | does not catch |\n| --- | --- | --- | --- |\n{rows}"
        )
    return "\n".join(parts)


def _row(one: Check) -> str:
    severity = one.severity + ("" if one.can_be_allowed else ", never allowed")
    return f"| `{one.name}` | {severity} | {one.catches} | {one.misses} |\n"


if __name__ == "__main__":
    print(render(), end="")
