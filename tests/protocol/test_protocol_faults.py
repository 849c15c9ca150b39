"""Planted faults: each is diagnosed by its code, in the step that it belongs to; and near misses that are none."""

from functools import partial

import pytest
import torch
from protocol_cases import changed, context_of, diabetes, digits, ground_of, mlp, regression, task_of, wrapped
from torch import nn

from ablate.protocol import overfit
from ablate.protocol.chosen import choose_cell
from ablate.protocol.fit import fit
from ablate.protocol.initial_loss import initial_loss
from ablate.protocol.loss_drop import loss_drop
from ablate.protocol.overfit import leak, overfit_sample
from ablate.protocol.plan import plan
from ablate.protocol.rate_grid import rate_grid, rates_worth_trying
from ablate.protocol.short_runs import few_examples, spread_rows
from ablate.protocol.steps import Step
from ablate.tasks.split import Split

X, Y = digits()


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch):
    """A hundred steps tell these small models' faults as well as four hundred."""
    monkeypatch.setattr(overfit, "fit", lambda *given, steps=100, **named: fit(*given, steps=steps, **named))


def codes(step: Step, *levels: str) -> list[str]:
    return [one.code for one in step.findings if one.level in (levels or ("warn", "fail"))]


def scaled_head(module: nn.Sequential) -> None:
    module[-1].weight *= 100


def dead(module: nn.Sequential) -> None:
    module[0].bias.fill_(-1000)


def zero_head(module: nn.Sequential) -> None:
    module[-1].weight.zero_()


def filled(module: nn.Sequential, value: float) -> None:
    for parameter in module.parameters():
        parameter.fill_(value)


FIRST = {
    "head-scale": (task_of(changed(scaled_head)), "fail"),
    "inputs-not-normalised": (task_of(x=X * 1000), "fail"),
    "initial-loss-not-finite": (task_of(wrapped(lambda body, x, extra: body(x).log())), "fail"),
    "labels-shifted": (task_of(lambda: mlp(outputs=11), y=Y + 1), "warn"),
    "target-not-standardised": (regression(y=diabetes()[1]), "warn"),
}


@pytest.mark.parametrize("code", FIRST)
def test_step_1_names_the_fault(code):
    task, verdict = FIRST[code]
    step = initial_loss(ground_of(task))
    assert step.verdict == verdict
    assert codes(step) == [code]
    (finding,) = [one for one in step.findings if one.code == code]
    assert finding.advice
    assert finding.where


def test_inputs_out_of_scale_are_told_from_a_head_out_of_scale_in_regression():
    x, _ = diabetes()
    assert codes(initial_loss(ground_of(regression(x=x * 1000)))) == ["inputs-not-normalised"]

    def head():
        module = mlp(10, 1)
        module[-1].weight.data *= 100
        return module

    assert codes(initial_loss(ground_of(regression(head)))) == ["head-scale"]


def test_initial_losses_that_are_sound():
    for task in (
        task_of(),
        task_of(changed(zero_head)),
        regression(),
        task_of(y=(Y == 3).long(), model=lambda: mlp(outputs=2)),
    ):
        step = initial_loss(ground_of(task))
        assert step.verdict == "pass"
        assert step.figures["ratio"] == pytest.approx(1, abs=0.15)
    imbalanced = step.figures
    assert imbalanced["prior"] < 0.5 < imbalanced["expected"]


def test_pixels_of_0_to_16_are_noted_and_pass():
    step = initial_loss(ground_of(task_of(x=(X - X.min()) * 6)))
    assert step.verdict == "pass"
    assert codes(step, "note") == ["inputs-not-normalised"]


def test_a_pretrained_model_is_told():
    from ablate.lanes.trainer import Trainer
    from ablate.protocol.short_runs import train_steps

    setup = ground_of(task_of())
    trainer = Trainer(setup.context, [setup.short_run(0.1)])
    train_steps(trainer, 100)
    state = trainer.model(0).state_dict()

    def pretrained():
        module = mlp()
        module.load_state_dict(state)
        return module

    assert codes(initial_loss(ground_of(task_of(pretrained)))) == ["initial-loss-low"]


SECOND = {
    "zeros": (changed(partial(filled, value=0.0)), "symmetric-initialisation"),
    "constant": (changed(partial(filled, value=0.1)), "symmetric-initialisation"),
    "blind": (wrapped(lambda body, x, extra: body(x * 0)), "ignores-inputs"),
    "dead": (changed(dead), "ignores-inputs"),
    "infinite slope": (wrapped(lambda body, x, extra: body(x) + extra.abs().sqrt()), "gradient-not-finite"),
    "sign": (wrapped(lambda body, x, extra: body(x).sign() + extra), "no-gradient"),
    "bottleneck": (lambda: nn.Sequential(nn.Linear(64, 1), nn.Tanh(), nn.Linear(1, 10)), "model-too-small"),
}
EARLIER = {
    "zeros": ["symmetric-initialisation"],
    "constant": ["symmetric-initialisation"],
    "dead": ["dead-units"],
}
"""What step 1 shows already."""


@pytest.mark.parametrize("fault", SECOND)
def test_step_2_names_the_fault(fault):
    model, code = SECOND[fault]
    setup = ground_of(task_of(model))
    assert codes(initial_loss(setup)) == EARLIER.get(fault, [])
    step = overfit_sample(setup)
    assert step.verdict == "fail"
    assert codes(step) == [code]


