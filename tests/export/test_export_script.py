"""Exported scripts come to what ablate comes to, over random recipes of the whole catalogue and over people's own models."""

from __future__ import annotations

import ast
import functools
import math
import runpy
import sys
from types import SimpleNamespace

import pytest
import torch
import torchmetrics
from script_runs import check_same, imported, recipes
from torch import nn

from ablate.catalogue.registry import registry
from ablate.export.bundle import Bundle
from ablate.export.call_text import call_text
from ablate.export.script import script_of
from ablate.export.source_module import free_names
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.tasks.task import Task
from ablate.testing import combinable
from ablate.trick_suite import suite

SEED = 21


TEN = 10


@functools.cache
def cases():
    """Random recipes, until every trick that applies to images has been in one."""
    checks = suite()
    context = checks.contexts["images"]
    return recipes(combinable(checks, context), checks.catalogue, SEED)


@pytest.mark.parametrize("number", range(TEN))
def test_a_random_recipe_trains_to_the_same_metrics(number, tmp_path):
    check_same(suite().contexts["images"].task, cases()[number], tmp_path)


@pytest.mark.slow_oracle
def test_the_rest_of_the_recipes_that_hold_every_trick_too(tmp_path):
    for number, recipe in enumerate(cases()[TEN:]):
        check_same(suite().contexts["images"].task, recipe, folder_in(tmp_path, str(number)))


def test_the_random_recipes_hold_every_trick_that_applies():
    wanted = {trick.name for trick in combinable(suite(), suite().contexts["images"])}
    assert {name for recipe in cases() for name in recipe} == wanted
    ten = {name for recipe in cases()[:TEN] for name in recipe}
    assert len(wanted - ten) < 10
    assert len(wanted) > 60


@pytest.mark.parametrize("name", ["residual", "weight_norm"])
def test_what_a_model_holds_is_taken_out_and_replaced(name, tmp_path):
    """Norms, dropout, skips and weight norms of the model's own: in place, taken out, and another in their stead."""
    checks = suite()
    context = checks.holding[name]
    tricks = {trick.name for trick in combinable(checks, context)}
    base = {"adam": {"lr": 0.003}}
    check_same(context.task, base, folder_in(tmp_path, "as it is"))
    out = [
        one for one in ("remove_norm", "remove_skip", "remove_dropout", "remove_weight_norm") if one in tricks
    ]
    check_same(context.task, {**base, **{one: {} for one in out}}, folder_in(tmp_path, "taken out"))
    others = [one for one in ("group_norm", "dropout", "activation", "stochastic_depth") if one in tricks]
    check_same(context.task, {**base, **{one: {} for one in others}}, folder_in(tmp_path, "replaced"))


@pytest.mark.parametrize("name", ["table", "regression"])
def test_other_criteria(name, tmp_path):
    check_same(suite().contexts[name].task, {"momentum": {"lr": 0.02}, "cosine": {}, "ema": {}}, tmp_path)


@pytest.mark.parametrize(
    "other",
    [{"ema": {"decay": 0.9}}, {"snapshot_ensemble": {"members": 2}}],
    ids=lambda tricks: next(iter(tricks)),
)
def test_weights_other_than_the_last_have_running_statistics_of_their_own(other, tmp_path):
    tricks = {"momentum": {"lr": 0.02}, "batch_norm": {}, **other}
    check_same(suite().contexts["images"].task, tricks, tmp_path)


def folder_in(path, name):
    folder = path / name
    folder.mkdir()
    return folder


WIDTH = 6
NOISE = torch.randn(64, 5, generator=torch.Generator().manual_seed(1))
LABELS = (NOISE[:, 0] > 0).long()
TOKENS = (NOISE.abs() * 7).long().clamp(max=9)


def rooted(x):
    return torch.nn.functional.relu(x) ** 0.5 + 0.1 * x


