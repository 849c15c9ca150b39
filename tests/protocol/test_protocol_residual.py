"""Residual networks with batch norm and dropout: sound ones are not accused, and a softmax is named before what is only suspected."""

from dataclasses import replace

import pytest
import torch
from protocol_cases import baseline_of, digits, ground_of, mlp, task_of
from torch import nn

from ablate.lanes.trainer import Trainer
from ablate.protocol import overfit_trials
from ablate.protocol.batch_checks import dropout_findings
from ablate.protocol.fit import SampleFit
from ablate.protocol.initial_loss import initial_loss
from ablate.protocol.loss_drop import loss_drop
from ablate.protocol.prior import PriorLosses
from ablate.protocol.run import explained
from ablate.protocol.short_runs import few_examples, train_steps
from ablate.protocol.snapshot import evaluation_differs, snapshots, with_samples
from ablate.protocol.steps import Finding, Step, certain_first
from bench.faults.residual import Block, StuckNorm, many, residual

IMAGES = many(0)
BLOCKS = {"early": {}, "rectified sums": {"block": Block}, "single units": {"drop": nn.Dropout}}


def images(model) -> object:
    x, y, *_ = IMAGES
    return task_of(model, x, y)


@pytest.mark.parametrize("kind", BLOCKS)
def test_usual_dropout_in_a_residual_network_is_not_accused(kind):
    x = IMAGES[0][:64]
    for seed in range(5):
        torch.manual_seed(seed)
        model = residual(**BLOCKS[kind])
        assert dropout_findings(model, x, model) == []
        strong = residual(**BLOCKS[kind], rate=0.95)
        assert [one.code for one in dropout_findings(strong, x, strong)] == ["dropout-too-strong"]


