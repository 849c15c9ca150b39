"""The engine's promise: a lane is what its run is alone, bit for bit, whatever happens around it."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ablate.catalogue.registry import registry
from ablate.lanes import training as training_module
from ablate.lanes.checkpoint import load as load_checkpoint
from ablate.lanes.checkpoint import save
from ablate.lanes.context import TaskContext
from ablate.lanes.group import grouped
from ablate.lanes.train import train
from ablate.lanes.trainer import Trainer
from ablate.lanes.training import Training
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Run
from ablate.tasks.load import load
from ablate.tasks.task import Task

CPU = torch.device("cpu")
CATALOGUE = registry()


def context_of(name: str, kernel: str | None = None) -> TaskContext:
    return TaskContext.of(load(name), CATALOGUE, CPU, kernel)


def runs_of(context: TaskContext, count: int = 5, epochs: int = 2) -> list[Run]:
    recipes = [
        {"momentum": {"lr": 0.02 * (i + 1), "momentum": 0.5 + 0.1 * i, "nesterov": bool(i % 2)}}
        for i in range(count)
    ]
    return [
        Run(context.task.name, Recipe.of(CATALOGUE, recipe), seed, epochs)
        for seed, recipe in enumerate(recipes)
    ]


@pytest.fixture(scope="module", params=["digits", "breast-cancer", "diabetes"])
def context(request: pytest.FixtureRequest) -> TaskContext:
    return context_of(request.param)


class Written(nn.Module):
    """A model with a `forward` of its own around the layers `body`."""

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class InPlace(Written):
    """The same with an operation that a trace does not follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).clone().mul_(1.0)


def test_kernels_are_chosen_by_the_model():
    assert context_of("digits").kernel == context_of("breast-cancer").kernel == "compiled"
    digits = load("digits")
    wide = digits.but(batch_size=4 * digits.batch_size)
    large = TaskContext.of(wide, CATALOGUE, CPU)
    assert large.probe.large, "one lane fills a core's cache"
    assert large.kernel == "compiled"
    for name, other in (("digits", "loop"), ("breast-cancer", "loop")):
        task = load(name)
        for around, kernel in ((Written, "compiled"), (InPlace, other)):
            written = Task(
                lambda model=task.model, around=around: around(model()), (task.train.x, task.train.y),
                (task.validation.x, task.validation.y), test=False, name="written",
            )  # fmt: skip
            assert TaskContext.of(written, CATALOGUE, CPU).kernel == kernel


def test_each_lane_is_what_it_is_alone(context: TaskContext):
    runs = runs_of(context)
    together = train(context, runs)
    for run, result in zip(runs, together, strict=True):
        alone = train(context, [run])[0]
        assert replace(alone, seconds=0) == replace(result, seconds=0)
        assert alone.outcome is Outcome.COMPLETE


def test_permuting_lanes_changes_nothing(context: TaskContext):
    runs = runs_of(context)
    one, other = train(context, runs), train(context, runs[::-1])[::-1]
    assert [replace(r, seconds=0) for r in one] == [replace(r, seconds=0) for r in other]


def test_compacting_and_refilling_change_nothing(context: TaskContext):
    runs = runs_of(context, 4, epochs=3)
    trainer = Trainer(context, runs[:3])
    steps = trainer.order.steps_per_epoch
    for _ in range(steps):
        trainer.step()
    trainer.take(torch.tensor([2, 0]))
    trainer.extend(Trainer(context, runs[3:]))
    for _ in range(steps):
        trainer.step()
    for lane, (run, age) in enumerate(zip((runs[2], runs[0], runs[3]), (2, 2, 1), strict=True)):
        alone = Trainer(context, [run])
        for _ in range(age * steps):
            alone.step()
        assert torch.equal(trainer.weights.flat[lane], alone.weights.flat[0])
        assert int(trainer.steps[lane]) == age * steps


def test_a_lane_that_diverges_touches_no_other(context: TaskContext):
    runs = runs_of(context, 3)
    mad = Run(runs[0].task, Recipe.of(CATALOGUE, {"momentum": {"lr": 1e30}}), 77, 2)
    calm, mad_result, *rest = train(context, [runs[0], mad, *runs[1:]])
    assert mad_result.outcome is Outcome.DIVERGED
    assert all(value != value for value in mad_result.metrics.values())
    expected = train(context, runs)
    assert [replace(r, seconds=0) for r in (calm, *rest)] == [replace(r, seconds=0) for r in expected]


def test_a_group_in_which_all_diverge_still_ends(context: TaskContext):
    run = Run(context.task.name, Recipe.of(CATALOGUE, {"momentum": {"lr": 1e30}}), 1, 2)
    assert [r.outcome for r in train(context, [run, replace(run, seed=2)])] == [Outcome.DIVERGED] * 2


