"""Causes by trial, on models and data whose fault is known, and on near misses that have none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from protocol_cases import digits, mlp
from torch import nn

from ablate.protocol.batch_checks import (
    dropout_findings,
    evaluation_findings,
    frozen_findings,
    without_dropout,
)
from ablate.protocol.label_causes import (
    confident_label_errors,
    label_cause,
    noisy_training_labels,
    worse_than_reference,
)
from ablate.protocol.loss_causes import loss_findings
from ablate.protocol.norm_checks import cancelled, norm_findings
from ablate.protocol.output_causes import output_findings, softmax_over_batch, squashed_numbers
from ablate.protocol.plan import SHORT_STEPS, Budget, ShortRuns, expected, short_runs
from ablate.protocol.relation import relations
from ablate.protocol.signals import equal_head, signal_findings, signals, symmetric_layers
from ablate.protocol.snapshot import Snapshot, exchanged_classes, noisy_labels

X, Y = digits()


def codes(findings) -> list[str]:
    return [finding.code for finding in findings]


def layers(model: nn.Module, x: torch.Tensor = X[:64]):
    return signals(model, lambda: model(x))


def test_logits_and_log_probabilities_are_sound():
    logits = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    assert output_findings(logits, 5) == []
    assert output_findings(logits.log_softmax(1), 5) == []
    assert output_findings(torch.zeros(100, 5), 5) == []  # a head of zeros
    assert output_findings(logits[:, :1].abs() + 1, None) == []  # a regression that begins above zero
    assert codes(output_findings(logits.softmax(1), 5)) == ["outputs-are-probabilities"]
    inside = logits[:, :1].sigmoid()
    assert squashed_numbers(inside, torch.rand(100)) == []
    assert codes(squashed_numbers(inside, 3 * torch.randn(100))) == ["outputs-squashed"]


def test_signals_are_those_of_a_forward_pass_by_hand():
    torch.manual_seed(0)
    model = mlp()
    first, second = layers(model)[0], layers(model)[2]
    hidden = model[0](X[:64]).detach().double()
    assert first.name == "0"
    assert first.deviation == pytest.approx(float(hidden.var(0, correction=0).mean().sqrt()), rel=1e-6)
    assert first.size == pytest.approx(float(hidden.square().mean().sqrt()), rel=1e-6)
    zero = (hidden.relu() == 0).all(0).double().mean()
    assert second.dead == pytest.approx(float(zero))
    assert signal_findings(layers(model)) == []
    assert equal_head(layers(model), model) == symmetric_layers(layers(model), model) == []


def test_a_head_of_zeros_is_no_symmetric_initialisation():
    model = mlp()
    nn.init.zeros_(model[-1].weight)
    assert equal_head(layers(model), model) == []
    nn.init.ones_(model[-1].weight)
    assert codes(equal_head(layers(model), model)) == ["symmetric-initialisation"]


def test_a_growing_recurrence_explodes_and_an_orthogonal_one_does_not():
    def recurrent(growth: float):
        into, recur, head = nn.Linear(8, 16), nn.Linear(16, 16, bias=False), nn.Linear(16, 10)
        recur.weight.data = growth * torch.linalg.qr(torch.randn(16, 16))[0]
        model = nn.ModuleList([into, recur, head])

        def forward():
            state = torch.zeros(64, 16)
            for step in X[:64].view(64, 8, 8).repeat(1, 5, 1).unbind(1):
                state = recur(state) + into(step)
            return head(state)

        return signals(model, forward)

    torch.manual_seed(0)
    assert signal_findings(recurrent(1.0)) == []
    assert codes(signal_findings(recurrent(1.6))) == ["exploding"]


def test_modes_draws_and_buffers_stay_as_they_are():
    model = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(0.95), nn.Linear(8, 10))
    model[2].eval()
    before, state = [module.training for module in model.modules()], torch.get_rng_state()
    buffers = [buffer.clone() for buffer in model.buffers()]
    assert norm_findings(model, lambda: model(X[:32]), 100) == []
    assert cancelled(model, ["0.bias", "0.weight", "1.bias", "3.bias"], lambda: model(X[:32])) == {"0.bias"}
    assert evaluation_findings(model, X[:32], model) == []
    assert codes(dropout_findings(model, X[:32], model)) == ["dropout-too-strong"]
    assert [module.training for module in model.modules()] == before
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(*pair) for pair in zip(buffers, model.buffers(), strict=True))
    assert all(layer.p == 0 for layer in without_dropout(lambda: model)() if isinstance(layer, nn.Dropout))


def test_a_softmax_over_the_batch_is_seen_as_it_is():
    logits = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    for over_batch in (logits.softmax(0), logits.log_softmax(0), torch.zeros(64, 5).log_softmax(0)):
        assert softmax_over_batch(over_batch)
    square = torch.zeros(5, 5)
    for sound in (logits, logits.softmax(1), logits.log_softmax(1), square.softmax(1), square.log_softmax(1)):
        assert not softmax_over_batch(sound)
    model = mlp()
    for call in (F.softmax, F.log_softmax):
        findings = evaluation_findings(model, X[:32], lambda x, call=call: call(model(x), dim=0))
        assert codes(findings) == ["softmax-over-batch"]
        assert evaluation_findings(model, X[:32], lambda x, call=call: call(model(x), dim=1)) == []


def test_the_statistics_of_a_batch_norm_must_reach_the_weights_within_a_run():
    def found(momentum: float | None, steps: int, *, trained: bool = False) -> list[str]:
        model = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8, momentum=momentum))
        if trained:
            model(X[:32])
        return [finding.message for finding in norm_findings(model, lambda: model(X[:32]), steps)]

    assert found(0.1, 100) == found(None, 100) == found(0.001, 10_000) == []
    (message,) = found(0.001, 100)
    assert "after a run of 100 steps 90% of its statistics are those of the initialisation" in message
    assert found(0.001, 100, trained=True) == []  # those of a pre-trained model are sound
    assert "of the initialisation" in found(0.0, 100)[0]
    assert "of the last batch alone" in found(1.0, 100, trained=True)[0]


def test_batch_norm_mixes_examples_in_training_only():
    model = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
    assert evaluation_findings(model, X[:32], model) == []
    assert codes(evaluation_findings(model, X[:32], lambda x: model(x) - model(x).mean(0))) == [
        "examples-mixed"
    ]


def test_loaded_weights_that_are_frozen_are_no_fault():
    one, other = mlp(), mlp()
    for model in (one, other):
        model[0].requires_grad_(False)
    assert codes(frozen_findings(one, other)) == ["parameters-frozen"]
    other[0].load_state_dict(one[0].state_dict())
    assert frozen_findings(one, other) == []


def test_means_are_told_from_sums():
    outputs = torch.randn(64, 10)
    for loss in (F.cross_entropy, lambda o, t: F.cross_entropy(o, t, reduction="none")):
        assert loss_findings(loss, outputs, Y[:64], negative=False) == []
    summed = loss_findings(
        lambda o, t: F.cross_entropy(o, t, reduction="sum"), outputs, Y[:64], negative=False
    )
    assert codes(summed) == ["loss-summed"]
    negated = loss_findings(lambda o, t: -F.cross_entropy(o, t), outputs, Y[:64], negative=False)
    assert codes(negated) == ["loss-negative"]


def test_relations_tell_which_labels_do_not_belong_to_their_inputs():
    shuffled = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    train, new = (X[:300], Y[:300]), (X[300:600], Y[300:600])
    sound = relations(train, new)
    assert sound is not None
    assert sound.across.score > 0.8
    assert label_cause(sound, 300).level == "note"
    assert noisy_training_labels(sound) == []
    assert codes(worse_than_reference(sound, 0.5, 0.02)) == ["worse-than-linear"]
    assert worse_than_reference(sound, sound.across.score - 0.05, 0.02) == []
    wrong = {
        "labels-unrelated": ((X[:300], Y[:300][shuffled]), new),
        "validation-labels-unrelated": (train, (new[0], new[1][shuffled])),
        "validation-differs": (train, (new[0], (new[1] + 1) % 10)),
    }
    for code, splits in wrong.items():
        assert label_cause(relations(*splits), 300).code == code
    weak = replace(sound, train=replace(sound.train, p=0.02))  # 63 % of 64 rows, where a guess has 50 %
    assert label_cause(weak, 300) is None
    half = torch.where(torch.arange(300) % 2 == 0, Y[:300], Y[:300][shuffled])
    assert codes(noisy_training_labels(relations((X[:300], half), new))) == ["labels-noisy"]


def redrawn(y: torch.Tensor, share: float) -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    hit = torch.rand(len(y), generator=draw) < share
    return torch.where(hit, torch.randint(10, y.shape, generator=draw), y)


def test_labels_that_are_redrawn_are_estimated_and_hard_ones_are_not_accused():
    """Noise on the inputs makes a forest as wrong as redrawn labels do, and less so where it is sure."""
    noisy = redrawn(Y, 0.4)
    (finding,) = confident_label_errors(relations((X[:300], noisy[:300]), (X[300:], noisy[300:])))
    assert finding.code == "labels-noisy"
    share = int(finding.message.removeprefix("about ").partition("%")[0])
    assert share == pytest.approx(100 * float((noisy != Y).double().mean()), abs=8)
    hard = X + 1.5 * torch.randn(X.shape, generator=torch.Generator().manual_seed(1))
    related = relations((hard[:300], Y[:300]), (hard[300:], Y[300:]))
    assert related.surest.wrong > 0.3
    for sound in (related, relations((X[:300], Y[:300]), (X[300:], Y[300:])), None):
        assert confident_label_errors(sound) == []
    other = relations((X[:300], Y[:300]), (X[300:], Y[300:].roll(1)))
    assert (
        confident_label_errors(other) == []
    )  # one split's labels belong to other inputs: that has a name of its own
    unrelated = relations((X[:300], Y[:300].roll(1)), (X[300:], Y[300:].roll(1)))
    assert confident_label_errors(unrelated) == []  # a forest that is no better than a guess says nothing


def logits_of(y: torch.Tensor) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return 6.0 * F.one_hot(y, 10) + torch.randn(len(y), 10, generator=draw)


def test_classes_of_a_model_that_learned_nothing_are_not_exchanged():
    """Of 80 validation labels 34 are right, and 46 after the exchange: a guess is right as often."""
    y, guess = torch.arange(320) % 2, torch.arange(320) % 2
    guess[::3] = 1 - guess[::3]
    truth, predicted = torch.arange(80) % 2, torch.arange(80) % 2
    predicted[:46] = 1 - truth[:46]
    train, validation = (F.one_hot(one, 2).float() for one in (guess, predicted))
    assert exchanged_classes(Snapshot(train, y, validation, truth, train)) == []
    many = Snapshot(train, y, validation.repeat(20, 1), truth.repeat(20), train)
    assert codes(exchanged_classes(many)) == ["labels-permuted"]


def test_exchanged_classes_and_noise_are_seen_in_outputs():
    def seen(y, validation_y):
        return Snapshot(logits_of(Y[:300]), y, logits_of(Y[300:]), validation_y, logits_of(Y[:300]))

    assert exchanged_classes(seen(Y[:300], Y[300:])) == noisy_labels(seen(Y[:300], Y[300:])) == []
    assert codes(exchanged_classes(seen(Y[:300], (Y[300:] + 3) % 10))) == ["labels-permuted"]
    turned = torch.where(Y < 5, (Y + 1) % 5, Y)
    confused = Snapshot(
        logits_of(turned[:300]), Y[:300], logits_of(turned[300:]), Y[300:], logits_of(turned[:300])
    )
    assert exchanged_classes(confused) == [], "the model confuses classes of both splits"
    shuffled = Y[300:][torch.randperm(300, generator=torch.Generator().manual_seed(0))]
    assert exchanged_classes(seen(Y[:300], shuffled)) == []
    draw = torch.Generator().manual_seed(2)
    weak = [F.one_hot(y, 10) + 0.8 * torch.randn(len(y), 10, generator=draw) for y in (Y[:300], Y[300:])]
    assert 0.3 < float((weak[1].argmax(1) != Y[300:]).double().mean()) < 0.7
    assert noisy_labels(Snapshot(weak[0], Y[:300], weak[1], Y[300:], weak[0])) == [], "little is learned"
    third = torch.arange(300) % 3 == 0
    wrong, wrong_too = torch.where(third, shuffled, Y[:300]), torch.where(third, shuffled, Y[300:])
    assert codes(noisy_labels(seen(wrong, wrong_too))) == ["labels-noisy"]
    assert codes(noisy_labels(seen(wrong, Y[300:]))) == ["labels-noisy"]
    assert noisy_labels(seen(Y[:300], wrong_too)) == [], (
        "a model that learned its labels by heart is sure of errors"
    )


def test_what_is_expected_before_anything_is_trained():
    whole = expected(2, 10, 1000)
    assert whole.steps == SHORT_STEPS
    assert 11.5 < whole.runs(10, 1000) <= 1.3 * 11
    assert expected(2, 10, 400).runs(10, 400) <= 1.3 * 11
    assert expected(2, 10, 10**9, Budget(runs=30)).plan.runs == 11 + 6 + 2
    assert expected(2, 10, 10**9, Budget(runs=5)).plan.runs == 11
    assert expected(2, 10, 10**9, Budget(runs=5)).runs(10, 10**9) == pytest.approx(4.4, abs=0.5)
    timed = expected(0, 10, 1000, Budget(seconds=60), run_seconds=4)
    assert timed.runs(10, 1000) * 4 <= 60
    assert short_runs(Budget(), 1.0, 1000) == short_runs(Budget(seconds=3600), 1e-3, 1000) == ShortRuns()
    assert short_runs(Budget(), 1.0, 480).drop == 60
    assert short_runs(Budget(seconds=60), 0.1, 1000).overfit < 100


def test_few_validation_examples_do_not_make_labels_unrelated():
    """Where their number cannot tell, nothing is said: the labels here are sound."""
    draw = torch.Generator().manual_seed(5)
    x = torch.randn(340, 8, generator=draw)
    y = (x[:, 0] + 1.5 * torch.randn(340, generator=draw) > 0).long()
    related = relations((x[:300], y[:300]), (x[300:], y[300:]))
    assert related is not None
    assert related.train.certain
    assert not related.across.certain
    assert label_cause(related, 300) is None
