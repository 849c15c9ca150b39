"""What a model holds is the reference level "as it is": found, told, and judged like any trick, on networks as people bring them."""

from pathlib import Path

import pytest
from study_samples import Heard, Place

from ablate.analysis.model_parts import held_parts, level_name, surgery_line, with_references
from ablate.api.ranking_tables import tables_of
from ablate.catalogue.registry import registry
from ablate.ledger.store import Ledger
from ablate.report.collect import collect

NETS = """
import torch
from torch import nn
from ablate.tasks.task import Task

generator = torch.Generator().manual_seed(0)
y = torch.arange(240) % 4
x = torch.randn(240, 1, 8, 8, generator=generator)
for i in range(4):
    x[y == i, :, 2 * i : 2 * i + 2] += 1.5

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(x + self.norm2(self.conv2(self.act(self.norm1(self.conv1(x))))))

class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.block, self.drop, self.head = Block(4), nn.Dropout(0.2), nn.Linear(4 * 8, 4)

    def forward(self, x):
        return self.head(self.drop(self.block(self.stem(x)).mean(3).flatten(1)))

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(8, 8), nn.Linear(64, 4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.1, nn.GELU(), batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x[:, 0])).flatten(1))

cnn = Task(ResNet, (x, y), epochs=2, batch_size=24, name="cnn")
transformer = Task(Encoder, (x, y), epochs=2, batch_size=24, name="transformer")
"""
STUDY = """task = "nets.py:{name}"
[baseline]
optimizer = {{ name = "momentum", lr = 0.05 }}
[space]
include = ["remove_norm", "{other}", "remove_dropout", "placebo"]
[rank]
around = "baseline"
budget = "60runs"
"""
SURGERY = {
    "held": {"layers": {"norm": {"BatchNorm2d": 9}}, "residual_additions": 2, "text": "9 BatchNorm2d, 2 residual additions"},
    "tricks": {
        "activation": {"touched": 1, "left": [["GELU", "there already", 6]], "text": "1 of 7 (left: 6 GELU there already)"},
        "group_norm": {"touched": 9, "left": [], "text": "9 of 9"},
    },
}  # fmt: skip


def test_the_empty_slot_of_a_model_that_holds_norms_is_as_it_is():
    assert held_parts(SURGERY) == {"norm", "residual"}
    assert level_name("norm", "none", SURGERY) == "as it is"
    assert level_name("norm", "group_norm", SURGERY) == "group_norm"
    assert level_name("schedule", "none", SURGERY) == "none"
    assert level_name("norm", "none", {}) == "none"


def test_arms_that_change_what_the_model_holds_are_compared_with_it_as_it_is():
    names = ("group_norm", "remove_norm", "remove_skip", "remove_dropout", "dropout", "adamw")
    rows = [{"trick": name, "against": "without it"} for name in names]
    replaced = {"trick": "layer_norm", "against": "batch_norm"}
    declared = {"kind": "tuned", "rows": [*rows, replaced]}
    named = with_references(declared, SURGERY, registry())["rows"]
    assert [row["against"] for row in named] == 3 * ["the model as it is"] + 3 * ["without it"] + [
        "batch_norm"
    ]
    assert declared["rows"] == [*rows, replaced]
    assert with_references(declared, {}, registry())["rows"] == declared["rows"]
    begun = {"kind": "tuned", "arms": []}
    assert with_references(begun, SURGERY, registry()) == begun, "a stage that has not looked yet"


def test_what_was_found_and_touched_is_one_line():
    assert surgery_line(SURGERY) == (
        "the model has 9 BatchNorm2d, 2 residual additions; activation touches 1 of 7"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "other", "held"),
    [
        ("cnn", "group_norm", "3 BatchNorm2d, 1 Dropout, 2 ReLU, 1 residual addition"),
        (
            "transformer",
            "rms_norm",
            "2 LayerNorm, 3 Dropout, 1 attention dropout, 1 GELU, 2 residual additions",
        ),
    ],
)
def test_a_study_says_whether_each_part_earns_its_place(tmp_path, monkeypatch, name, other, held):
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    Path("own.toml").write_text(STUDY.format(name=name, other=other))
    heard = Heard()
    place = Place(tmp_path, "own")
    place.run(("rank", "report"), progress=heard)
    assert any(line.startswith(f"the model has {held}") for line in heard.said)
    text = (place.report / "index.html").read_text()
    assert f"<dt>The model as it is</dt><dd>{held}</dd>" in text
    assert f"{other} 3 of 3" in text or f"{other} 2 of 2" in text
    with Ledger.open(place.ledger, write=False) as ledger:
        data = collect(ledger)
    verdicts = data.ranking.set_index("trick")["verdict"]
    assert set(verdicts.index) == {"remove_norm", "remove_dropout", other, "placebo"}
    assert set(verdicts) <= {
        "helps",
        "helps a little",
        "hurts",
        "hurts a little",
        "no measurable effect",
        "undecided",
    }
    (table,) = tables_of(data)
    against = dict(zip(table.columns[0].cells, table.columns[1].cells, strict=True))
    assert against == {
        "remove_norm": "as it is",
        "remove_dropout": "as it is",
        other: "as it is",
        "placebo": "off",
    }