class Block(nn.Module):
    """What people write: constants and functions of the file, dropout, an attribute that a layer is read by."""

    scale = 2.0

    def __init__(self, width=WIDTH):
        super().__init__()
        self.first, self.last = nn.Linear(5, width), nn.Linear(width, 2)
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        assert self.first.weight.shape[1] == x.shape[1]
        return self.last(self.drop(torch.tanh(self.first(x)) * self.scale))


class Encoder(nn.Module):
    """A dictionary of inputs, attention with dropout of torch's own generator, several outputs."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, ids, keep):
        h = self.layer(self.embedding(ids), src_key_padding_mask=~keep)
        return {"logits": self.head((h * keep[..., None]).sum(1)), "hidden": h}


class Functional(nn.Module):
    """Functions and a residual addition in `forward`."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.head = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        h = torch.nn.functional.relu(self.first(x))
        return self.head(h + self.middle(h).relu())


def squared_hinge(outputs, targets):
    sign = 2.0 * targets - 1
    return (1 - sign * (outputs[:, 1] - outputs[:, 0])).clamp(min=0) ** 2


def share_right(outputs, targets):
    return (outputs.argmax(1) == targets).float().mean()


def task(model, x=NOISE, y=LABELS, **more):
    parts = [slice(0, 40), slice(40, 52), slice(52, 64)]
    pick = (
        (lambda part: {k: v[part] for k, v in x.items()}) if isinstance(x, dict) else (lambda part: x[part])
    )
    train, validation, test = ((pick(part), y[part]) for part in parts)
    return Task(model, train, validation, test, name="own", batch_size=8, **more)


SIMPLE = {"adamw": {"lr": 0.01}, "clip_norm": {}}


@pytest.mark.parametrize(
    "model",
    [
        Block,
        lambda: Block(7),
        functools.partial(Block, width=9),
        lambda: nn.Sequential(nn.Linear(5, WIDTH), nn.ReLU(), nn.LazyLinear(2)),
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 5)),
            nn.Conv1d(1, 6, 3),
            nn.ReLU(),
            nn.Dropout1d(0.3),
            nn.Flatten(),
            nn.Linear(18, 2),
        ),
    ],
    ids=["class", "lambda", "partial", "lazy", "channel dropout"],
)
def test_a_model_of_one_s_own(model, tmp_path):
    script = check_same(task(model), {**SIMPLE, "weight_norm": {}, "l1": {}}, tmp_path)
    assert "from ablate" not in script.text


def test_a_loss_and_a_metric_of_one_s_own(tmp_path):
    with_loss = task(
        Block, loss=squared_hinge, criterion="classification", metrics={"right": (share_right, "maximize")},
        metric="right",
    )  # fmt: skip
    script = check_same(with_loss, SIMPLE, tmp_path)
    assert "def squared_hinge(" in script.text
    assert "validation/right" not in script.left_out


def weighed(outputs, batch):
    x, y = batch
    return nn.functional.cross_entropy(outputs, y, reduction="none") * x[:, 0].abs()


def weighed_by_kept(outputs, batch):
    inputs, (label, weight) = batch
    return nn.functional.cross_entropy(outputs, label, reduction="none") * weight + inputs[
        "keep"
    ].float().mean(1)


@pytest.mark.parametrize("criterion", ["classification", None])
def test_a_loss_that_takes_the_batch(criterion, tmp_path):
    metrics = {"right": (share_right, "maximize")}
    made = task(Block, loss=weighed, criterion=criterion, metrics=metrics, metric="right")
    script = check_same(made, {**SIMPLE, "input_noise": {}}, tmp_path, epochs=2)
    assert script.data["train_y"].shape == (40,)
    assert script.left_out == ()


def test_a_loss_that_takes_a_nested_batch(tmp_path):
    x = {"ids": TOKENS, "keep": TOKENS >= 0}
    y = (LABELS, NOISE[:, 0].abs())
    parts = [slice(0, 40), slice(40, 52), slice(52, 64)]
    splits = [({k: v[p] for k, v in x.items()}, tuple(v[p] for v in y)) for p in parts]
    made = Task(Encoder, *splits, name="own", batch_size=8, loss=weighed_by_kept)
    check_same(made, SIMPLE, tmp_path)


