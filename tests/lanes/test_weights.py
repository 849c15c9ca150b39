"""The weights that are kept are those that the metrics are of, under the user's own names."""

import copy
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from ablate.catalogue.registry import registry
from ablate.lanes import checkpoint
from ablate.lanes.context import TaskContext
from ablate.lanes.training import Training
from ablate.lanes.weights import load, save
from ablate.lanes.weights_file import sealed
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.study.single import train_single
from ablate.tasks.builtin import builtin
from ablate.tasks.load import load as load_task
from ablate.tasks.task import Task

CPU = torch.device("cpu")


def noisy(count, seed, *shape):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *shape, generator=g)
    return x, (x.flatten(1)[:, :3] + torch.randn(count, 3, generator=g)).argmax(1)


class Convolutional(nn.Module):
    """With a norm, dropout, one layer used twice, and a head that shares its weights with another name."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.mix, self.drop = nn.Conv2d(6, 6, 3, padding=1), nn.Dropout(0.2)
        self.act, self.head = nn.ReLU(), nn.Linear(6, 3)
        self.also_head = self.head

    def forward(self, x):
        x = self.act(self.norm(self.stem(x)))
        return self.head(self.drop(self.act(self.mix(self.mix(x))).mean((2, 3))))


class WithoutNorm(Convolutional):
    def __init__(self):
        super().__init__()
        self.norm = nn.Identity()


def perceptron():
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))


def task_of(model, *shape, epochs=8):
    return Task(
        model, noisy(120, 1, *shape), noisy(90, 2, *shape), test=False, epochs=epochs, batch_size=30, name="t"
    )


TASKS = {"perceptron": task_of(perceptron, 8), "convolutional": task_of(Convolutional, 1, 5, 5)}
STOP = {"early_stopping": {"patience": 2}}
PLAIN = [{}, STOP, {"ema": {"decay": 0.9}}, {**STOP, "ema": {"decay": 0.9}}, {"dropout": {"p": 0.3}, **STOP}]
STRUCTURAL = [
    {"batch_norm": {}, **STOP},
    {"layer_norm": {}, "ema": {"decay": 0.9}, **STOP},
    {"skip_connection": {}, "group_norm": {}, "initialization": {}},
    {"activation": {}, "instance_norm": {}},
]


def trained(task, tricks, folder, lr=0.3):
    recipe = Recipe.of(registry(), {"momentum": {"lr": lr}, **tricks})
    return train_single(task, recipe, seed=3, epochs=None, device=CPU, folder=folder, report=lambda _: None)


def loss_of(model, task):
    with torch.no_grad():
        return F.cross_entropy(model.eval()(task.validation.x), task.validation.y).item()


@pytest.mark.parametrize("tricks", PLAIN, ids=lambda tricks: "+".join(tricks) or "none")
@pytest.mark.parametrize("name", TASKS)
def test_the_users_own_class_takes_the_weights_that_were_scored(name, tricks, tmp_path):
    task = TASKS[name]
    done = trained(task, tricks, tmp_path)
    model = task.model()
    model.load_state_dict(load_file(done.weights), strict=True)
    assert loss_of(model, task) == pytest.approx(done.result.metrics["validation/loss"], rel=1e-5)
    curve = done.result.curves["validation/loss"]
    if "early_stopping" in tricks:
        assert done.result.metrics["validation/loss"] == pytest.approx(min(curve), rel=1e-5)
        assert curve[-1] > min(curve) + 1e-3, "otherwise this would hold of the last epoch's weights too"


@pytest.mark.parametrize(
    "trick", ["acnet", "weight_standardization", "scaled_ws", "weight_norm", "spectral_norm"]
)
def test_a_weight_that_a_trick_computes_is_stored_as_computed(trick, tmp_path):
    """Folded, the kernel is one of the user's own layer: nothing is added to the file, and outputs are equal to 1e-5."""
    task = TASKS["convolutional"]
    done = trained(task, {trick: {}, "ema": {"decay": 0.5}}, tmp_path, lr=0.05)
    model = task.model()
    model.load_state_dict(load_file(done.weights), strict=True)
    assert loss_of(model, task) == pytest.approx(done.result.metrics["validation/loss"], rel=1e-5)
    rebuilt = load(done.weights, task)
    assert [name for name, _ in rebuilt.named_parameters()] == [name for name, _ in model.named_parameters()]
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(task.validation.x), model(task.validation.x), rtol=0, atol=0)


