"""Metrics of claims that the evaluation after an epoch does not record, and where each is measured.

Every run records the metrics of `ablate/tasks/metric_table.py`. The four metrics here are measured separately. A
test rejects a claim in any other metric, because nothing would measure it.
"""

from __future__ import annotations

ROBUST_ACCURACY = "robust_accuracy"
STEPS_TO_TARGET = "steps_to_target"
COSTS = ("time", "memory")
MEASURED_SEPARATELY = {
    ROBUST_ACCURACY: "accuracy on validation inputs attacked by projected gradient descent, at the end of designed runs "
    "with a trick that claims it (ablate/lanes/robust_accuracy.py)",
    STEPS_TO_TARGET: "steps until the validation metric first reaches the final value of the baseline, computed from the curves "
    "during analysis (ablate/analysis/claims.py)",
    "time": "seconds per step relative to the baseline, in the stage costs (ablate/study/costs.py)",
    "memory": "bytes allocated in a step relative to the baseline, in the stage costs (ablate/study/costs.py)",
}