def test_strong_dropout_is_measured_in_one_mode():
    """An untrained batch norm normalises nothing in evaluation mode, where small inputs leave the outputs small."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.Linear(256, 256), nn.Dropout(0.8), nn.Linear(256, 10))  # fmt: skip
    x = 1e-3 * torch.randn(64, 64)
    plain = nn.Sequential(*model[:3], model[4])
    ratio = model.train()(x).std() / plain.train()(x).std()
    assert ratio < 3
    assert dropout_findings(model, x, model) == []


def after(model, rate: float, steps: int) -> list[Finding]:
    """What a lane at `rate` is told about its modes after so many steps."""
    setup = ground_of(task_of(model))
    trainer = Trainer(with_samples(setup.context), [setup.short_run(rate)])
    train_steps(trainer, steps)
    (seen,) = snapshots(trainer)
    return evaluation_differs(setup.context.task, seen, PriorLosses.of(setup.context.task).loss)


def test_running_statistics_that_lag_are_no_fault_and_others_are():
    def shifted() -> nn.Module:
        """Statistics must go far: the norm is given a mean of a hundred deviations."""
        model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
        nn.init.normal_(model[0].weight)
        nn.init.constant_(model[0].bias, 1000.0)
        return model

    def stuck() -> nn.Module:
        model = nn.Sequential(nn.Linear(64, 32, bias=False), StuckNorm(32), nn.ReLU(), nn.Linear(32, 10))
        nn.init.normal_(model[0].weight)
        return model

    assert after(shifted, 0.05, 20) == []
    assert [one.code for one in after(stuck, 0.05, 20)] == ["evaluation-differs"]


def test_a_model_without_modes_cannot_differ_between_them():
    setup = ground_of(task_of())
    trainer = Trainer(with_samples(setup.context), [setup.short_run(0.5)])
    train_steps(trainer, 5)
    (seen,) = snapshots(trainer)
    torch.testing.assert_close(seen.training, seen.train[: len(seen.training)])
    assert len(seen.training) >= len(seen.train) - setup.context.task.batch_size


def dropping(rate: float, *last: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(rate), nn.Linear(32, 10), *last)


def test_a_softmax_is_named_before_what_is_suspected():
    first = initial_loss(ground_of(images(lambda: residual(nn.Softmax(1), rate=0.95, blocks=1))))
    assert [one.code for one in first.by_severity][:2] == ["outputs-are-probabilities", "dropout-too-strong"]
    guess, slow = Finding("model-too-small", "fail", "stagnates"), Finding("falls-slowly", "warn", "falls")
    second, third = explained(Step(2, {}, (guess,)), first), explained(Step(3, {}, (slow,)), first)
    assert [one.code for one in (*second.findings, *third.findings)] == ["does-not-learn", "falls-slowly"]
    assert all(
        "as step 1 explains: the outputs are not negative" in s.findings[0].message for s in (second, third)
    )
    twice = certain_first([slow, first.findings[0], slow])
    assert [one.code for one in twice] == ["outputs-are-probabilities", "falls-slowly"]


def tried(task, fits: list[str], monkeypatch, *, learns: bool) -> Finding | None:
    """What step 2 says where only the trials that `fits` names overfit the sample."""
    setup = ground_of(task)
    sample = setup.on(few_examples(setup.context, 40))
    done = []

    def fit(changed, rates, goal, steps):
        own_loss = changed.context.task.loss is not None
        plain = not any(getattr(layer, "p", 0) for layer in changed.context.task.model().modules())
        done.append("softmax" if own_loss else "dropout" if plain else "other")
        return [SampleFit(0.1, ALIVE, float(done[-1] in fits), 0.0, (), 1, False, (0, 1))]

    monkeypatch.setattr(overfit_trials, "fit", fit)
    return overfit_trials.prevented(sample, 1.0, 10, learns=learns)


ALIVE = train_steps(Trainer(ground_of(task_of()).context, [ground_of(task_of()).short_run(0.1)]), 1)[0]


def test_trials_name_the_certain_cause_and_usual_dropout_only_where_nothing_is_learned(monkeypatch):
    softmaxed = task_of(lambda: dropping(0.3, nn.Softmax(1)))
    both = tried(softmaxed, ["softmax", "dropout"], monkeypatch, learns=True)
    assert (both.code, both.level) == ("outputs-are-probabilities", "fail")
    assert tried(softmaxed, [], monkeypatch, learns=True) is None
    levels = {
        (rate, learns): tried(task_of(lambda rate=rate: dropping(rate)), ["dropout"], monkeypatch, learns=learns)
        for rate in (0.3, 0.7, 0.9)
        for learns in (True, False)
    }  # fmt: skip
    assert {key: (one.code, one.level) for key, one in levels.items()} == {
        (0.3, True): ("slowed-by-dropout", "note"),
        (0.3, False): ("dropout-too-strong", "fail"),
        (0.7, True): ("dropout-too-strong", "warn"),
        (0.7, False): ("dropout-too-strong", "fail"),
        (0.9, True): ("dropout-too-strong", "fail"),
        (0.9, False): ("dropout-too-strong", "fail"),
    }


def test_a_model_without_its_softmax_overfits_the_sample():
    """The trial trains on the cross-entropy of the probabilities, which is that of the logits below the softmax."""
    setup = ground_of(task_of(lambda: nn.Sequential(*mlp(), nn.Softmax(1))))
    sample = setup.on(few_examples(setup.context, 40))
    (finding, changed), *_ = overfit_trials.trials(sample, learns=True)
    assert finding.code == "outputs-are-probabilities"
    plain = ground_of(task_of())
    (with_softmax,) = overfit_trials.fit(changed, [0.1], 2.0, steps=30)
    (without,) = overfit_trials.fit(plain.on(few_examples(plain.context, 40)), [0.1], 2.0, steps=30)
    assert with_softmax.losses == pytest.approx(without.losses, rel=1e-3)


def test_a_slow_start_is_a_note_where_the_model_learns_a_sample_and_the_labels_are_sound():
    setup = ground_of(task_of(x=0.1 * digits()[0]), baseline=baseline_of(sgd={}))
    step, drops = loss_drop(setup, overfitted=True, steps=40)
    assert 0.02 < max(drop.share for drop in drops) < 0.1
    slow = [one for one in step.findings if one.code in ("falls-slowly", "hardly-below-the-prior")]
    assert [one.level for one in slow] == ["note"]
    doubted, _ = loss_drop(setup, overfitted=False, steps=40)
    assert [replace(one, level="note") for one in doubted.findings if one.level == "warn"] == slow
