"""Metrics against scikit-learn, ECE against a loop written from the paper, and lanes against each lane alone."""

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.records.errors import InputError
from ablate.tasks import metrics
from ablate.tasks.metric_table import METRICS, metric_info, selection_metric
from ablate.tasks.metrics import classification_metrics, per_example_scores, regression_metrics, tree_sum


def case(seed, lanes, count, classes):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(lanes, count, classes, generator=generator)
    y = torch.randint(classes, (count,), generator=generator)
    logits[:, torch.arange(count), y] += 2.0
    return logits, y


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def ece_of_the_paper(probabilities, y):
    """Equations 2 and 3 of Guo et al.: bin I_m = ((m-1)/M, m/M], weight |B_m|/n, |acc(B_m) - conf(B_m)|."""
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)
    error = 0.0
    for m in range(1, 16):
        members = [i for i in range(len(y)) if (m - 1) / 15 < confidence[i] <= m / 15]
        if members:
            accuracy = sum(predicted[i] == y[i] for i in members) / len(members)
            mean_confidence = sum(confidence[i] for i in members) / len(members)
            error += len(members) / len(y) * abs(accuracy - mean_confidence)
    return error


@pytest.mark.parametrize(("seed", "count", "classes"), [(0, 1, 2), (1, 7, 2), (2, 64, 3), (3, 501, 10)])
def test_classification_agrees_with_scikit_learn_and_the_paper(seed, count, classes):
    logits, y = case(seed, 3, count, classes)
    ours = classification_metrics(logits, y)
    assert set(ours) == set(METRICS["classification"])
    labels = np.arange(classes)
    for lane in range(3):
        p, truth = softmax(logits[lane].double().numpy()), y.numpy()
        predicted = p.argmax(1)
        present = np.unique(truth)
        recalls = sklearn.metrics.recall_score(truth, predicted, labels=present, average=None)
        theirs = {
            "accuracy": sklearn.metrics.accuracy_score(truth, predicted),
            "loss": sklearn.metrics.log_loss(truth, p, labels=labels),
            "log_loss": sklearn.metrics.log_loss(truth, p, labels=labels),
            "balanced_accuracy": recalls.mean(),
            "worst_class_recall": recalls.min(),
            "ece": ece_of_the_paper(p, truth),
            "f1": sklearn.metrics.f1_score(
                truth, predicted, average="binary" if classes == 2 else "macro", zero_division=0
            ),
            "auroc": roc_auc(truth, p),
        }
        for name, value in theirs.items():
            assert ours[name][lane].item() == pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True), name


def roc_auc(truth, p):
    """scikit-learn's, of class 1 or the mean of each class against the rest; NaN where only one class occurs."""
    if len(np.unique(truth)) < 2:
        return np.nan
    if p.shape[1] == 2:
        return sklearn.metrics.roc_auc_score(truth, p[:, 1])
    return np.mean([sklearn.metrics.roc_auc_score(truth == c, p[:, c]) for c in np.unique(truth)])