class Named(Block):
    def forward(self, given):
        return super().forward(given)


def test_a_single_tensor_under_a_name(tmp_path):
    script = check_same(task(Named, {"given": NOISE}), {**SIMPLE, "input_noise": {}}, tmp_path)
    assert '{"given": x.reshape(-1, 5)' in script.text.replace("'", '"')


def test_a_loss_of_torch_keeps_its_settings(tmp_path):
    loss = nn.CrossEntropyLoss(torch.tensor([0.3, 1.7]), label_smoothing=0.2)
    script = check_same(task(Block, loss=loss, criterion="classification"), SIMPLE, tmp_path)
    assert "nn.CrossEntropyLoss(weight=torch.tensor([" in script.text
    bundle = Bundle()
    for module, text in (
        (nn.HuberLoss("sum", 0.5), "nn.HuberLoss(reduction='sum', delta=0.5)"),
        (nn.BCEWithLogitsLoss(), "nn.BCEWithLogitsLoss()"),
        (nn.PoissonNLLLoss(log_input=False), "nn.PoissonNLLLoss(log_input=False)"),
        (nn.CTCLoss(2), "nn.CTCLoss(blank=2)"),
    ):
        assert call_text(bundle, module, "the loss") == text
    with pytest.raises(InputError, match="the loss is a Sequential, whose settings cannot be read"):
        call_text(bundle, nn.Sequential(nn.Flatten()), "the loss")


class TwoHeads(Block):
    def forward(self, x):
        y = super().forward(x)
        return {"score": y, "size": y.square()}


def loss_of_both(outputs, targets):
    loss = torch.nn.functional.cross_entropy(outputs["score"], targets["label"])
    return loss + outputs["size"].mean() + targets["more"].mean()


def test_a_loss_of_several_outputs_and_targets(tmp_path):
    parts = [slice(0, 40), slice(40, 52), slice(52, 64)]
    splits = [(NOISE[part], {"label": LABELS[part], "more": NOISE[part, 0]}) for part in parts]
    own = Task(TwoHeads, *splits, name="own", batch_size=8, loss=loss_of_both, criterion="custom")
    script = check_same(own, SIMPLE, tmp_path)
    assert "def nested_outputs(" in script.text
    assert "def nested_targets(" in script.text


def test_metrics_beside_the_criterion_s_loss_and_those_that_are_left_out(tmp_path):
    others = {
        "square": (torchmetrics.MeanSquaredError(), "minimize"),
        "built_in": (torch.Tensor.numel, "maximize"),
    }
    own = {"right": (share_right, "maximize"), "beside": (share_right, "maximize")}
    script = check_same(task(Block, metrics=own, metric="right"), SIMPLE, tmp_path)
    assert script.left_out == ()
    assert script.text.count('metrics[f"{split}/beside"]') == 1, (
        "every metric of the user, not the selected one alone"
    )
    known = {"test/right": 0.5, "test/loss": 1.0, "test/ece": 0.1}
    head = script_of(task(Block, metrics=own, metric="right"), Run("own", Recipe.of(registry(), SIMPLE), 0, 1), expected=known).text  # fmt: skip
    assert "to within float rounding: test/loss 1, test/right 0.5." in head, "those that the script prints"
    for name, why in (
        ("square", "the metric 'square' is a torchmetrics object, which the script does without"),
        (
            "built_in",
            "the metric 'built_in' is left out: the metric 'built_in' is an object of type method_descriptor",
        ),
        ("ece", "the metric 'ece' is not among those that the script measures"),
    ):
        only = {name: others[name]} if name in others else None
        (said,) = script_of(task(Block, metrics=only, metric=name), Run("own", Recipe.of(registry(), SIMPLE), 0, 1)).left_out  # fmt: skip
        assert said.startswith(why)


def test_nested_inputs_attention_and_several_outputs(tmp_path):
    x = {"ids": TOKENS, "keep": TOKENS >= 0}
    check_same(task(Encoder, x), {**SIMPLE, "label_smoothing": {}, "dropout": {"p": 0.3}}, tmp_path)


