"""The placebo: the batch is handed back as it is, and a run with it is the run without it."""

from __future__ import annotations

import torch

from ablate.catalogue.data.placebo import TRICK, batch
from ablate.lanes.train import train
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws, seed_keys
from ablate.seams.settings import Settings
from ablate.testing import suite


def test_the_batch_is_the_same_object():
    cpu = torch.device("cpu")
    given = Batch(torch.rand(2, 3, 4), torch.rand(2, 3, 2), torch.zeros(2, 3, dtype=torch.int64))
    assert batch(given, Draws(seed_keys([0, 1], cpu)), Settings.stack(TRICK, [{}, None], cpu)) is given


def test_a_run_with_it_is_the_run_without_it():
    checks = suite()
    for context in checks.contexts.values():
        plain, placebo = train(context, [checks.run(context, {}), checks.run(context, {"placebo": {}})])
        assert plain.metrics == placebo.metrics
        assert plain.curves == placebo.curves