def test_tied_scores_count_half():
    """Whole logits, so that many examples of both classes have the same."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(3, (4, 60, 2), generator=generator).double()
    y = torch.randint(2, (4, 60), generator=generator)
    ours = classification_metrics(logits, y, ["auroc", "f1"])
    for lane in range(4):
        p, truth = softmax(logits[lane].numpy()), y[lane].numpy()
        assert ours["auroc"][lane].item() == pytest.approx(
            sklearn.metrics.roc_auc_score(truth, p[:, 1].round(9))
        )
        assert ours["f1"][lane].item() == pytest.approx(sklearn.metrics.f1_score(truth, p.argmax(1)))


@pytest.mark.parametrize("outputs", [1, 3])
def test_regression_agrees_with_scikit_learn(outputs):
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(203, outputs, generator=generator) * 7 + 100
    prediction = y + torch.randn(4, 203, outputs, generator=generator) * torch.arange(1.0, outputs + 1)
    ours = regression_metrics(prediction, y)
    assert set(ours) == set(METRICS["regression"])
    for lane in range(4):
        pair = y.double().numpy(), prediction[lane].double().numpy()
        theirs = {
            "rmse": sklearn.metrics.root_mean_squared_error(*pair),
            "loss": sklearn.metrics.mean_squared_error(*pair),
            "mae": sklearn.metrics.mean_absolute_error(*pair),
            "r2": sklearn.metrics.r2_score(*pair),
        }
        for name, value in theirs.items():
            assert ours[name][lane].item() == pytest.approx(value, rel=1e-12), name


def test_r2_of_a_constant_target_is_one_or_zero():
    y = torch.full((9, 1), 3.0)
    r2 = regression_metrics(torch.stack([y, y + 1]), y)["r2"]
    assert r2.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [5, 1000, 40_001])
def test_a_lane_has_the_same_bits_alone_and_in_company(count, threads):
    logits, y = case(5, 6, count, 10)
    targets = torch.randn(count, 2, generator=torch.Generator().manual_seed(1))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = [classification_metrics(logits, y), regression_metrics(logits[..., :2], targets)]
        for lane in range(6):
            alone = logits[lane : lane + 1].clone()
            apart = [classification_metrics(alone, y), regression_metrics(alone[..., :2], targets)]
            for ours, theirs in zip(together, apart, strict=True):
                for name in ours:
                    assert torch.equal(ours[name][lane : lane + 1], theirs[name]), name
    finally:
        torch.set_num_threads(before)


def test_chunks_of_lanes_change_nothing(monkeypatch):
    logits, y = case(6, 7, 50, 4)
    whole = classification_metrics(logits, y)
    monkeypatch.setattr(metrics, "CHUNK", 50 * 15 * 2)
    assert all(torch.equal(value, whole[name]) for name, value in classification_metrics(logits, y).items())


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_broken_lane_is_nan_everywhere_and_touches_no_other(poison):
    logits, y = case(7, 3, 20, 4)
    targets = torch.randn(20, 4)
    sound = [classification_metrics(logits, y), regression_metrics(logits, targets)]
    logits[1, 3, 2] = poison
    broken = [classification_metrics(logits, y), regression_metrics(logits, targets)]
    for before, after in zip(sound, broken, strict=True):
        for name in before:
            assert after[name][1].isnan(), name
            assert torch.equal(after[name][[0, 2]], before[name][[0, 2]]), name


def test_only_computes_what_is_asked():
    logits, y = case(8, 2, 20, 4)
    assert set(classification_metrics(logits, y, only=["ece"])) == {"ece"}
    assert set(regression_metrics(logits, torch.randn(20, 4), only=["validation/r2"])) == {"r2"}


def test_equal_logits_go_to_the_first_class():
    assert classification_metrics(torch.zeros(1, 4, 3), torch.tensor([0, 0, 1, 2]))["accuracy"].item() == 0.5


def test_scores_are_the_true_class_probability_and_the_squared_error():
    logits, y = case(9, 2, 30, 5)
    p = softmax(logits.double().numpy())
    ours = per_example_scores("classification", logits, y)
    np.testing.assert_allclose(ours.numpy(), p[:, np.arange(30), y.numpy()], rtol=1e-12)
    prediction, targets = torch.randn(2, 30, 3), torch.randn(30, 3)
    ours = per_example_scores("regression", prediction, targets)
    np.testing.assert_allclose(
        ours.numpy(), ((prediction.double() - targets.double()) ** 2).mean(-1), rtol=1e-12
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300))
def test_tree_sum_is_the_sum(values):
    exact = float(np.sum(np.array(values, dtype=np.longdouble)))
    assert tree_sum(torch.tensor(values, dtype=torch.float64)).item() == pytest.approx(
        exact, rel=1e-9, abs=1e-6
    )


def test_names_and_directions():
    assert selection_metric("classification", None) == "validation/accuracy"
    assert selection_metric("regression", None) == "validation/rmse"
    assert selection_metric("classification", "ece") == "validation/ece"
    better = {name: metric.direction for table in METRICS.values() for name, metric in table.items()}
    assert {name for name, way in better.items() if way == "higher"} == {
        "accuracy", "balanced_accuracy", "worst_class_recall", "f1", "auroc", "r2",
        "average_precision", "subset_accuracy", "label_accuracy", "mean_iou", "critic_value", "critic_rank_correlation", "map50",
    }  # fmt: skip
    assert metric_info("regression", "validation/mae").direction == "lower"


@pytest.mark.parametrize(
    ("criterion", "metric", "message"),
    [
        ("classification", "acuracy", "unknown classification metric 'acuracy'; did you mean 'accuracy'?"),
        (
            "classification",
            "rmse",
            "metric 'rmse' belongs to regression, and this task is a classification; known: ",
        ),
        ("regression", "validation/f2", "unknown regression metric 'f2'; known: loss, mae, r2, rmse"),
        (
            "classification",
            "test/accuracy",
            "metric 'test/accuracy' is not measured on validation data; write 'v",
        ),
        ("classification", 3, "metric must be a name such as 'validation/accuracy', not 3"),
    ],
)
def test_a_wrong_metric_is_told_in_one_line(criterion, metric, message):
    with pytest.raises(InputError) as caught:
        selection_metric(criterion, metric)
    assert str(caught.value).startswith(message)
