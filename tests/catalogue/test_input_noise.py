"""Noise on the inputs against numpy's deviations and the drawn normal numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from image_cases import EXAMPLES, assert_neutral_lanes_are_untouched, changed, draws, images

from ablate.records.errors import NotApplicable
from ablate.seams.batch import Batch

SHARES = [0.05, 0.1, 0.3, 0.5]


@pytest.mark.parametrize("table", [True, False])
def test_noise_has_the_inputs_scale(table: bool) -> None:
    batch = images()
    x = batch.x[:, :, 0, 0] * torch.tensor([1.0, 10, 100, 1, 1, 1, 1]) + 5 if table else batch.x
    noisy = changed("input_noise", [{"share": s} for s in SHARES], batch.replaced(x=x)).x
    noise = draws().normal("noise", EXAMPLES, *x.shape[2:]).double().numpy()
    for lane, share in enumerate(SHARES):
        inputs = x[lane].numpy()
        scale = inputs.std(axis=0) if table else inputs.std()
        np.testing.assert_allclose(noisy[lane].numpy(), inputs + share * scale * noise[lane], rtol=1e-6)


def test_tokens_are_refused() -> None:
    tokens = Batch(torch.zeros(1, 2, 3, dtype=torch.int64), torch.zeros(1, 2, 2), torch.zeros(1, 2))
    with pytest.raises(NotApplicable, match="numbers of tokens"):
        changed("input_noise", [{}], tokens)


def test_neutral() -> None:
    assert_neutral_lanes_are_untouched("input_noise", {"share": 0.0})
