"""The verbs in their groups, as one typer app."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from comp._version import __version__
from comp.cli import (
    check,
    clean,
    competitions,
    doctor,
    ensemble,
    kernel,
    labels,
    models,
    predict,
    report,
    run,
    runs,
    submissions,
    submit,
    tune,
)
from comp.cli.options import Verb

GROUPS = {
    "Start": (doctor.doctor, competitions.list_, competitions.show, competitions.data, competitions.new),
    "Train": (
        check.check,
        check.checks,
        models.models,
        run.run,
        tune.tune,
        tune.lr,
        tune.bench,
        predict.pseudo,
        ensemble.merge,
    ),
    "Look": (
        runs.runs,
        clean.clean,
        report.report,
        labels.labels,
        submissions.compare,
        submissions.score,
        ensemble.ensemble,
        ensemble.import_,
        ensemble.neighbours,
    ),
    "Submit": (
        predict.predict,
        submissions.validate,
        submit.submit,
        submit.leaderboard,
        kernel.kernel,
    ),
}
EXAMPLES = (
    ("comp run digits", "a first run: it needs no download"),
    ("comp check DIR", "look for leaks in images of your own"),
    ("comp submit SLUG", "send the newest full run to Kaggle"),
)
_ABOUT = "From a competition's raw images to a submission you can trust, in one command."


class Verbs(TyperGroup):
    """All commands; their list has a section for each group, and ends with examples."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002, the name is click's
        """Writes the sections: each verb with the first sentence of its help."""
        width = max(len(name) for name in self.commands)
        for group in GROUPS:
            members = [(n, c) for n, c in self.commands.items() if getattr(c, "rich_help_panel", "") == group]
            with formatter.section(group):
                formatter.write_dl([(name.ljust(width), summary(verb)) for name, verb in members])
        with formatter.section("Examples"):
            formatter.write_dl(list(EXAMPLES))


def summary(verb: Any) -> str:
    """The first line of a verb's help, without its full stop."""
    return str(verb.help or "").strip().partition("\n")[0].removesuffix(".")


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


app = typer.Typer(
    name="comp",
    cls=Verbs,
    help=_ABOUT,
    no_args_is_help=False,
    invoke_without_command=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(
    ctx: typer.Context,
    version: bool = typer.Option(  # noqa: ARG001, its callback shows it
        False, "--version", callback=_version, is_eager=True, help="Show the version and stop."
    ),
) -> None:
    """From a competition's raw images to a submission you can trust, in one command."""
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


for _group, _members in GROUPS.items():
    for _verb in _members:
        app.command(_verb.__name__.rstrip("_"), cls=Verb, no_args_is_help=False, rich_help_panel=_group)(
            _verb
        )
