"""The whole corpus: every planted fault, and every healthy task."""

from __future__ import annotations

from bench.faults.data_faults import DATA_FAULTS
from bench.faults.healthy import HEALTHY
from bench.faults.model_faults import MODEL_FAULTS
from bench.faults.training_faults import TRAINING_FAULTS

FAULTS = (*DATA_FAULTS, *MODEL_FAULTS, *TRAINING_FAULTS)

__all__ = ["FAULTS", "HEALTHY"]
