"""Whether Kaggle lets this account do what it is about to do, asked before anything is sent."""

from __future__ import annotations

from comp import events
from comp.errors import CompError, KaggleError, KaggleRefusal, near_names
from comp.kaggle.client import SITE, Kaggle
from comp.kaggle.http import status_of
from comp.kaggle.types import CompetitionStatus, Limits


def require_entered(api: Kaggle, name: str) -> CompetitionStatus:
    """Refuses a competition that cannot be seen or whose rules were not accepted, with their page."""
    try:
        state = api.competition(name)
    except CompError as problem:
        raise with_hint(api, name, problem) from problem
    if not state.entered:
        value = f"this account has not entered {name!r}"
        remedy = f"accept the rules at {SITE}/{name}/rules, then the same command"
        raise KaggleRefusal("a competition's rules must be accepted first", value, remedy)
    return state


def require_open(api: Kaggle, name: str, notebook: bool = False) -> Limits | None:
    """Refuses a competition that takes no upload from this account, of a file or of a ``notebook``; the limits, where Kaggle
    says them.
    """
    state = require_entered(api, name)
    page = f"{SITE}/{name}"
    if state.notebooks_only and not notebook:
        value = f"{name!r} takes notebooks only, no files"
        remedy = "`comp kernel` writes a notebook that makes the file there; `kernel=FOLDER` submits it"
        raise KaggleRefusal("a competition must take files", value, remedy)
    if state.closed:
        value = f"{name!r} takes no submissions any more"
        raise KaggleRefusal("a competition must be open", value, f"see {page}; the file is kept")
    if state.late:
        events.log(
            f"the deadline of {name!r} was {state.deadline:%Y-%m-%d}: what is submitted now does not count"
        )
    try:
        limits = api.limits(name)
    except CompError as problem:
        if status_of(problem) not in (400, 403, 404):
            raise
        return None
    return limits if limits.known else None


def require_allowance(limits: Limits | None, name: str) -> None:
    """Refuses when nothing is left of today's submissions."""
    if limits is not None and limits.left <= 0:
        value = f"{limits.today} were made to {name!r} today, none is left"
        remedy = "the day ends at 00:00 UTC; the file is kept"
        raise KaggleRefusal("a day has so many submissions", value, remedy)


def with_hint(api: Kaggle, name: str, problem: CompError) -> CompError:
    """An error of a competition with its rules page and near names: 403 and 400 mean either."""
    status = status_of(problem)
    if not isinstance(problem, KaggleError | KaggleRefusal) or status not in (400, 403, 404):
        return problem
    near = [other for other in near_names(name, api.like(name)) if other != name]
    hint = (
        f"did you mean {' or '.join(near)} (the key kaggle of competition.toml, or `comp submit --kaggle`)? "
        if near
        else ""
    )
    rules = f"if the name is right, accept the rules at {SITE}/{name}/rules"
    return type(problem)(problem.rule, problem.value, hint + rules, status=status)