def test_a_model_too_small_for_regression():
    step = overfit_sample(ground_of(regression(lambda: nn.Linear(10, 1))))
    assert codes(step) == ["model-too-small"]


def test_a_head_that_starts_at_zero_is_no_symmetric_initialisation():
    def bottleneck():
        module = nn.Sequential(nn.Linear(64, 1), nn.Tanh(), nn.Linear(1, 10))
        module[-1].weight.data.zero_()
        return module

    assert codes(overfit_sample(ground_of(task_of(bottleneck)))) == ["model-too-small"]


def test_sound_models_learn_a_sample_by_heart():
    def normalised():
        return nn.Sequential(
            nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10)
        )

    for task in (task_of(), task_of(changed(zero_head)), task_of(normalised), regression()):
        step = overfit_sample(ground_of(task))
        assert step.verdict == "pass"
        assert step.figures["loss_without_inputs"] >= 0.99 * step.figures["prior"]


def test_a_model_that_refuses_what_is_all_padding_is_checked_too():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.body = nn.Embedding(17, 4, padding_idx=0), mlp(64 * 4)

        def forward(self, x):
            if bool((x == 0).all(1).any()):
                raise RuntimeError("at least one constituent tensor should have non-zero numel")
            return self.body(self.embed(x).flatten(1))

    tokens = (X * 16).long().clamp(0, 16)
    step = overfit_sample(ground_of(task_of(Masked, x=tokens, kind="text")))
    assert step.figures["loss_without_inputs"] >= 0.99 * step.figures["prior"]


def test_a_detached_layer_is_told():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.head = nn.Linear(64, 32), nn.Linear(32, 10)

        def forward(self, x):
            return self.head(self.below(x).detach().relu())

    step = overfit_sample(ground_of(task_of(Detached)))
    assert codes(step) == ["parameters-without-gradient"]
    assert step.findings[0].where == "below.weight, below.bias"


def test_targets_that_leak_past_the_inputs():
    assert leak(2.2, 2.3) == []
    (finding,) = leak(0.1, 2.3)
    assert (finding.code, finding.level) == ("targets-leak", "fail")


def test_the_sample_is_balanced_distinct_and_one_batch():
    x = torch.cat([X, X])  # every row twice
    y = torch.cat([torch.zeros(1190, dtype=torch.int64), torch.ones(10, dtype=torch.int64)])
    rows = spread_rows(Split(x, y), 2, 40)
    assert len(rows) == len({x[row].numpy().tobytes() for row in rows.tolist()}) == 40
    assert int(y[rows].sum()) == 10
    assert len(spread_rows(Split(X[:30].repeat(20, 1), Y[:30].repeat(20)), 10, 40)) == 30
    context = few_examples(context_of(task_of()), 40)
    assert len(context.task.train) == len(context.splits["train"]) == context.task.batch_size == 40
    assert context.task.train.y.bincount().tolist() == [4] * 10
    assert len(spread_rows(Split(X[:7], Y[:7]), 10, 40)) == 7


def test_labels_without_relation_are_found_on_all_data():
    mixed = torch.randperm(len(Y), generator=torch.Generator().manual_seed(0))
    setup = ground_of(task_of(y=Y[mixed]))
    assert overfit_sample(setup).verdict == "pass"
    step, drops = loss_drop(setup, overfitted=True)
    # In evaluation mode the loss of labels that are memorised may fall: then the grid, on held-out labels, is what tells.
    assert set(codes(step)) <= {"hardly-below-the-prior", "falls-slowly", "labels-unrelated"}
    assert all("labels" in one.advice + one.where for one in step.findings if one.level != "note")
    rates = rates_worth_trying(setup.baseline.rates(), drops, 60)
    step, cells = rate_grid(setup, rates, 6)
    if cells:  # at an early epoch a loss may be below the guess by chance
        step, _ = choose_cell(setup, cells, plan(len(rates), 0, 6, len(rates)))
    assert "no-better-than-a-guess" in codes(step, "fail")
    assert set(codes(step, "fail")) <= {"no-better-than-a-guess", "labels-unrelated"}


def test_sound_labels_pass_the_same_steps():
    setup = ground_of(task_of())
    step, drops = loss_drop(setup, overfitted=True)
    assert (step.verdict, step.figures["rate"]) == ("pass", 0.1)
    rates = rates_worth_trying(setup.baseline.rates(), drops, 60)
    assert 0.1 in rates
    assert 10.0 not in rates
    assert len(rates) < 10
    step, cells = rate_grid(setup, [0.032, 0.1, 0.32], 6)
    assert step.verdict == "pass"
    assert max(cell.value("validation/accuracy") for cell in cells) > 0.8


def test_a_loss_that_takes_inputs_has_its_own_prior_without_them():
    """Where all inputs are the first example's, the loss is weighted by that one: no target leaks."""
    scale = torch.linspace(1.0, 9.0, len(X))[
        torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
    ]

    def weighted(outputs, batch):
        x, y = batch
        return nn.functional.cross_entropy(outputs, y, reduction="none") * x.abs().mean(1)

    rows = []
    for factor in (scale, 10 - scale):  # the first example of one of them has a small weight
        step = overfit_sample(ground_of(task_of(x=X * factor[:, None], loss=weighted)))
        assert "targets-leak" not in codes(step)
        rows.append(step.figures["loss_without_inputs"] / step.figures["prior"])
    assert min(rows) < 0.9, "the loss does fall below the prior of the true inputs"
