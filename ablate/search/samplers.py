"""Optuna's samplers, and the conversion of a `Dimension` to an Optuna distribution."""

from __future__ import annotations

from importlib.util import find_spec

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler

from ablate.records.errors import InputError, unknown
from ablate.records.study import Sampler
from ablate.search.dimension import Dimension

optuna.logging.set_verbosity(optuna.logging.ERROR)  # by default it logs every study and trial
_NEEDS: dict[str, str] = {"gp": "torch", "qmc": "scipy"}
SAMPLERS: tuple[Sampler, ...] = ("tpe", "random", "qmc", "gp")


def check_sampler(name: str) -> None:
    """Raise InputError for an unknown sampler or one whose package is missing."""
    if name not in SAMPLERS:
        raise unknown("sampler", name, SAMPLERS)
    if name in _NEEDS and find_spec(_NEEDS[name]) is None:
        raise InputError(f"the sampler '{name}' needs {_NEEDS[name]}", hint=f"pip install {_NEEDS[name]}")


def optuna_sampler(name: str, seed: int) -> BaseSampler:
    """A seeded sampler, asked trial by trial. It starts after one trial; the caller decides when to use it."""
    assert name == "gp"
    return GPSampler(seed=seed, n_startup_trials=1, deterministic_objective=False)


def distribution(dim: Dimension) -> BaseDistribution:
    """The Optuna distribution of a dimension."""
    if dim.choices:
        return CategoricalDistribution(dim.choices)
    if dim.integer:
        return IntDistribution(int(dim.low), int(dim.high), log=dim.log)
    return FloatDistribution(dim.low, dim.high, log=dim.log)
