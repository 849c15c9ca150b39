"""The files that `ablate init` writes: a study file and, for the user's own model, a task file, both with comments."""

from __future__ import annotations

from ablate.api.task_templates import TEMPLATES
from ablate.records import toml
from ablate.tasks.metric_table import Criterion, selection_metric

STUDY = """\
# Run it with: ablate study {file}      See what it would do first: ablate plan {file}
# Every line may be left out; what is commented out shows the default.

task = {task}
epochs = {epochs}                    # of every run
# seed = 0
# metric = {metric}  # by default the task's
# tricks = ["my_trick.py"]      # of your own: ablate new trick my_trick

[baseline]                      # what every recipe starts from
optimizer = {{ name = "momentum", lr = "lr-find", momentum = 0.9 }}
cosine = true                   # the rate decays to zero

[space]                         # which tricks are tried
include = ["*"]                 # names, seams (ablate tricks) or globs
exclude = []
# [space.dropout]
# p = {{ low = 0.0, high = 0.5 }}

[search]
trials = {trials}
# sampler = "tpe"               # tpe, random, qmc, gp
# pruner = "successive-halving" # successive-halving, median, none

[rank]
# margin = 0.005                # the smallest effect that matters, in the metric's units
# budget = "10m"                # of the ranking

# [confirm]
# seeds = 20                    # paired fresh seeds on test data
"""

HEAD = '''"""The task: a model and its data. `{file}:task` is its name for every command."""

import torch
from torch import nn

import ablate
'''
TAIL = """

task = ablate.Task(
    model=Net,  # a function that makes a fresh module: every run needs fresh weights
    train=data(),  # without validation= and test=, a fifth each is split off
    criterion="{criterion}",
)
"""


def study_text(
    task: str, *, file: str, epochs: int, trials: int, criterion: Criterion = "classification"
) -> str:
    """A commented study file. `file`: its own name, for the comments."""
    metric = selection_metric(criterion, None, {})
    return STUDY.format(
        task=toml.value(task), file=file, epochs=epochs, trials=trials, metric=toml.value(metric)
    )


def task_text(file: str, template: str) -> str:
    """A commented task file with a small model and made-up data, which can be trained unchanged."""
    chosen = TEMPLATES[template]
    return HEAD.format(file=file) + chosen.source + TAIL.format(criterion=chosen.criterion)
