"""Dicts and tuples of tensors as inputs, and models that return more than one tensor: trained as torch would train them."""

from collections import UserDict
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import Dataset

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.trainer import Trainer
from ablate.lanes.training import Training
from ablate.lanes.weights import load
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.study.single import train_single
from ablate.tasks.check import check
from ablate.tasks.data import tensor
from ablate.tasks.packing import leaves_of, nested, pack
from ablate.tasks.task import Task

CPU = torch.device("cpu")
G = torch.Generator().manual_seed(0)
N, T = 90, 6
IDS = torch.randint(0, 20, (N, T), generator=G)
MASK = torch.arange(T) < torch.randint(2, T + 1, (N, 1), generator=G)
AGE = torch.randn(N, generator=G)
Y = ((IDS * MASK).sum(1) > 30).long()


@dataclass
class ModelOutput:
    logits: torch.Tensor
    hidden: torch.Tensor


class Encoder(nn.Module):
    """Tokens with a padding mask through attention; `returns` says in what form its outputs come."""

    def __init__(self, returns=lambda logits, hidden: {"hidden": hidden, "logits": logits}):
        super().__init__()
        self.embed, self.returns = nn.Embedding(20, 8), returns
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(9, 2)

    def forward(self, input_ids, attention_mask, age=None):
        assert input_ids.dtype == torch.int64
        assert attention_mask.dtype == torch.bool
        hidden = self.layer(self.embed(input_ids), src_key_padding_mask=~attention_mask)
        weight = attention_mask.unsqueeze(-1).float()
        mean = (hidden * weight).sum(1) / weight.sum(1)
        extra = torch.zeros_like(mean[:, :1]) if age is None else age.unsqueeze(1)
        return self.returns(self.head(torch.cat([mean, extra], 1)), hidden)


X = {"input_ids": IDS, "attention_mask": MASK, "age": AGE}
FORMS = {
    "dict": X,
    "arrays": {name: value.numpy() for name, value in X.items()},
    "mapping": UserDict(X),
    "tuple": tuple(X.values()),
}


def task_of(x=X, model=Encoder, **more):
    return Task(model, (x, Y), test=False, epochs=2, batch_size=18, name="nested", **more)


def run_of(seed=0, lr=0.1):
    return Run("nested", Recipe.of(registry(), {"momentum": {"lr": lr}}), seed, 2)