@pytest.mark.parametrize("tricks", [*PLAIN, *STRUCTURAL], ids=lambda tricks: "+".join(tricks) or "none")
@pytest.mark.parametrize("name", TASKS)
def test_load_builds_the_module_again(name, tricks, tmp_path):
    task = TASKS[name]
    if name == "perceptron" and "instance_norm" in tricks:
        pytest.skip("an instance norm needs feature maps")
    if name == "convolutional" and "batch_norm" in tricks:
        task = task_of(WithoutNorm, 1, 5, 5)  # A batch norm is not put on a model that has one.
    done = trained(task.but(epochs=3), tricks, tmp_path, lr=0.05)
    module = load(done.weights, task)
    assert not module.training
    assert loss_of(module, task) == pytest.approx(done.result.metrics["validation/loss"], rel=1e-5)
    assert set(task.model().state_dict()) <= set(load_file(done.weights))


def test_a_checkpoint_keeps_the_weights_of_the_best_epoch(tmp_path):
    """Stopped after each epoch and gone on with: the same file as in one go."""
    task = TASKS["perceptron"]
    context = TaskContext.of(task, registry(), CPU)
    run = Run("t", Recipe.of(registry(), {"momentum": {"lr": 0.3}, **STOP}), 3, 8)
    training = Training(context, [run], ("validation",), keep_weights=True)
    while not training.done:
        training.epoch()
        if not training.done:
            checkpoint.save(tmp_path / "c", training)
            training = checkpoint.load(tmp_path / "c", context)
    whole = Training(context, [run], ("validation",), keep_weights=True)
    whole.finish()
    kept, expected = (t.traces[run.identity].weights for t in (training, whole))
    assert kept
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[name], expected[name]) for name in kept)


def swapped_labels(task):
    split = task.train
    return task.but(train=replace(split, y=2 - split.y))


class Halved(nn.Sequential):
    def forward(self, x):
        return super().forward(x) / 2


def frozen(module):
    next(module.parameters()).requires_grad_(False)
    return module


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("data", swapped_labels),
        ("model", lambda task: task.but(model=lambda: Halved(*perceptron()))),
        ("model", lambda task: task.but(model=lambda: nn.Sequential(nn.Linear(8, 3)))),
        ("model", lambda task: task.but(model=lambda: nn.Sequential(*perceptron(), nn.Dropout(0.5)))),
        ("model", lambda task: task.but(model=lambda: frozen(perceptron()))),
        ("criterion or batch size", lambda task: task.but(batch_size=31)),
    ],
)
def test_a_checkpoint_of_other_data_or_another_model_is_refused(what, change, tmp_path):
    task = TASKS["perceptron"]
    run = Run("t", Recipe.of(registry(), {"momentum": {"lr": 0.1}}), 3, 8)
    training = Training(TaskContext.of(task, registry(), CPU), [run], ("validation",))
    training.epoch()
    checkpoint.save(tmp_path / "c", training)
    same = TaskContext.of(copy.copy(task), registry(), CPU)
    assert len(checkpoint.load(tmp_path / "c", same).traces[run.identity].curves["train/loss"]) == 1
    with pytest.raises(InputError, match=f"the {what} of 't' changed since .* was saved; undo"):
        checkpoint.load(tmp_path / "c", TaskContext.of(change(task), registry(), CPU))


class WithExtraState(nn.Linear):
    def get_extra_state(self):
        return {"version": 1}

    def set_extra_state(self, state):
        del state


