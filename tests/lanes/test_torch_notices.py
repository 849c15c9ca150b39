"""Notices that torch gives once a process: in a process of its own."""

from __future__ import annotations

import subprocess
import sys

MASKED = """
import torch
from torch import nn
from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.tasks.task import Task


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)
        self.body = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 1)

    def forward(self, ids):
        return self.head(self.body(self.embedding(ids), src_key_padding_mask=ids == 0)[:, 0])


ids = torch.randint(1, 9, (40, 5))
ids[::2, 3:] = 0
task = Task(Encoder, (ids, ids[:, 0] % 2), kind="text")
TaskContext.of(task, registry(), torch.device("cpu"), "loop")
with torch.no_grad():
    Encoder().eval()(ids)
"""


def test_the_notice_on_nested_tensors_is_not_given() -> None:
    done = subprocess.run([sys.executable, "-c", MASKED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nested" not in done.stderr