@pytest.mark.parametrize(
    "tricks",
    [{"activation": {"kind": "gelu"}}, {"remove_skip": {}, "activation": {"kind": "silu"}}, {"stochastic_depth": {"p": 0.4}, "activation": {"kind": "gelu"}}],
    ids=lambda tricks: " ".join(tricks),
)  # fmt: skip
@pytest.mark.parametrize("model", [Encoder, Functional])
def test_what_a_forward_does_itself_is_replaced(model, tricks, tmp_path):
    x = {"ids": TOKENS, "keep": TOKENS >= 0} if model is Encoder else NOISE
    script = check_same(task(model, x), {"adamw": {"lr": 0.01}, **tricks}, tmp_path)
    assert "def rewritten_forward_1(" in script.text or (model is Encoder and list(tricks) == ["activation"])


class Dropped(nn.Module):
    """Dropout functions in `forward`, of the model and of a block that it holds twice."""

    def __init__(self, inner=True):
        super().__init__()
        self.first, self.head = nn.Linear(5, 8), nn.Linear(8, 2)
        self.blocks = nn.Sequential(*(Dropped(inner=False) for _ in range(2))) if inner else nn.Identity()
        self.back = nn.Linear(2, 5) if not inner else nn.Identity()

    def forward(self, x):
        h = nn.functional.dropout(torch.tanh(self.first(self.blocks(x))), 0.2, self.training)
        return self.back(self.head(nn.functional.relu(h)))


@pytest.mark.parametrize(
    "tricks",
    [
        {},
        {"dropout": {"p": 0.4}},
        {"remove_dropout": {}, "activation": {"kind": "gelu"}},
        {"weight_norm": {}},
    ],
    ids=lambda tricks: " ".join(tricks) or "as it is",
)
def test_dropout_that_a_forward_calls(tricks, tmp_path):
    script = check_same(task(Dropped), {"adamw": {"lr": 0.01}, **tricks}, tmp_path)
    assert "def rewritten_forward_1(" in script.text
    assert "from ablate" not in script.text


def test_tokens_with_some_that_do_not_count(tmp_path):
    tags = torch.where(TOKENS % 4 == 3, -100, TOKENS % 3)
    with_tokens = task(
        lambda: nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)),
        TOKENS, tags, criterion="token_classification",
    )  # fmt: skip
    check_same(with_tokens, SIMPLE, tmp_path)


def test_an_optimizer_class_of_torch(tmp_path):
    from ablate.catalogue.own_tricks import own_tricks, using_tricks

    with using_tricks(own_tricks(["torch.optim.Rprop"])):
        script = check_same(task(Block), {"torch_rprop": {"lr": 0.001}, "cosine": {}}, tmp_path)
    assert "Rprop(trained" in script.text


def test_a_trick_of_one_s_own(tmp_path):
    from ablate.catalogue.own_tricks import own_tricks, using_tricks

    file = tmp_path / "halved.py"
    file.write_text(
        '"""Halves every gradient.\n\n    g ← g / 2\n\nLineage: none.\n"""\n'
        "from ablate.records.trick import Claim, Source, Trick\n\nSHARE = 0.5\n\n\n"
        "def gradient(gradients, weights, p):\n    return gradients.like(gradients.flat * SHARE)\n\n\n"
        'TRICK = Trick(name="halved", title="Half", seam="gradient", claims=(Claim("accuracy", "same", "nothing", Source("n", "n", 2026)),))\n'
    )
    with using_tricks(own_tricks([str(file)])):
        script = check_same(task(Block), {**SIMPLE, "halved": {}}, folder_in(tmp_path, "run"))
    assert "SHARE = 0.5" in script.text