def batch(x, rows):
    return {name: value[rows] for name, value in x.items()}


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's, of attention under vmap
@pytest.mark.parametrize("kernel", ["loop", "vmap"])
@pytest.mark.parametrize("form", FORMS)
def test_training_is_that_of_a_plain_loop(form, kernel):
    task = task_of(FORMS[form])
    assert check(task) == ()
    context = TaskContext.of(task, registry(), CPU, kernel)
    trainer = Trainer(context, [run_of(), run_of(1, 0.02)])
    plain = Encoder()
    initial = trainer.model(0).state_dict()
    plain.load_state_dict({name: initial[name] for name in plain.state_dict()})
    optimizer = torch.optim.SGD(plain.parameters(), 0.1, 0.9)
    rows = torch.from_numpy(task.train.rows)
    for _ in range(8):
        index = rows[trainer.index()[0]]
        loss = F.cross_entropy(plain(**batch(X, index))["logits"], Y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert trainer.step()[0][0].item() == pytest.approx(loss.item(), rel=1e-4)
    validation = torch.from_numpy(task.validation.rows)
    with torch.no_grad():
        expected = plain.eval()(**batch(X, validation))["logits"]
    assert torch.allclose(trainer.predict("validation")[0], expected, atol=1e-4)


def test_lanes_are_what_their_runs_are_alone():
    context = TaskContext.of(task_of(), registry(), CPU)
    runs = [run_of(seed, 0.05 * (1 + seed)) for seed in range(3)]
    together = Training(context, runs, ()).finish()
    for run, result in zip(runs, together, strict=True):
        assert Training(context, [run], ()).finish()[0].curves == result.curves


OUTPUTS = {
    "tensor": (lambda logits, hidden: logits, None),
    "logits of a dict": (lambda logits, hidden: {"loss": hidden.sum(), "logits": logits}, None),
    "a named output": (lambda logits, hidden: {"scores": logits, "hidden": hidden}, "scores"),
    "a position": (lambda logits, hidden: (hidden, logits), 1),
    "the only one": (lambda logits, hidden: (logits,), None),
    "an attribute": (ModelOutput, "logits"),
}


@pytest.mark.parametrize("form", OUTPUTS)
def test_the_prediction_is_found_among_a_models_outputs(form):
    returns, output = OUTPUTS[form]
    task = task_of(model=lambda: Encoder(returns), output=output)
    assert check(task) == ()
    trainer = Trainer(TaskContext.of(task, registry(), CPU), [run_of()])
    reference = Trainer(TaskContext.of(task_of(), registry(), CPU), [run_of()])
    assert torch.equal(trainer.step()[0], reference.step()[0])


def test_outputs_of_a_model_of_one_tensor():
    class Pair(nn.Linear):
        def forward(self, x):
            return {"hidden": x, "scores": super().forward(x)}

    x = torch.randn(N, 4, generator=G)
    made = lambda **more: Task(lambda: Pair(4, 2), (x, Y), test=False, **more)  # noqa: E731
    assert check(made(output="scores")) == ()
    with pytest.raises(InputError, match=r"of type dict with 'hidden', 'scores', and nothing says which"):
        check(made())

    class Logits(nn.Linear):
        def forward(self, x):
            return {"logits": super().forward(x), "depth": 1}

    task = Task(lambda: Logits(4, 2), (x, Y), test=False)  # as docs/tasks.md says, whatever the inputs are
    assert check(task) == ()
    assert task.model()(x).shape == (N, 2)


def test_the_users_class_takes_the_weights_and_load_gives_it_back(tmp_path):
    task = task_of()
    done = train_single(
        task, run_of().recipe, seed=1, epochs=None, device=CPU, folder=tmp_path, report=lambda _: None
    )
    model = load(done.weights, task)
    assert type(model) is Encoder
    rows = torch.from_numpy(task.validation.rows)
    with torch.no_grad():
        logits = model(**batch(X, rows))["logits"]
    loss = F.cross_entropy(logits, Y[rows]).item()
    assert loss == pytest.approx(done.result.metrics["validation/loss"], rel=1e-5)


class Sentences(Dataset):
    """As Hugging Face's data sets: a dict an item, lists of numbers, the target under "label"."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return {"input_ids": IDS[i].tolist(), "attention_mask": MASK[i].numpy(), "label": int(Y[i])}


def test_a_dataset_of_dicts():
    task = Task(Encoder, Sentences(), test=False, epochs=1, batch_size=18)
    assert check(task) == ()
    inputs = task.train.packing.unpack(task.train.x)
    rows = torch.from_numpy(task.train.rows)
    assert torch.equal(inputs["input_ids"], IDS[rows])
    assert torch.equal(inputs["attention_mask"], MASK[rows])
    assert torch.equal(task.train.y, Y[rows])
    assert task.notes[0] == "inputs are input_ids int64 [6], attention_mask bool [6]"


def test_what_tricks_may_ask_of_nested_inputs():
    """Nothing that would mix or shift packed numbers."""
    assert task_of().provides == {"classification", "mixable", "any order", "imbalanced classes"}
    assert task_of().but(epochs=3).model is not None
    assert task_of().but(epochs=3).data_sha256 == task_of().data_sha256


leaf = st.sampled_from([torch.float32, torch.int64, torch.bool])
shapes = st.lists(st.integers(1, 3), max_size=3)
trees = st.recursive(
    st.tuples(leaf, shapes).map(list),
    lambda inner: (
        st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, min_size=1, max_size=3)
        | st.lists(inner, min_size=1, max_size=3).map(tuple)
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(trees, st.integers(0, 2**31))
def test_packing_is_undone_exactly(tree, seed):
    generator = torch.Generator().manual_seed(seed)

    def filled(spec):
        dtype, shape = spec
        if dtype is torch.float32:
            return torch.randn(5, *shape, generator=generator)
        values = torch.randint(0, 2 if dtype is torch.bool else 2**40, (5, *shape), generator=generator)
        return values.to(dtype)

    x = nested([(path, filled(spec)) for path, spec in leaves_of(tree)])
    packed, packing = pack(x, "train", tensor)
    leaves = list(leaves_of(packing.unpack(packed)))
    assert packed.ndim == 2 or len(leaves) == 1
    for (path, expected), (where, got) in zip(leaves_of(x), leaves, strict=True):
        assert path == where
        assert got.dtype == expected.dtype
        assert torch.equal(got, expected)


def test_bad_nested_inputs_are_told_in_one_line():
    short = {**X, "age": AGE[:7]}
    with pytest.raises(
        InputError, match=r"train x\['age'\] has 7 rows and train x\['input_ids'\] has 90; give one"
    ):
        task_of(short)
    with pytest.raises(
        InputError, match=r"validation x is input_ids int64 \[6\], train x is .*; prepare all splits"
    ):
        task_of(validation=({"input_ids": IDS}, Y))
    with pytest.raises(InputError, match=r"train x\['age'\] is one number; give one entry for each example"):
        task_of({**X, "age": torch.tensor(3.0)})
    with pytest.raises(
        InputError, match=r"train x\['input_ids'\] has integers beyond 2\^53 beside .* floats"
    ):
        task_of({**X, "input_ids": IDS + 2**60, "age": AGE})
    with pytest.raises(InputError, match=r"train x is empty; give at least one tensor"):
        task_of({})
    with pytest.raises(InputError, match=r"train x\['age'\] holds <U1, not numbers"):
        task_of({**X, "age": np.array(["a"] * N)})
    with pytest.raises(
        InputError, match=r"forward pass failed.*unexpected keyword argument 'ids'.*its inputs are ids"
    ):
        check(task_of({"ids": IDS}))

    class Ragged(Sentences):
        def __getitem__(self, i):
            item = super().__getitem__(i)
            return {**item, "input_ids": item["input_ids"][: 3 + i % 2]}

    with pytest.raises(
        InputError, match=r"item 1 has shape \[4\], item 0 has \[3\], in x\['input_ids'\]; pad token ids"
    ):
        Task(Encoder, Ragged())


def test_token_ids_that_are_real_numbers_are_told():
    model = lambda: nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(24, 2))  # noqa: E731
    with pytest.raises(InputError, match='token ids stay whole numbers with kind="text"'):
        check(Task(model, (IDS.float(), Y), test=False))
    assert (
        check(Task(model, (IDS, Y), test=False))
        == check(Task(model, (IDS, Y), test=False, kind="text"))
        == ()
    )


class OneImage(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(1, 3, 3), nn.Linear(3, 2)

    def forward(self, image):
        return self.head(self.body(image).mean((2, 3)))


def test_a_single_tensor_under_a_name_is_what_it_would_be_without():
    image = torch.randn(N, 1, 5, 5, generator=G)
    named, plain = Task(OneImage, ({"image": image}, Y)), Task(OneImage, (image, Y))
    assert check(named) == ()
    assert (named.kind, named.input_shape, named.provides) == ("image", (1, 5, 5), plain.provides)
    recipe = Recipe.of(registry(), {"adamw": {"lr": 0.01}, "flip": {}, "cutout": {}})
    runs = [Run("own", recipe, 0, 2)]
    results = [
        Training(TaskContext.of(one, registry(), CPU), runs, ("test",)).finish() for one in (named, plain)
    ]
    assert results[0][0].metrics == results[1][0].metrics
    ids = Task(OneEmbedding, ({"ids": IDS}, Y))
    assert (ids.kind, ids.train.x.dtype) == ("text", torch.int64)
    assert Task(OneImage, ({"image": (255 * image.abs()).to(torch.uint8)}, Y)).train.x.is_floating_point()


class OneEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(20, 3), nn.Linear(3, 2)

    def forward(self, ids):
        return self.head(self.embed(ids).mean(1))


@pytest.mark.parametrize("x", [X, AGE.reshape(-1, 1)], ids=["several", "a table"])
def test_only_images_are_of_the_kind_image(x):
    with pytest.raises(InputError) as error:
        Task(Encoder, (x, Y), kind="image")
    assert 'kind="image" takes x of shape [N, C, H, W], and the inputs are ' in str(error.value)
    assert "\n" not in str(error.value)
