"""Every error that a user can cause, and the exit code each one ends with.

CompError                      rule, value, remedy
├── InputError          (2)    wrong usage, configuration or input
│   ├── UnknownName            no competition, model, metric, view, run of that name
│   ├── RecipeError            a recipe or competition.toml with mistakes, all of them
│   ├── RawDataError           the raw folder is missing, empty, or of another competition
│   ├── WeightsError           weights that cannot be found, read, or do not fit
│   ├── DownloadError          a download that cannot be had whole
│   ├── KaggleError            Kaggle cannot be reached, does not know us, or answers nonsense
│   └── ImageError             an image that cannot be decoded
└── Refusal             (1)    the input was understood, and the answer is no
    ├── CheckFailed            checks found errors
    ├── InvalidSubmission      a submission that does not answer its template
    ├── KaggleRefusal          Kaggle's own no: rules, limits, closed, a submission that it cannot score
    └── TrainingFailed         a loss that is not a number, a fold that cannot be fitted
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

LONGEST_LINE = 500  # letters of a line that people are shown; a whole path may be longer, a message is not
_CONTROLS = (*range(10), *range(11, 32), 127)
_UNSEEN = dict(zip(_CONTROLS, map("\\x{:02x}".format, _CONTROLS), strict=True))


class CompError(Exception):
    """A user's mistake or a refusal, told in one line each of rule, value and remedy.

    Parameters
    ----------
    rule : str
        What must hold.
    value : str
        What was found instead.
    remedy : str
        What to do next; names a command where one helps.

    Lines of any length are cut in the middle, and control characters are spelled out.
    """

    exit_code = 2

    def __init__(self, rule: str, value: str = "", remedy: str = "") -> None:
        super().__init__(shortened(rule))
        self.rule = shortened(rule)
        self.value = shortened(value)
        self.remedy = shortened(remedy)

    def __reduce__(self) -> tuple[Any, ...]:
        # whatever arguments a kind takes itself, it passes between processes
        return _made_again, (type(self), self.__dict__)

    def __str__(self) -> str:
        return " · ".join(part for part in (self.rule, self.value, self.remedy) if part)

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the line that a terminal shows, and no traceback."""
        return [str(self)]

    def as_json(self) -> dict[str, str | int]:
        """The error as the one JSON document that a failing command prints, where JSON is asked for."""
        return {
            "kind": type(self).__name__,
            "rule": self.rule,
            "value": self.value,
            "remedy": self.remedy,
            "exit_code": self.exit_code,
        }


def _made_again(kind: type[CompError], facts: dict[str, Any]) -> CompError:
    made = kind.__new__(kind)
    Exception.__init__(made, facts["rule"])
    made.__dict__.update(facts)
    return made


class InputError(CompError):
    """Wrong usage, configuration or input."""


class UnknownName(InputError):
    """A name that is not in a registry; the value lists near misses, then what exists."""

    def __init__(self, kind: str, name: str, known: Iterable[str], remedy: str = "") -> None:
        known = sorted(known)
        near = near_names(name, known)
        if near:
            hint = f"did you mean {' or '.join(near)}?"
        elif known and len(known) <= 20:
            hint = f"there is: {', '.join(known)}"
        else:
            hint = f"{len(known)} are known, none like it"
        super().__init__(f"unknown {kind}", f"{name!r}: {hint}", remedy)
        self.near = near


class RecipeError(InputError):
    """A recipe or a competition.toml with mistakes; the value has one line for each."""


class RawDataError(InputError):
    """The raw folder is missing, empty, or not in the layout of its competition."""


class WeightsError(InputError):
    """Weights that cannot be found, read, or do not fit the model."""


class DownloadError(InputError):
    """A download that cannot be reached, or does not come whole and as published."""


class KaggleError(InputError):
    """Kaggle cannot be reached, does not accept the credential, or answers what cannot be read.

    ``status`` is the HTTP status, 0 where there was no answer; ``unsure`` says that the request may have been
    carried out all the same.
    """

    def __init__(self, rule: str, value: str = "", remedy: str = "", *, status: int = 0) -> None:
        super().__init__(rule, value, remedy)
        self.status = status

    @property
    def unsure(self) -> bool:
        return self.status == 0 or self.status >= 500


class ImageError(InputError):
    """An image that cannot be decoded in full."""


class Refusal(CompError):
    """The input was understood, and the answer is no."""

    exit_code = 1


class CheckFailed(Refusal):
    """Checks found errors."""


class InvalidSubmission(Refusal):
    """A submission that does not answer its template."""


class KaggleRefusal(Refusal):
    """Kaggle said no: rules not accepted, a limit, a closed competition, a submission that it cannot score.

    ``status`` is the HTTP status, 0 where the answer came otherwise.
    """

    def __init__(self, rule: str, value: str = "", remedy: str = "", *, status: int = 0) -> None:
        super().__init__(rule, value, remedy)
        self.status = status


class TrainingFailed(Refusal):
    """Training cannot go on: a loss or an output that is not a number, a fold that failed."""


def shortened(text: str, most: int = LONGEST_LINE) -> str:
    """A text fit to be shown: lines over ``most`` letters cut in the middle, control characters spelled out."""
    return "\n".join(_cut(line, most) for line in text.translate(_UNSEEN).split("\n"))


def _cut(line: str, most: int) -> str:
    if len(line) <= most:
        return line
    return f"{line[: most * 3 // 4]} … {line[-(most // 5) :]} ({len(line):,} letters)"


def counted(n: int, noun: str) -> str:
    """A number with its noun: 1 warning, 2 warnings."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def near_names(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Up to ``limit`` names of ``known`` that look like ``name``, most alike first."""
    if len(name) > LONGEST_LINE:  # comparing takes the square of the length
        return []
    lowered = {k.lower(): k for k in known}
    return [lowered[m] for m in difflib.get_close_matches(name.lower(), lowered, n=limit, cutoff=0.6)]


class Stopped(KeyboardInterrupt):
    """Ctrl-C or the stop button during a run: ``remedy`` goes on with it. A notebook shows its sentence and no traceback."""

    def __init__(self, slug: str, run: str) -> None:
        self.slug, self.run = slug, run
        super().__init__(
            f"Interrupted. Finished folds are kept; this goes on: comp.run({slug!r}, resume={run!r})"
        )

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def in_words(error: BaseException) -> str:
    """What ended a run, in a line."""
    if isinstance(error, CompError):
        return f"{error.rule}: {error.value}"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