def test_a_trick_of_one_s_own_of_each_seam(tmp_path):
    from ablate.api.trick_template import TEMPLATES, trick_files
    from ablate.catalogue.own_tricks import own_tricks, using_tricks

    for seam in TEMPLATES:
        (tmp_path / f"own_{seam}.py").write_text(trick_files(f"own_{seam}", seam)[f"own_{seam}.py"])
    with using_tricks(own_tricks([str(tmp_path / f"own_{seam}.py") for seam in TEMPLATES])):
        recipe = {f"own_{seam}": {} for seam in TEMPLATES}
        script = check_same(task(Block), recipe, folder_in(tmp_path, "run"))
    assert "class TrainedScale(" in script.text, "a layer of a file that cannot be imported by name"


def test_what_cannot_be_written_out_is_told_in_a_line():
    held = nn.Linear(5, 2).requires_grad_(False)  # frozen, which runs may share

    def made():
        return nn.Sequential(held, nn.Linear(2, 2))

    recipe = Recipe.of(registry(), SIMPLE)
    with pytest.raises(
        InputError, match="the model uses 'held' of the function around it, which is a Linear"
    ):
        script_of(task(made), Run("own", recipe, 0, 1))


def test_only_torch_is_imported():
    assert imported("from __future__ import annotations\nimport numpy as np\nfrom torch import nn\n") == {
        "numpy",
        "torch",
    }
    assert "torch" not in sys.stdlib_module_names


class Unused(nn.Module):
    """Parameters that get no gradient: one is frozen, one is not reached."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.spare = nn.Linear(6, 6)
        self.middle.weight.requires_grad_(False)

    def forward(self, x):
        return self.last(torch.relu(self.middle(torch.relu(self.first(x)))))


def test_parameters_without_a_gradient_stay_as_they_are(tmp_path):
    """Weight decay would move them, and dropout gives their layers other names."""
    tricks = {"momentum": {"lr": 0.05}, "weight_decay": {"decay": 0.1}, "dropout": {"p": 0.2}}
    check_same(task(Unused), tricks, tmp_path)


def test_one_module_imported_in_several_ways_is_one_and_two_of_one_name_are_told_apart(tmp_path):
    """`import torch.nn as nn` beside `from torch import nn`; two modules that are both called F."""
    from ablate.export.bundle import Bundle
    from ablate.export.source_module import SourceModule

    texts = {
        "one": "import torch.nn as nn\nimport torch.nn.functional as F\nimport math as m\ndef first(x):\n    return nn.Identity()(F.relu(x)) * m.pi\n",
        "two": "from torch import nn\nfrom torch.special import expit as F\ndef second(x):\n    return nn.Identity()(F(x))\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    bundle = Bundle(modules={name: SourceModule.read(name, tmp_path / f"{name}.py") for name in texts})
    assert [bundle.add("one", "first"), bundle.add("two", "second")] == ["first", "second"]
    script = tmp_path / "script.py"
    script.write_text("\n".join([*bundle.import_lines(), *bundle.parts]))
    made = runpy.run_path(str(script))
    x = torch.tensor([-1.0, 2.0])
    assert torch.equal(made["first"](x), x.relu() * math.pi)
    assert torch.equal(made["second"](x), x.sigmoid())


def test_decorators_and_defaults_in_a_class_see_its_names():
    source = """
class Layer:
    width = 2

    @property
    def p(self): return self._p

    @p.setter
    def p(self, p: Number = width): self._p = p + OFFSET

    def forward(self, x): return x * width
"""
    used = [name.id for name in free_names(ast.parse(source).body[0])]
    assert used == ["property", "Number", "OFFSET", "width"]


def test_torch_is_imported_wherever_it_lies(tmp_path, monkeypatch):
    """A build in a checkout, or of another environment on the path, was called a module of the user's."""
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "pytorch" / "torch" / "__init__.py"))
    bundle = Bundle()
    assert not bundle.is_own("torch")
    assert bundle.is_own("ablate.records.run")
    elsewhere = tmp_path / "other" / "site-packages" / "fancy" / "__init__.py"
    monkeypatch.setitem(sys.modules, "fancy", SimpleNamespace(__file__=str(elsewhere)))
    assert not bundle.is_own("fancy")
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(__file__=str(tmp_path / "mine.py")))
    assert bundle.is_own("mine")