def test_divergence_is_caught_within_a_step(context: TaskContext):
    """A loss that becomes NaN at step 3 masks that lane then: its weights stay those of step 2."""
    trainer = Trainer(context, runs_of(context, 2))
    for _ in range(2):
        trainer.step()
    before = trainer.weights.flat.clone()
    x = context.splits["train"].x
    broken = replace(context.splits["train"], x=torch.full_like(x, float("nan")))
    trainer.data.splits = {**context.splits, "train": broken}
    trainer.step()
    assert not trainer.alive.any()
    assert torch.equal(trainer.weights.flat, before)


def test_the_baseline_is_a_plain_torch_loop(context: TaskContext):
    """Same order of examples, torch's own module, optimizer and losses: equal to float rounding."""
    run = runs_of(context, 1)[0]
    trainer = Trainer(context, [run])
    model = trainer.model(0)
    settings = run.recipe["momentum"]
    optimizer = torch.optim.SGD(
        model.parameters(), lr=settings["lr"], momentum=settings["momentum"], nesterov=settings["nesterov"]
    )
    for _ in range(30):
        if trainer.within == 0:
            trainer.order.shuffle(trainer.seeds, trainer.steps // trainer.order.steps_per_epoch)
        index = trainer.order.at(trainer.within)[0]
        x, y = context.task.train.x[index], context.task.train.y[index]
        loss = F.cross_entropy(model(x), y) if context.task.classes else F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        got, _ = trainer.step()
        assert got.item() == pytest.approx(loss.item(), rel=1e-4)
    for name, parameter in model.named_parameters():
        assert torch.allclose(trainer.weights[name][0], parameter, atol=1e-5, rtol=1e-4)


def test_kernels_agree_to_rounding():
    for name in ("digits", "breast-cancer"):
        benches = [context_of(name, kernel) for kernel in ("loop", "vmap", "batched", "compiled")]
        trainers = [Trainer(b, runs_of(b, 3)) for b in benches]
        for _ in range(20):
            first, *rest = [trainer.step()[0] for trainer in trainers]
            for losses in rest:
                assert torch.allclose(first, losses, rtol=1e-4, atol=1e-5)


def test_vmapped_convolutions_are_exact_too():
    """On a CPU they leave vmap: as grouped convolutions they would round with the number of lanes."""
    context = context_of("digits", "vmap")
    runs = runs_of(context, 4)
    together = Trainer(context, runs)
    alone = Trainer(context, runs[1:2])
    for _ in range(20):
        together.step()
        alone.step()
    assert torch.equal(together.weights.flat[1], alone.weights.flat[0])
    assert torch.equal(together.predict("validation")[1], alone.predict("validation")[0])


def test_resume_in_the_middle_of_an_epoch_is_exact(context: TaskContext, tmp_path: Path):
    runs = runs_of(context, 3)
    whole = Training(context, runs, ("validation",)).finish()
    training = Training(context, runs, ("validation",))
    training.epoch()
    for _ in range(3):
        training.step()
    save(tmp_path / "group.pt", training)
    resumed = load_checkpoint(tmp_path / "group.pt", context).finish()
    assert [replace(r, seconds=0) for r in resumed] == [replace(r, seconds=0) for r in whole]


def test_a_torn_checkpoint_is_one_line(context: TaskContext, tmp_path: Path):
    training = Training(context, runs_of(context, 2), ("validation",))
    save(tmp_path / "group.pt", training)
    whole = (tmp_path / "group.pt").read_bytes()
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 7):
        (tmp_path / "torn.pt").write_bytes(whole[:cut])
        with pytest.raises(InputError, match="not a readable checkpoint"):
            load_checkpoint(tmp_path / "torn.pt", context)


def test_the_model_handed_out_computes_what_was_scored(context: TaskContext):
    trainer = Trainer(context, runs_of(context, 2))
    for _ in range(5):
        trainer.step()
    model = trainer.model(1).eval()
    outputs = model(context.task.validation.x).detach()
    assert torch.allclose(outputs.reshape(len(outputs), -1), trainer.predict("validation")[1], atol=1e-5)


class Branching(nn.Module):
    """Control flow on data: cannot be vmapped."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(30, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * 2 if x.mean() > 0 else self.layer(x)


class Drawing(nn.Module):
    """Draws from torch's own generator."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(30, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x * torch.bernoulli(torch.full_like(x, 0.7)) if self.training else x)


class Skipping(Drawing):
    """Draws from Python's generator: stochastic depth, as it is often written."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        keep = not self.training or random.random() < 0.7
        return self.layer(x) if keep else self.layer(torch.zeros_like(x))


class Noisy(Drawing):
    """Draws from NumPy's generator, in its initialisation too."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.layer.bias, np.random.normal())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noise = np.random.normal(size=x.shape[1]) if self.training else np.zeros(x.shape[1])
        return self.layer(x + torch.as_tensor(0.1 * noise, dtype=x.dtype))