def test_what_cannot_be_saved_or_read_is_one_line(tmp_path):
    task = TASKS["perceptron"]
    with pytest.raises(InputError, match="_extra_state' is a dict, and only tensors are saved"):
        trained(task.but(model=lambda: WithExtraState(8, 3)), {}, tmp_path)
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load(tmp_path / "none.safetensors", task)
    (tmp_path / "torn.safetensors").write_bytes(b"not one")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load(tmp_path / "torn.safetensors", task)
    run = Run("t", Recipe.of(registry(), {"momentum": {"lr": 0.1}}), 3, 8)
    save(tmp_path / "w.safetensors", task, run, perceptron().state_dict())
    with pytest.raises(InputError, match="is of another model: only one of them has"):
        load(tmp_path / "w.safetensors", task.but(model=lambda: nn.Linear(8, 3)))
    narrow = nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 32), nn.ReLU(), nn.Linear(32, 3))
    with pytest.raises(InputError, match=r"is of another model: Error.* size mismatch for 0\.weight"):
        load(tmp_path / "w.safetensors", task.but(model=lambda: copy.deepcopy(narrow)))
    save(tmp_path / "r.safetensors", task, run, perceptron().state_dict(), {"recipe": {"momentun": {}}})
    with pytest.raises(
        InputError, match="has a recipe that cannot be used: unknown trick 'momentun'; did you mean"
    ):
        load(tmp_path / "r.safetensors", task)
    norm = {"momentum": {"lr": 0.1}, "remove_norm": {}}
    save(tmp_path / "n.safetensors", task, run, perceptron().state_dict(), {"recipe": norm})
    with pytest.raises(InputError, match=r"n\.safetensors is of another model: "):
        load(tmp_path / "n.safetensors", task)


TASK_FILE = """
import torch
from pathlib import Path
from torch import nn
from ablate.tasks.task import Task

Path(__file__).with_name("ran").touch()
task = Task(model=lambda: nn.Linear(4, 2), train=(torch.randn(40, 4), torch.arange(40) % 2), epochs=2)
"""


def weights_of(folder, task):
    run = Run(task.name, Recipe.of(registry(), {"momentum": {"lr": 0.1}}), 3, 2)
    save(folder / "w.safetensors", task, run, task.model().state_dict())
    return folder / "w.safetensors"


def noted(path, change):
    """The file at `path` with `change` made to its note; the digest is made anew, as a forger would."""
    tensors, metadata = load_file(path), {}
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    note = change(json.loads(metadata["ablate"]))
    path.write_bytes(sealed(tensors, note if isinstance(note, str) else json.dumps(note, sort_keys=True)))


@pytest.mark.parametrize("sha256", ["", "as it is"])
def test_a_name_in_a_file_imports_no_task(tmp_path, sha256):
    """S5: whatever a weights file says it was trained on, only a task that the caller names is loaded."""
    (tmp_path / "mine.py").write_text(TASK_FILE)
    name = f"{tmp_path / 'mine.py'}:task"
    file = weights_of(tmp_path, load_task(name))
    if not sha256:
        noted(file, lambda note: {**note, "source_sha256": ""})
    (tmp_path / "ran").unlink()
    with pytest.raises(InputError, match=r"is not built in.*; name it: ablate\.load\(path, task="):
        load(file)
    assert not (tmp_path / "ran").exists()
    if sha256:
        assert isinstance(load(file, task=name), nn.Linear)
        (tmp_path / "mine.py").write_text(TASK_FILE + "# edited")
        with pytest.raises(InputError, match="has changed since"):
            load(file, task=name)


def test_a_built_in_task_need_not_be_named(tmp_path):
    file = weights_of(tmp_path, builtin("digits"))
    assert isinstance(load(file), nn.Module)
    noted(file, lambda note: {**note, "source_sha256": "an object of that name"})
    with pytest.raises(InputError, match="trained on digits, which is not built in"):
        load(file)


def test_weights_that_cannot_be_written_leave_the_checkpoint(tmp_path, monkeypatch):
    """A full disk at the end of a training costs no epoch of it: the same command goes on from the checkpoint."""
    task = TASKS["perceptron"].but(epochs=3)

    def full(*_):
        raise InputError("cannot write it: No space left on device")

    monkeypatch.setattr("ablate.study.single.save", full)
    with pytest.raises(InputError, match="No space left"):
        trained(task, {}, tmp_path)
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".pt"
    monkeypatch.undo()
    done = trained(task, {}, tmp_path)
    assert done.resumed == 2
    assert list(tmp_path.iterdir()) == [done.weights]
