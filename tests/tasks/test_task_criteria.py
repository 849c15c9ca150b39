"""Multi-label, token and pixel criteria: metrics against scikit-learn and torch, targets and outputs that do not fit."""

import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from torch import nn

from ablate.records.errors import InputError
from ablate.tasks.chance_level import chance_level
from ablate.tasks.check import check
from ablate.tasks.criteria.code import code_of
from ablate.tasks.describe import prior_loss
from ablate.tasks.metric_table import METRICS
from ablate.tasks.task import Task

G = torch.Generator().manual_seed(0)
K, N, C, T = 3, 40, 4, 6
X = torch.randn(N, 5, generator=G)
LABELS = (torch.rand(N, C, generator=G) < 0.4).float()
TOKENS = torch.randint(0, 7, (N, T), generator=G)
CLASSES = torch.randint(0, C, (N, T), generator=G).masked_fill(torch.rand(N, T, generator=G) < 0.3, -100)
IMAGES = torch.randn(N, 1, 4, 4, generator=G)
MASKS = torch.randint(0, C, (N, 4, 4), generator=G).masked_fill(torch.rand(N, 4, 4, generator=G) < 0.2, -100)


class Tagger(nn.Module):
    def __init__(self, classes=C):
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 8), nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.embed(x))


def multilabel(**more):
    return Task(
        more.pop("model", lambda: nn.Linear(5, C)), (X, more.pop("y", LABELS)), criterion="multilabel", **more
    )


def tagging(**more):
    criterion = more.pop("criterion", "token_classification")
    return Task(
        more.pop("model", Tagger), (TOKENS, more.pop("y", CLASSES)), criterion=criterion, kind="text", **more
    )


def segmentation(**more):
    model = more.pop("model", lambda: nn.Conv2d(1, C, 3, padding=1))
    return Task(model, (IMAGES, more.pop("y", MASKS)), criterion="segmentation", **more)


def test_multilabel_metrics_are_those_of_scikit_learn():
    outputs = torch.randn(K, N, C, generator=G).round(decimals=1)  # with ties
    y = LABELS.clone()
    y[:, 2] = 0  # a label that does not occur
    ours = code_of("multilabel").metrics(outputs, y)
    assert set(ours) == set(METRICS["multilabel"])
    there = [0, 1, 3]
    for lane, logits in enumerate(outputs):
        chosen = (logits > 0).int()
        expected = {
            "average_precision": sklearn.metrics.average_precision_score(
                y[:, there], logits[:, there], average="macro"
            ),
            "f1": sklearn.metrics.f1_score(y, chosen, average="macro", zero_division=0),
            "subset_accuracy": sklearn.metrics.accuracy_score(y, chosen),
            "label_accuracy": 1 - sklearn.metrics.hamming_loss(y, chosen),
            "loss": F.binary_cross_entropy_with_logits(logits.double(), y.double()).item(),
        }
        expected["log_loss"] = expected["loss"]
        assert {name: value[lane].item() for name, value in ours.items()} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("made", "kept"),
    [(tagging(), True), (tagging(criterion="language_modelling"), False), (segmentation(), True)],
)
def test_metrics_of_positions_are_those_of_scikit_learn_over_positions_that_count(made, kept):
    code, y = code_of(made.criterion), made.validation.y
    outputs = torch.randn(K, len(y), *made.output_form.shape, generator=G)
    ours = code.metrics(
        torch.cat([code.summary(outputs[:, :5], y[:5]), code.summary(outputs[:, 5:], y[5:])], 1), y
    )
    assert set(ours) == set(METRICS[made.criterion])
    for lane, logits in enumerate(outputs):
        last = logits if made.criterion != "segmentation" else logits.movedim(1, -1)
        truth, predicted = y[y >= 0], last.argmax(-1)[y >= 0]
        loss = F.cross_entropy(last.double().flatten(0, -2), y.flatten()).item()
        expected = {"accuracy": (truth == predicted).double().mean().item(), "loss": loss, "log_loss": loss}
        also = {
            "token_classification": {"f1": sklearn.metrics.f1_score(truth, predicted, average="macro")},
            "language_modelling": {"perplexity": np.exp(loss)},
            "segmentation": {"mean_iou": sklearn.metrics.jaccard_score(truth, predicted, average="macro")},
        }
        assert {name: value[lane].item() for name, value in ours.items()} == pytest.approx(
            expected | also[made.criterion]
        )


