"""Weight standardisation against `F.batch_norm` of the weights, whose channels are the outputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from model_cases import MODELS, inputs, operated
from sweep import sweep
from torch import Tensor
from weight_cases import assert_same_weight, random_weight

from ablate.catalogue.model.weight_standardization import WeightStandardization


def reference(weight: Tensor) -> Tensor:
    return F.batch_norm(weight.transpose(0, 1), None, None, training=True, eps=1e-5).transpose(0, 1)


@sweep("case", range(100))
def test_equal_to_torch(case: int) -> None:
    assert_same_weight(WeightStandardization(True), reference, random_weight(case, matrices=False))


def test_it_acts_on_convolutions_and_off_is_the_model() -> None:
    net = operated("weight_standardization", "cnn")
    assert net.touched["weight_standardization"] == 2
    torch.manual_seed(0)
    plain, x = MODELS["cnn"][0](), inputs("cnn", 4)
    assert torch.equal(operated("weight_standardization", "cnn", on=False).module(x), plain(x))
    assert not torch.allclose(net.module(x), plain(x))
