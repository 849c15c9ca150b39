"""`loss=` and `metrics=`: functions of the user's own, in the form that the model and the data have."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
import torchmetrics
from torch import nn

from ablate.records.errors import InputError
from ablate.tasks.chance_level import chance_level
from ablate.tasks.check import check
from ablate.tasks.custom_loss import CustomLoss
from ablate.tasks.describe import prior_loss
from ablate.tasks.model_outputs import Outputs
from ablate.tasks.task import Task

G = torch.Generator().manual_seed(0)
X = torch.randn(40, 5, generator=G)
Y = torch.arange(40) % 3


def linear():
    return nn.Linear(5, 3)


def task(**more):
    return Task(more.pop("model", linear), (X, more.pop("y", Y)), **more)


class Autoencoder(nn.Module):
    def __init__(self, returns=lambda x, mean: {"x": x, "mean": mean}):
        super().__init__()
        self.inner, self.outer, self.returns = nn.Linear(5, 2), nn.Linear(2, 5), returns

    def forward(self, x):
        mean = self.inner(x)
        return self.returns(self.outer(mean), mean)


def elbo(outputs, x):
    return F.mse_loss(outputs["x"], x) + outputs["mean"].square().mean()


def draws(outputs, targets):
    return F.cross_entropy(outputs + torch.randn(()), targets)


def test_a_loss_alone_takes_whatever_the_data_hold():
    made = task(loss=nn.CrossEntropyLoss())
    assert (made.criterion, made.metric, made.direction) == ("custom", "validation/loss", "lower")
    assert made.train.y.dtype is torch.int64
    assert check(made) == ("the loss returns one number for a batch, which is taken as its mean",)
    assert check(task(loss=nn.CrossEntropyLoss(reduction="none"))) == ()
    words = [["no", "yes", "why"][int(label)] for label in Y]
    assert task(y=words, loss=nn.CrossEntropyLoss()).labels == ("no", "why", "yes")


def test_beside_a_criterion_the_loss_is_handed_labels_and_the_metrics_stay():
    made = task(criterion="classification", loss=nn.CrossEntropyLoss(reduction="none", label_smoothing=0.1))
    outputs = torch.randn(2, len(made.validation), 3, generator=G)
    metrics = made.evaluation.metrics(outputs, made.validation.y, ["accuracy", "loss", "log_loss"])
    for lane in range(2):
        y = made.validation.y
        assert metrics["loss"][lane].item() == pytest.approx(
            F.cross_entropy(outputs[lane], y, label_smoothing=0.1).item()
        )
        assert metrics["log_loss"][lane].item() == pytest.approx(F.cross_entropy(outputs[lane], y).item())
    assert made.metric == "validation/accuracy"
    assert "classification" not in made.provides
    assert "loss of its own" in made.lacking["classification"]


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(
    ("loss", "target"), [(nn.CrossEntropyLoss, Y), (nn.PoissonNLLLoss, X[:, 0]), (nn.HuberLoss, X[:, 0])]
)
def test_lanes_have_the_bits_that_each_has_alone(loss, target, reduction):
    made = CustomLoss(loss(reduction=reduction), (3,) if loss is nn.CrossEntropyLoss else ())
    outputs, targets = torch.randn(4, 40, *made.shape, generator=G), target.expand(4, -1)
    together = made.of_lanes(outputs, targets, together=made.vmaps(target))
    assert torch.equal(together, torch.stack([made(one, target) for one in outputs]))
    assert together.shape == ((4,) if reduction == "mean" else (4, 40))
    if reduction == "none":
        assert made.vmaps(target)


def test_what_vmap_cannot_take_goes_lane_by_lane():
    def with_item(outputs, targets):
        return F.cross_entropy(outputs, targets) * (2.0 if outputs.abs().max().item() > 1 else 1.0)

    made = CustomLoss(with_item, (3,))
    assert not made.vmaps(Y)
    assert task(loss=with_item).evaluation.together is False
    outputs = torch.randn(2, 40, 3, generator=G)
    losses = made.of_lanes(outputs, Y.expand(2, -1), together=False)
    assert torch.equal(losses, torch.stack([with_item(one, Y) for one in outputs]))


@pytest.mark.parametrize("returns", [lambda x, mean: {"x": x, "mean": mean}, lambda x, mean: (x, mean)])
def test_several_outputs_reach_the_loss_as_the_model_returns_them(returns):
    def loss(outputs, x):
        return elbo(
            dict(zip(("x", "mean"), outputs, strict=True)) if isinstance(outputs, tuple) else outputs, x
        )

    made = task(model=lambda: Autoencoder(returns), y=X, loss=loss)
    check(made)
    module = made.model()
    flat = module(X[:8])
    assert flat.shape == (8, 7)
    plain = Autoencoder()
    plain.load_state_dict(module.state_dict())
    assert made.evaluation.plain_loss(flat, X[:8]).item() == pytest.approx(elbo(plain(X[:8]), X[:8]).item())
    assert prior_loss(made) == pytest.approx(made.train.y.var(0, correction=0).mean().item(), rel=0.05)


@dataclass
class Both:
    x: torch.Tensor
    mean: torch.Tensor
    none: torch.Tensor | None = None


class WithLogits(nn.Module):
    """Returns what `returns` makes of logits and a hidden layer."""

    def __init__(self, returns):
        super().__init__()
        self.body, self.head, self.returns = nn.Linear(5, 5), nn.Linear(5, 3), returns

    def forward(self, x):
        hidden = torch.relu(self.body(x))
        return self.returns(self.head(hidden), hidden)


@dataclass
class Scores:
    logits: torch.Tensor
    hidden: torch.Tensor


@dataclass
class Deep:
    logits: torch.Tensor
    aside: torch.Tensor


def test_a_dataclass_and_a_dict_have_their_outputs_as_attributes():
    def loss(outputs, x):
        return (outputs.x - x).square().mean(1) + outputs["mean"].square().mean(1)

    for returns in (Both, lambda x, mean: {"x": x, "mean": mean}):
        made = task(model=lambda returns=returns: Autoencoder(returns), y=X, loss=loss)
        check(made)
        module = made.model()
        plain = Autoencoder(lambda x, mean: {"x": x, "mean": mean})
        plain.load_state_dict(module.state_dict())
        expected = loss(Outputs(plain(X[:8])), X[:8]).mean()
        assert made.evaluation.plain_loss(module(X[:8]), X[:8]).item() == pytest.approx(expected.item())
    with pytest.raises(AttributeError, match="the model has no output 'y'; it has x"):
        getattr(Outputs(x=1), "y")  # noqa: B009


@pytest.mark.parametrize("returns", [Scores, lambda logits, hidden: {"logits": logits, "hidden": hidden}])
def test_a_loss_that_needs_more_than_the_logits_gets_all_outputs(returns):
    def of_all(outputs, y):
        return F.cross_entropy(outputs.logits, y, reduction="none") + outputs["hidden"].abs().mean(1)

    def of_logits(outputs, y):
        return F.cross_entropy(outputs, y, reduction="none")

    def wrong(outputs, y):
        return outputs["no such output"]

    widths = {}
    for loss in (of_all, of_logits):
        made = task(model=lambda: WithLogits(returns), loss=loss)
        check(made)
        widths[loss] = made.model()(X[:8]).shape[1]
        named = task(model=lambda: WithLogits(returns), loss=loss, output="logits")
        assert (named.output_form.packing is None) == (loss is of_logits)
    assert widths == {of_all: 8, of_logits: 3}
    with pytest.raises(InputError, match="the model's prediction alone, without 'hidden'"):
        check(task(model=lambda: WithLogits(returns), loss=wrong))


@pytest.mark.parametrize("output", [None, "logits"])
def test_a_criterion_judges_the_prediction_while_the_loss_gets_all_outputs(output):
    def with_penalty(outputs, y):
        return F.cross_entropy(outputs["logits"], y, reduction="none") + outputs["hidden"].abs().mean(1)

    def returns(logits, hidden):
        return {"hidden": hidden, "logits": logits}

    made = task(
        model=lambda: WithLogits(returns), loss=with_penalty, criterion="classification", output=output
    )
    check(made)
    module, plain = made.model().eval(), WithLogits(returns).eval()
    plain.load_state_dict(module.state_dict())
    outputs = plain(X)
    found = made.evaluation.metrics(module(X)[None].detach(), Y, ["accuracy", "loss"])
    assert found["accuracy"].item() == pytest.approx(
        (outputs["logits"].argmax(1) == Y).double().mean().item()
    )
    assert found["loss"].item() == pytest.approx(with_penalty(outputs, Y).mean().item(), rel=1e-5)
    assert made.evaluation.hits(module(X)[None], Y[None]).item() == pytest.approx(found["accuracy"].item())
    assert 0.2 < chance_level(made, "accuracy") < 0.6


@pytest.mark.parametrize("returns", [lambda logits, hidden: {"scores": logits, "hidden": hidden}, lambda logits, hidden: (logits, hidden > 0)])  # fmt: skip
def test_outputs_that_nothing_uses_are_not_a_part_of_the_form(returns):
    """They may even be no real numbers."""
    made = task(
        model=lambda: WithLogits(returns),
        criterion="classification",
        output=0 if isinstance(returns(0, 0), tuple) else "scores",
    )
    check(made)
    assert made.output_form.flat == (3,)
    assert made.output_form.packing is None
    assert made.model()(X[:8]).shape == (8, 3)
    assert 0.2 < chance_level(made, "accuracy") < 0.6


def test_deep_supervision_of_a_segmentation_is_a_loss_of_all_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head, self.aside = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)  # fmt: skip

        def forward(self, x):
            hidden = torch.relu(self.body(x))
            return Deep(self.head(hidden), self.aside(hidden))

    def both(outputs, y):
        one, other = (F.cross_entropy(part, y, reduction="none").mean((1, 2)) for part in (outputs.logits, outputs.aside))  # fmt: skip
        return one + 0.4 * other

    images = torch.randn(24, 1, 6, 6, generator=G)
    made = Task(Two, (images, (images[:, 0] > 0).long()), criterion="segmentation", loss=both)
    check(made)
    module, plain = made.model().eval(), Two().eval()
    plain.load_state_dict(module.state_dict())
    y = made.validation.y
    with torch.no_grad():
        outputs, packed = plain(made.validation.x), module(made.validation.x)
    found = made.evaluation.metrics(made.evaluation.collect(packed[None], y), y, ["accuracy", "loss"])
    assert found["accuracy"].item() == pytest.approx((outputs.logits.argmax(1) == y).double().mean().item())
    assert found["loss"].item() == pytest.approx(both(outputs, y).mean().item(), rel=1e-5)


def test_nested_targets_reach_the_loss_as_they_were_given():
    seen = []

    def loss(outputs, targets):
        seen.append({name: (value.dtype, tuple(value.shape[1:])) for name, value in targets.items()})
        return F.cross_entropy(outputs, targets["class"]) + (outputs - targets["numbers"]).abs().mean()

    made = task(y={"class": Y, "numbers": X[:, :3].double()}, loss=loss, epochs=2)
    check(made.but(epochs=3))
    assert seen[0] == {"class": (torch.int64, ()), "numbers": (torch.float32, (3,))}


def test_a_loss_gets_inputs_as_a_part_of_the_targets():
    """Which a loss that takes the batch does by itself (`test_batch_loss.py`)."""

    def loss(outputs, both):
        return (outputs - both["inputs"][:, :3]).square().mean(1) + both["targets"]

    made = task(y={"targets": Y, "inputs": X}, loss=loss)
    assert check(made) == ()
    outputs = torch.randn(2, 8, 3, generator=G)
    losses = made.evaluation.example_losses(outputs, made.train.y[:8].expand(2, 8, -1))
    x, y = made.train.x[:8], Y[made.train.rows[:8]]
    assert torch.equal(losses, (outputs - x[:, :3]).square().mean(2) + y)


def test_a_model_that_returns_one_number_for_each_example_keeps_its_shape():
    made = task(
        model=lambda: nn.Sequential(nn.Linear(5, 1), nn.Flatten(0)),
        y=X[:, 0],
        loss=nn.MSELoss(reduction="none"),
    )
    assert check(made) == ()
    lanes = torch.randn(2, 40, 1, generator=G)
    assert made.evaluation.example_losses(lanes, X[:, 0].expand(2, -1)).shape == (2, 40)


def test_a_sum_is_told():
    (note,) = check(task(loss=nn.CrossEntropyLoss(reduction="sum")))
    assert "a sum over the batch" in note


BAD = [
    ({"loss": nn.CrossEntropyLoss}, "loss is the class CrossEntropyLoss; give an object: loss=CrossEntropyLoss()"),
    ({"loss": "mse"}, "loss must be a function (outputs, targets), not 'mse'"),
    ({"loss": nn.Linear(3, 1)}, "loss is a Linear with trainable parameters, which nothing would train"),
    ({"criterion": "custom"}, 'criterion="custom" needs a loss; give loss=FUNCTION'),
    ({"loss": lambda o, y: 1.0}, "the loss returned a float, which has no gradient; return a tensor"),
    ({"loss": lambda o, y: o}, "the loss returned shape [8, 3] for 8 examples; return a number for each example, [batch]"),
    ({"loss": lambda o, y: o.detach().mean()}, "the loss has no gradient"),
    ({"loss": lambda o, y: o.mean() * float("nan")}, "the loss is NaN for the fresh model's outputs"),
    ({"loss": lambda o: o.mean()}, "the loss failed: TypeError"),
    ({"loss": lambda o, y, x: (o - x).mean()}, 'loss takes 3 arguments, and is called with (outputs, targets); to get the inputs too, write it as loss(outputs, batch) with x, y = batch; give anything else as a part of y'),
    ({"loss": nn.GaussianNLLLoss()}, "loss takes 3 arguments"),
    ({"loss": draws}, "the loss draws random numbers; draw them in the model's forward"),
    ({"loss": nn.BCEWithLogitsLoss()}, "it was called with outputs float32 [8, 3] and targets int64 [8]"),
    ({"model": lambda: Autoencoder(lambda x, m: (x, 3)), "loss": elbo}, "the model's output[1] is no tensor of real numbers"),
    ({"metrics": {"share": lambda o, y: 1.0}}, "nothing says whether a high 'share' is good; write metrics="),
    ({"metrics": {"share": (lambda o, y: 1.0, "up")}}, "the direction of 'share' is 'up'"),
    ({"metrics": {"accuracy": (lambda o, y: 1.0, "maximize")}}, "'accuracy' is measured already; give it another name"),
    ({"metrics": [lambda o, y: 1.0]}, "metrics: a lambda has no name"),
    ({"metrics": {"my share": (lambda o, y: 1.0, "maximize")}}, "metrics: 'my share' cannot name a metric; use letters, digits and '_'"),
    ({"loss": lambda o, y: (o.sum(1) > 0).long()}, "the loss returned torch.int64; return floating-point numbers"),
    ({"criterion": "custom", "loss": lambda o, y: o.mean(), "model": lambda: nn.Sequential(nn.Linear(5, 1), nn.Flatten(0), nn.Unflatten(0, (2, -1)))},
     "the model's output has shape [2, 4] for 8 examples; return [batch, …]"),
    ({"criterion": "custom", "loss": lambda o, y: o.mean(), "y": torch.tensor(1.0)}, "train y is one number; give one entry for each example"),
    ({"metrics": {"own": torchmetrics.MeanSquaredError}}, "'own' is the class MeanSquaredError, not a function"),
    ({"metrics": {"own": (lambda o, y: o.sum(1), "maximize")}}, "the metric 'own' returned"),
    ({"metrics": {"own": (lambda o, y: {}["x"], "maximize")}}, f"the metric 'own' failed at {__file__}:"),
    ({"metrics": {"own": (max, "maximize")}, "metric": "owm"}, "unknown classification metric 'owm'; did you mean 'own'?"),
    ({"y": [[1], [2, 3]] * 20, "loss": F.mse_loss}, "cannot be an array"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "message"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_a_loss_or_a_metric_is_refused_in_one_line(more, message):
    with pytest.raises(InputError) as error:
        check(task(**more))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_metrics_of_torchmetrics_and_functions_are_measured_beside_the_built_in_ones():
    def margin(outputs, targets):
        top = outputs.topk(2).values
        return (top[:, 0] - top[:, 1]).mean()

    metrics = {"kappa": torchmetrics.CohenKappa("multiclass", num_classes=3), "margin": (margin, "maximize")}
    made = task(metrics=metrics, metric="kappa")
    assert made.metric == "validation/kappa"
    assert made.direction == "higher"
    assert made.but(epochs=2).metric_names[-2:] == ("kappa", "margin")
    outputs, y = torch.randn(3, len(made.validation), 3, generator=G), made.validation.y
    outputs[2, 0, 0] = torch.inf
    measured = made.evaluation.metrics(outputs, y)
    for lane in range(2):
        expected = torchmetrics.functional.cohen_kappa(outputs[lane], y, "multiclass", num_classes=3).item()
        assert measured["kappa"][lane].item() == pytest.approx(expected)
        assert measured["margin"][lane].item() == pytest.approx(margin(outputs[lane], y).item())
    assert measured["kappa"][2].isnan()
    assert set(made.evaluation.metrics(outputs, y, ["margin"])) == {"margin"}


def test_metrics_of_token_tasks_see_whole_outputs():
    x = torch.randint(0, 7, (20, 4), generator=G)

    def model():
        return nn.Sequential(nn.Embedding(7, 6), nn.Linear(6, 7))

    seen = []
    metrics = {"shapes": (lambda o, y: seen.append((o.shape[1:], y.shape[1:])) or 1.0, "maximize")}
    made = Task(model, (x, x), criterion="language_modelling", kind="text", metrics=metrics)
    outputs = torch.randn(2, len(made.validation), 4, 7, generator=G)
    measured = made.evaluation.metrics(made.evaluation.collect(outputs, made.validation.y), made.validation.y)
    assert seen == [((4, 7), (4,))] * 2
    plain = made.but(metrics=None).evaluation
    expected = plain.metrics(plain.collect(outputs, made.validation.y), made.validation.y)
    assert all(torch.equal(measured[name], value) for name, value in expected.items())


def test_a_metric_that_is_nan_is_told():
    made = task(metrics={"own": (lambda o, y: float("nan"), "maximize")})
    assert "the metric 'own' is not finite for the fresh model's outputs on" in check(made)[0]
    assert made.evaluation.undefined({"own": float("nan"), "loss": 1.0}) == ["own"]
    assert made.evaluation.undefined({"own": float("nan"), "loss": float("nan")}) == []
    assert made.evaluation.undefined({"own": float("-inf"), "loss": 1.0}) == ["own"]
