"""A trick that a study names and that is not searched is named with the reason, before anything is trained."""

from __future__ import annotations

import pytest
from study_samples import Heard, place

from ablate.records.errors import InputError
from ablate.study.preflight import check_ready
from ablate.study.request import find

FUNCTIONAL = """
import torch
import torch.nn.functional as F
from torch import nn
from ablate.tasks.task import Task

x = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        x = F.dropout(torch.relu(self.hidden(x)), 0.3, self.training)
        return self.head(x if x.sum() > -1 else x.abs())  # which cannot be traced

task = Task(Net, (x, (x[:, 0] > 0).long()), epochs=1, batch_size=16)
"""
STUDY = """
[baseline]
optimizer = { name = "momentum", lr = 0.1 }
[space]
include = [INCLUDE]
[search]
trials = 1
"""
DROPOUT = "remove_dropout is left out: the model has 1 F.dropout in Net out of reach: use nn.Dropout instead of a function"


def test_a_named_trick_that_does_not_apply_is_told_before_training(tmp_path):
    study = STUDY.replace("INCLUDE", '"remove_dropout", "act*", "placebo", "weight_decay"')
    here, heard = place(tmp_path, FUNCTIONAL, study), Heard()
    at: list[int] = []
    say = heard.say
    heard.say = lambda line: (at.append(len(heard.entries)), say(line))  # type: ignore[method-assign]
    here.run(("search",), progress=heard)
    lines = [line for line in heard.said if "is left out" in line]
    assert lines == [DROPOUT], "not activation, which no name but a pattern includes, nor the placebo"
    assert at[heard.said.index(DROPOUT)] == 0
    assert heard.entries


def test_the_error_for_an_empty_space_names_the_reasons(tmp_path):
    study = STUDY.replace("INCLUDE", '"activation", "depthwise*", "remove_dropout", "weight_standardization"')
    here = place(tmp_path, FUNCTIONAL, study)
    with pytest.raises(InputError) as caught:
        check_ready(find(str(tmp_path / "tiny.toml"), here.options()), here.options(), ("search",))
    message = str(caught.value)
    assert message.startswith("nothing is left to search (")
    assert (
        "activation: the model has 1 F.relu in Net out of reach: use nn.ReLU instead of a function" in message
    )
    assert "remove_dropout: the model has 1 F.dropout in Net out of reach: use nn.Dropout" in message
    assert "depthwise_separable, weight_standardization: the model has no convolution" in message
