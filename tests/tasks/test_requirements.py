"""What nested inputs provide: noise and mixtures need real numbers in all of them."""

import pytest
import torch
from torch import nn

from ablate.catalogue.registry import registry
from ablate.lanes.applicable import applicable
from ablate.lanes.context import TaskContext
from ablate.tasks.task import Task

G = torch.Generator().manual_seed(0)
N = 60
REAL = {"picture": torch.randn(N, 1, 4, 4, generator=G), "facts": torch.randn(N, 3, generator=G)}
MASK = torch.rand(N, 4, generator=G) < 0.5
TOKENS = torch.randint(0, 9, (N, 4), generator=G)
CONTINUOUS = ("input_noise", "fgsm", "pgd", "mixup")


class Sum(nn.Module):
    """Any inputs to 2 logits."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(1, 4), nn.Linear(4, 2)

    def forward(self, **inputs):
        total = sum(value.float().flatten(1).mean(1, keepdim=True) for value in inputs.values())
        return self.head(self.hidden(total).relu())


def reasons(x):
    task = Task(Sum, (x, torch.arange(N) % 2), test=False)
    return applicable(TaskContext.of(task, registry(), torch.device("cpu")), CONTINUOUS)


def test_nested_real_inputs_can_be_mixed_and_perturbed():
    assert set(reasons(REAL).values()) == {""}


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"mask": MASK}, "mask"),
        ({"mask": MASK.float()}, "mask"),
        ({"mask": MASK, "tokens": TOKENS}, "mask and tokens"),
    ],
)
def test_the_reason_names_the_inputs_that_are_not(more, names):
    why = f"{names}: token ids and masks cannot be mixed or perturbed"
    assert set(reasons({**REAL, **more}).values()) == {why}
