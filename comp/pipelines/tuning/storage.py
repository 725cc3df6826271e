"""Where a study is kept: opened or made in a database, with what must be the same for all who work at it."""

from __future__ import annotations

import random
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp.errors import InputError, shortened
from comp.files import make_folder
from comp.pipelines.tuning.sampling import SlotSampler
from comp.pipelines.tuning.search_space import SearchSpace, shown
from comp.pipelines.tuning.study import StudyStore

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

HEARTBEAT, GRACE = 10, 60  # seconds between signs of life, and without one until a trial is taken for dead
ATTEMPTS = 20  # at a database in which another process makes the tables just now
WAITS = 60  # seconds for another process to let go of an SQLite file
_FACTS = "comp"


def usual_url(folder: Path) -> str:
    """The database in a study's own folder."""
    return f"sqlite:///{make_folder(folder) / 'study.db'}"


@contextmanager
def open_study(
    url: str,
    name: str,
    facts: Mapping[str, Any],
    space: SearchSpace,
    wanted: int,
    direction: str,
    sampler: SlotSampler,
) -> Iterator[StudyStore]:
    """The study of that name, made where it is not there yet.

    Parameters
    ----------
    facts : mapping
        What all trials of a study share, as JSON has it: recipe, search space, folds. The first process writes it.
    wanted : int
        How many trials the study shall have.
    direction : "max" or "min"

    Raises
    ------
    InputError
        Where the database cannot be reached, or the study in it has other facts: the value says which.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    stores: list[StudyStore] = []
    storage = _storage(url, lambda trial: stores[0].retry(trial))
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            sampler=sampler,
            pruner=optuna.pruners.NopPruner(),
            direction="maximize" if direction == "max" else "minimize",
            load_if_exists=True,
        )
        if _FACTS not in study.user_attrs:
            study.set_user_attr(_FACTS, dict(facts))
        _require_same(study.user_attrs[_FACTS], facts, name)
        stores.append(StudyStore(study, space, wanted, direction, sampler))
        yield stores[0]
    except SQLAlchemyError as error:
        raise _unusable(url, error) from error
    except optuna.exceptions.StorageInternalError as error:
        raise _unusable(url, error.__cause__ or error) from error
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _storage(url: str, buried: Callable[[FrozenTrial], None]) -> RDBStorage:
    """The database of a URL; ``buried`` hears of each trial whose process died."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    for attempt in range(ATTEMPTS):
        try:
            return _opened(url, buried)
        except ImportError as error:  # the driver of a database is not installed
            value, remedy = str(error.__cause__ or error), 'pip install "psycopg[binary]" for PostgreSQL'
            raise InputError("a database needs its driver", value, remedy) from error
        except (OptunaError, SQLAlchemyError, ValueError, RuntimeError) as error:
            if attempt == ATTEMPTS - 1 or not _is_being_made(error):
                raise _unusable(url, error.__cause__ or error) from error
            time.sleep(random.uniform(0.1, 0.5))
    raise AssertionError("the last attempt returns or raises")


def _opened(url: str, buried: Callable[[FrozenTrial], None]) -> RDBStorage:
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres") and find_spec("psycopg2") is None:
        parsed = parsed.set(drivername="postgresql+psycopg")
    is_file = parsed.get_backend_name() == "sqlite"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # heartbeats are "experimental"
        return RDBStorage(
            parsed.render_as_string(hide_password=False),
            engine_kwargs={"connect_args": {"timeout": WAITS}} if is_file else {"pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=lambda _, trial: buried(trial),
        )


def _is_being_made(error: BaseException) -> bool:
    """Whether another process makes the tables just now."""
    said = f"{error} {error.__cause__}".lower()
    return any(word in said for word in ("already exists", "unique constraint", "duplicate key", "locked"))


def _unusable(url: str, error: BaseException) -> InputError:
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    value = f"{without_password(url)}: {said[0] if said else type(error).__name__}"
    remedy = 'for example `storage="sqlite:////home/me/study.db"` or `storage="postgresql://USER@HOST/NAME"`'
    return InputError("`storage` is the URL of a database", value, remedy)


def without_password(url: str) -> str:
    """A database's URL as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


def _require_same(before: Mapping[str, Any], facts: Mapping[str, Any], name: str) -> None:
    """InputError where a study was made with other facts; it names what differs."""
    one, other = dict(_leaves(before)), dict(_leaves(facts))
    differing = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    if not differing:
        return
    told = [f"{key} was {_said(one.get(key))}, now {_said(other.get(key))}" for key in sorted(differing)[:4]]
    more = f", and {len(differing) - 4} more" if len(differing) > 4 else ""
    value = f"{name}: {'; '.join(told)}{more}"
    remedy = "a new one for what is new: `study=NAME`; or take back the change"
    raise InputError("a study keeps its recipe, search space, rows and folds", value, remedy)


def _said(value: Any) -> str:
    text = "not there" if value is None else shown(value)
    return shortened(text, 60)


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
