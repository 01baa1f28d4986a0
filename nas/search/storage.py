"""The study and the place where it is kept: a journal file in the run, or a database."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.study import Study

from nas.errors import UsageError
from nas.search.address import without_password
from nas.search.journal import JournalStore
from nas.search.metrics import Metric
from nas.search.store import StudyStore

IDENTITY = "nasmyth"

#: Module and class of the store for each scheme of a URL; it is imported when such a URL is given.
_STORES = {
    "postgresql": "nas.search.database:DatabaseStore",
    "postgres": "nas.search.database:DatabaseStore",
    "postgresql+psycopg": "nas.search.database:DatabaseStore",
}


def make_store(url: str | None, journal: Path) -> StudyStore:
    """The place of a study: the database at `url`, without one a file.

    Args:
        url: such as `postgresql://user@host/database`.
        journal: path of the file.

    Raises:
        UsageError: when it is not a URL of a known kind.
        ModuleNotFoundError: when the driver of the database is not installed.
    """
    if url is None:
        return JournalStore(journal)
    scheme, _, _ = url.partition("://")
    if scheme not in _STORES or scheme == url:
        raise UsageError(f"search.storage takes a URL such as postgresql://USER@HOST/DATABASE, not {_shown(url)!r}")
    module, _, attribute = _STORES[scheme].partition(":")
    try:
        constructor = getattr(importlib.import_module(module), attribute)
    except ImportError as error:  # psycopg without libpq raises this one
        raise ModuleNotFoundError(
            "psycopg, the driver of PostgreSQL, is not installed: pip install 'nasmyth[postgresql]'"
        ) from error
    store: StudyStore = constructor(url)
    return store


def _shown(url: str) -> str:
    """A text that may be anything, so also a password in an unknown notation."""
    return without_password(url).rpartition("@")[2]


def create_or_load(
    store: StudyStore, name: str, objectives: list[Metric], identity: dict[str, Any], sampler: BaseSampler
) -> Study:
    """The study of that name, made when it is not there.

    Args:
        store: where studies are kept.
        name: of the study.
        objectives: in the order of the study's values.
        identity: JSON values that the stored study must agree with: space, weights, objectives, limits, seed.
        sampler: proposes the trials.

    Raises:
        UsageError: when the stored study was made for something else (the message says what differs), or the store
            is damaged.
        ConnectionError: when the store cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = store.open()

    def create() -> Study:
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=[metric.direction for metric in objectives],
            sampler=sampler,
            load_if_exists=True,
        )
        if IDENTITY not in study.user_attrs:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([metric.name for metric in objectives])
            study.set_user_attr(IDENTITY, identity)
        return study

    with store.lease(name) as lease:
        study = lease.exclusively(create)
    stored = study.user_attrs[IDENTITY]
    if stored != identity:
        differing = [key for key in identity if stored.get(key) != identity[key]]
        first = differing[0] if differing else "format"
        raise UsageError(
            f"the study {name!r} in {store} was made with another {first}: {stored.get(first)!r}, now "
            f"{identity.get(first)!r}; go on with the old one, or use another name and run directory"
        )
    return study


def load(store: StudyStore, name: str | None = None) -> Study:
    """A study for reading: that of the name, without one the only one.

    Raises:
        UsageError: when there is none.
        ConnectionError: when the store cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not store.holds(name):
        raise UsageError(f"there is no study in {store} yet: no search was started in this run")
    storage = store.open()
    names = [found for found in optuna.get_all_study_names(storage) if name in (None, found)]
    if len(names) != 1:
        raise UsageError(f"{store} holds {len(names)} studies where one is expected")
    return optuna.load_study(study_name=names[0], storage=storage)
