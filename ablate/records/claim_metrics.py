"""The metrics in which tricks make claims that an epoch's evaluation does not record: where each is measured.

A claim in any metric of `ablate/tasks/metric_table.py` is measured in every run. These four are measured apart; a
claim in yet another metric could not be held against anything, and a test refuses it.
"""

from __future__ import annotations

ROBUST_ACCURACY = "robust_accuracy"
STEPS_TO_TARGET = "steps_to_target"
COSTS = ("time", "memory")
MEASURED_SEPARATELY = {
    ROBUST_ACCURACY: "accuracy on validation inputs moved by the fast gradient sign method, at the end of designed runs in "
    "which a trick claims it (ablate/lanes/robust_accuracy.py)",
    STEPS_TO_TARGET: "steps until the validation metric first reaches what the baseline ended at before, from the curves, at "
    "analysis (ablate/analysis/claims.py)",
    "time": "seconds a step against the baseline's, in the stage costs (ablate/study/costs.py)",
    "memory": "bytes that a step holds against the baseline's, in the stage costs (ablate/study/costs.py)",
}