@pytest.mark.parametrize("made", [multilabel(), tagging(), segmentation()], ids=lambda made: made.criterion)
def test_losses_of_examples_average_to_torchs_loss_of_the_batch(made):
    y = made.train.y[:8]
    outputs = torch.randn(K, 8, *made.output_form.shape, generator=G)
    losses = made.evaluation.example_losses(outputs, made.encoded(y).expand(K, *y.shape))
    plain = [made.evaluation.plain_loss(lane, y) for lane in outputs]
    assert losses.shape == (K, 8)
    torch.testing.assert_close(losses.mean(1), torch.stack(plain))
    collected = made.evaluation.collect(outputs, y)
    measured = made.evaluation.metrics(collected, y, ["loss"])["loss"]
    torch.testing.assert_close(measured.float(), torch.stack(plain))


@pytest.mark.parametrize("made", [multilabel(), tagging(), segmentation()], ids=lambda made: made.criterion)
def test_outputs_that_are_not_finite_have_no_metric(made):
    y = made.validation.y
    outputs = torch.randn(K, len(y), *made.output_form.shape, generator=G)
    outputs[1].flatten()[3] = torch.nan
    metrics = made.evaluation.metrics(made.evaluation.collect(outputs, y), y)
    assert all(value.isnan().tolist() == [False, True, False] for value in metrics.values())


def test_prior_and_chance_are_of_the_frequencies():
    y = LABELS.double()
    share = y.mean(0)
    entropy = -(share * share.log() + (1 - share) * (1 - share).log()).mean().item()
    made = multilabel(validation=(X, LABELS), test=False)
    assert prior_loss(made) == pytest.approx(entropy, rel=0.01)
    share = CLASSES[CLASSES >= 0].bincount().double() / int((CLASSES >= 0).sum())
    made = tagging(validation=(TOKENS, CLASSES), test=False)
    assert prior_loss(made) == pytest.approx(-(share * share.log()).sum().item(), rel=0.01)
    assert chance_level(made) == pytest.approx(share.max().item())


@pytest.mark.parametrize("made", [multilabel(), tagging(), segmentation()], ids=lambda made: made.criterion)
def test_what_a_criterion_takes_passes_the_check(made):
    assert check(made) == ()
    assert made.but(epochs=3).criterion == made.criterion
    assert made.data_sha256 == made.but(epochs=3).data_sha256


BAD = [
    (lambda: multilabel(y=LABELS * 2), "train y holds 2, which is neither 0 nor 1; multilabel takes 0 or 1 for each label"),
    (lambda: multilabel(y=LABELS[:, 0]), "train y has shape [40]; multilabel takes a 0 or 1 for each label, [N, C]"),
    (lambda: multilabel(model=lambda: nn.Linear(5, 3)), "the model's output has shape [8, 3], expected [8, 4]; multilabel takes"),
    (lambda: multilabel(y=LABELS[:1].expand(N, C)), "train y is the same for all examples: there is nothing to learn"),
    (lambda: tagging(y=CLASSES.double() + 0.5), "train y holds 1.5, which is no whole number; give classes 0 … V-1 for every"),
    (lambda: tagging(y=CLASSES - 1), "train y holds the class -1"),
    (lambda: tagging(y=CLASSES[:, 0]), "train y has shape [40]; give classes 0 … V-1 for every token, [N, T]"),
    (lambda: tagging(y=CLASSES * 0 - 100), "train y is -100 everywhere; nothing would be predicted"),
    (lambda: tagging(y=CLASSES.clamp(max=0)), "train y holds one class only, 0; give examples of at least two classes"),
    (lambda: tagging(model=lambda: Tagger(3)), "y holds the class 3, but the model has 3 outputs; number the classes 0 … 2"),
    (lambda: segmentation(model=lambda: nn.Conv2d(1, C, 3)), "the model's output has shape [8, 4, 2, 2], expected [8, 4 or more, 4, 4]; r"),
    (lambda: Task(nn.Identity, (X, LABELS)), 'for several labels of an example, criterion="multilabel"'),
    (lambda: Task(nn.Identity, (TOKENS, CLASSES.clamp(min=0))), 'for a class of every token, criterion="token_classification"'),
    (lambda: Task(nn.Identity, (IMAGES, MASKS.clamp(min=0))), 'for a class of every pixel, criterion="segmentation"'),
    (lambda: Task(nn.Identity, (X, F.one_hot(torch.arange(N) % 3))), "from one-hot, y.argmax(1)"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD, ids=range(len(BAD)))
def test_what_does_not_fit_is_refused_in_one_line(make, message):
    with pytest.raises(InputError) as error:
        check(make())
    assert message in str(error.value)
    assert "\n" not in str(error.value)
