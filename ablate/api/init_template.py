"""The files that `ablate init` writes: a study file and, for the user's own model, a task file, both with comments."""

from __future__ import annotations

from ablate.records import toml

STUDY = """\
# Run it with: ablate study {file}      See what it would do first: ablate plan {file}
# Every line may be left out; what is commented out shows the default.

task = {task}
epochs = {epochs}                    # of every run
# seed = 0
# metric = "validation/accuracy"  # by default the task's
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

TASK = '''"""The task: a model and its data. `{file}:task` is its name for every command."""

import torch
from torch import nn

import ablate


class Net(nn.Module):
    """Replace it by your model. Norms, dropout and the like may be in it, or left to the study."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, {outputs})
        )

    def forward(self, x):
        return self.layers(x)


def data():
    """Replace it by your data: x `[N, ...]` and y `[N]`, tensors, arrays or a Dataset."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 16, generator=generator)
    score = x[:, :4].sum(1) + 0.5 * torch.randn(600, generator=generator)
    return x, {target}


task = ablate.Task(
    model=Net,  # a function that makes a fresh module: every run needs fresh weights
    train=data(),  # without validation= and test=, a fifth each is split off
    criterion="{criterion}",
)
'''
TARGETS = {"classification": ("2", "(score > 0).long()"), "regression": ("1", "score")}


def study_text(task: str, *, file: str, epochs: int, trials: int) -> str:
    """A commented study file. `file`: its own name, for the comments."""
    return STUDY.format(task=toml.value(task), file=file, epochs=epochs, trials=trials)


def task_text(file: str, criterion: str) -> str:
    """A commented task file with a small model and made-up data, which can be trained unchanged."""
    outputs, target = TARGETS[criterion]
    return TASK.format(file=file, outputs=outputs, target=target, criterion=criterion)
