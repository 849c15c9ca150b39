"""The examples of docs/lr_find.md run as they stand there, for a user of Lightning and one of transformers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ablate

ROOT = Path(ablate.__file__).parents[1]
TEXT = (ROOT / "docs" / "lr_find.md").read_text(encoding="utf-8")
LIGHTNING = """
import torch
import lightning
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class LitModel(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.body, self.lr = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), 1e-3
    def forward(self, x):
        return self.body(x)
    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)

class Data(lightning.LightningDataModule):
    def setup(self, stage):
        torch.manual_seed(0)
        x = torch.randn(300, 8)
        self.sets = TensorDataset(x[:200], x[:200, :3].argmax(1)), TensorDataset(x[200:], x[200:, :3].argmax(1))
    def train_dataloader(self):
        return DataLoader(self.sets[0], 32, shuffle=True)
    def val_dataloader(self):
        return DataLoader(self.sets[1], 64)

data = Data()
"""
TRANSFORMERS = """
import torch
from transformers import BertConfig, BertForSequenceClassification

torch.manual_seed(0)
config = BertConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=3)
model = BertForSequenceClassification(config)

def examples(count):
    labels = torch.randint(3, (count,))
    words = torch.randint(4, 20, (count, 6))
    words[:, 1] = labels + 1
    return [{"input_ids": ids, "labels": label} for ids, label in zip(words, labels)]

train, validation = examples(96), examples(64)
"""
SETTINGS = {"lightning": LIGHTNING, "transformers": TRANSFORMERS}


def example(heading: str) -> str:
    (code,) = re.findall(rf"### {heading}\n```python\n(.*?)```", TEXT, re.DOTALL | re.IGNORECASE)
    return code


@pytest.mark.slow
def test_the_examples_run(tmp_path):
    """One after the other in one process, whose imports take most of the time."""
    checks = {"lightning": "lit.lr", "transformers": "trainer.args.learning_rate"}
    for library, check in checks.items():
        pytest.importorskip(library, reason=f"{library} is not installed: pip install ablate[dev]")
        code = f"{SETTINGS[library]}\n{example(library)}\nassert {check} == found.learning_rate > 0\nprint('{library}')\n"
        (tmp_path / f"{library}_example.py").write_text(code)
    run = "import runpy\n" + "".join(f"runpy.run_path('{library}_example.py')\n" for library in checks)
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line in checks] == list(checks)


@pytest.mark.parametrize("library", SETTINGS)
def test_the_example_is_short(library):
    assert len([line for line in example(library).splitlines() if line.strip()]) <= 10