SOLO = [
    (Branching, "data-dependent"), (Drawing, "global generator"), (Skipping, "global generator"), (Noisy, "global generator"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "why"), SOLO)
def test_a_model_that_cannot_be_vmapped_runs_one_lane_at_a_time(model: type[nn.Module], why: str):
    known = load("breast-cancer")
    task = Task(
        model, (known.train.x, known.train.y), (known.validation.x, known.validation.y), False, name="own"
    )
    context = TaskContext.of(task, CATALOGUE, CPU)
    assert why in context.solo
    runs = runs_of(context, 3)
    results = train(context, runs)
    assert [r.outcome for r in results] == [Outcome.COMPLETE] * 3
    torch.rand(5), random.random(), np.random.normal()  # whatever states the generators are in
    again = train(context, runs[1:2])[0]
    assert replace(again, seconds=0) == replace(results[1], seconds=0)


class Tied(nn.Module):
    """One weight in two layers, and one layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(30, 30)
        self.second = nn.Linear(30, 30)
        self.second.weight = self.first.weight
        self.again = self.first
        self.head = nn.Linear(30, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.again(torch.relu(self.second(torch.relu(self.first(x)))))))


@pytest.mark.parametrize("kernel", ["loop", "vmap", "batched", "compiled"])
def test_shared_weights_stay_shared(kernel: str):
    known = load("breast-cancer")
    task = Task(
        Tied, (known.train.x, known.train.y), (known.validation.x, known.validation.y), False, name="tied"
    )
    context = TaskContext.of(task, CATALOGUE, CPU, kernel)
    runs = runs_of(context, 3)
    trainer = Trainer(context, runs)
    model = trainer.model(1)
    optimizer = torch.optim.SGD(model.parameters(), **dict(runs[1].recipe["momentum"]))
    for _ in range(5):
        trainer.step()
        index = trainer.order.at((trainer.within - 1) % trainer.order.steps_per_epoch)[1]
        optimizer.zero_grad()
        F.cross_entropy(model(task.train.x[index]), task.train.y[index]).backward()
        optimizer.step()
    handed = trainer.model(1)
    assert handed.second.weight is handed.first.weight
    assert torch.allclose(handed.first.weight, model.first.weight, atol=1e-5)
    results = train(context, runs)
    assert replace(train(context, runs[2:])[0], seconds=0) == replace(results[2], seconds=0)


def test_out_of_memory_halves_the_group(context: TaskContext, monkeypatch: pytest.MonkeyPatch):
    runs = runs_of(context, 5)
    expected = train(context, runs)
    sizes = []
    real = Trainer.step

    def step(self: Trainer, *args: object) -> object:
        sizes.append(self.lanes)
        if self.lanes > 2:
            raise torch.OutOfMemoryError("out of memory: tried to allocate 3 GiB")
        return real(self, *args)

    monkeypatch.setattr(training_module.Trainer, "step", step)
    results = train(context, runs)
    assert [replace(r, seconds=0) for r in results] == [replace(r, seconds=0) for r in expected]
    assert max(sizes) == 5


def test_a_single_run_that_does_not_fit_is_a_result(context: TaskContext, monkeypatch: pytest.MonkeyPatch):
    def step(self: Trainer, *args: object) -> object:
        raise torch.OutOfMemoryError("tried to allocate 80 GiB")

    monkeypatch.setattr(training_module.Trainer, "step", step)
    result = train(context, runs_of(context, 1))[0]
    assert result.outcome is Outcome.OUT_OF_MEMORY
    assert "80 GiB" in result.note


def test_a_recipe_without_an_optimizer_is_refused(context: TaskContext):
    with pytest.raises(InputError, match="no optimizer"):
        train(context, [Run(context.task.name, Recipe({}), 0, 1)])


def test_groups_share_task_budget_and_structure():
    context = context_of("digits")
    runs = runs_of(context, 5)
    longer = [replace(run, epochs=3) for run in runs[:2]]
    groups = grouped([*runs, *longer], CATALOGUE, most=3)
    assert [len(group) for group in groups] == [3, 2, 2]
    assert groups[0] + groups[1] == runs


def test_the_former_name_of_a_context_still_works_and_says_so():
    from ablate.lanes import bench

    with pytest.warns(DeprecationWarning, match=r"it is ablate\.lanes\.context\.TaskContext"):
        assert bench.Bench is TaskContext
    with pytest.raises(AttributeError):
        bench.Bank  # noqa: B018


def test_a_run_alone_leaves_its_model():
    context = context_of("digits")
    run = runs_of(context, 1, epochs=1)[0]
    training = Training(context, [run], ("validation",))
    training.finish()
    with torch.no_grad():
        outputs = training.last_model.eval()(context.task.validation.x)
    loss = F.cross_entropy(outputs, context.task.validation.y).item()
    assert loss == pytest.approx(training.results[run.identity].metrics["validation/loss"], rel=1e-5)
