"""Planted faults of the data and of the outputs: each is named by step 0 or 1, and healthy data pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fault_cases import DATA_FAULTS, HEALTHY, OUTPUT_FAULTS, setup_of

from ablate.protocol.data_check import check_data
from ablate.protocol.initial_loss import initial_loss
from ablate.protocol.output_causes import output_findings


def codes(step) -> dict[str, str]:
    return {finding.code: finding.level for finding in step.findings if finding.level != "note"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", DATA_FAULTS)
def test_step_0_names_the_fault_of_the_data(name, seed):
    make, code, level = DATA_FAULTS[name]
    found = codes(check_data(setup_of(make(seed))))
    assert found.get(code) == level
    assert len(found) == 1, "no other cause is named"


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_data_pass(name):
    assert codes(check_data(setup_of(HEALTHY[name]()))) == {}


@pytest.mark.parametrize("name", OUTPUT_FAULTS)
def test_step_1_names_the_fault_of_the_outputs(name):
    make, code = OUTPUT_FAULTS[name]
    assert code in codes(initial_loss(setup_of(make())))


def test_logits_and_log_probabilities_are_sound():
    logits = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    assert output_findings(logits, 5) == []
    assert output_findings(logits.log_softmax(1), 5) == []
    assert output_findings(torch.zeros(100, 5), 5) == []  # a head of zeros
    assert output_findings(logits[:, :1].abs() + 1, None) == []  # a regression that begins above zero
    (found,) = output_findings(logits.softmax(1), 5)
    assert replace(found, message="").code == "outputs-are-probabilities"
