"""ablate: which training tricks earn their place?

    import ablate
    study = ablate.study(model=MyNet, data=(x, y), trials=100, budget="10m")
    study.ranking

The public API, imported lazily: `inspect`, `plan`, `study`, `lr_find`, `rank`, `confirm`, `compare` and `train` do what the commands of the same
name do; `ablate.Task` describes a model and its data; the records describe tricks, recipes and runs. `import ablate` itself
imports nothing heavy. docs/python.md is a tutorial.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablate.api.functions import confirm, load_study, rank, study
    from ablate.api.preview import Inspection, StudyPlan, inspect, plan
    from ablate.api.result import Study
    from ablate.api.single import LearningRate, Trained, compare, lr_find, train
    from ablate.lanes.weights import load
    from ablate.records.errors import AblateError, InputError
    from ablate.records.recipe import Recipe
    from ablate.records.run import Outcome, Result, Run
    from ablate.records.trick import Claim, Parameter, Source, Trick
    from ablate.tasks.gan_task import gan_task
    from ablate.tasks.task import Task

__version__ = "0.1.0"

# Without it MKL rounds a small product by where in memory its matrix begins, so that a lane's result would depend on
# its position. Read once, at MKL's first use; whoever sets it otherwise keeps their choice.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

_HOMES = {
    "study": "ablate.api.functions",
    "rank": "ablate.api.functions",
    "confirm": "ablate.api.functions",
    "load_study": "ablate.api.functions",
    "inspect": "ablate.api.preview",
    "plan": "ablate.api.preview",
    "lr_find": "ablate.api.single",
    "train": "ablate.api.single",
    "compare": "ablate.api.single",
    "Study": "ablate.api.result",
    "Inspection": "ablate.api.preview",
    "StudyPlan": "ablate.api.preview",
    "LearningRate": "ablate.api.single",
    "Trained": "ablate.api.single",
    "Task": "ablate.tasks.task",
    "gan_task": "ablate.tasks.gan_task",
    "Recipe": "ablate.records.recipe",
    "Run": "ablate.records.run",
    "Result": "ablate.records.run",
    "Outcome": "ablate.records.run",
    "Trick": "ablate.records.trick",
    "Parameter": "ablate.records.trick",
    "Claim": "ablate.records.trick",
    "Source": "ablate.records.trick",
    "load": "ablate.lanes.weights",
    "AblateError": "ablate.records.errors",
    "InputError": "ablate.records.errors",
}
__all__ = [
    "AblateError",
    "Claim",
    "InputError",
    "Inspection",
    "LearningRate",
    "Outcome",
    "Parameter",
    "Recipe",
    "Result",
    "Run",
    "Source",
    "Study",
    "StudyPlan",
    "Task",
    "Trained",
    "Trick",
    "compare",
    "confirm",
    "gan_task",
    "inspect",
    "load",
    "load_study",
    "lr_find",
    "plan",
    "rank",
    "study",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ablate' has no attribute '{name}'")
