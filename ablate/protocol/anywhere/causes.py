"""Causes in `ablate.lr_find`, found by the experiments of the protocol on the batches of a loader."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ablate.protocol.anywhere.loop import TrainingLoop
from ablate.protocol.anywhere.objective import default_loss, evaluate_batch, split_batch
from ablate.protocol.anywhere.restoring import to_device
from ablate.protocol.batch_checks import apart, dropout_findings, evaluation_findings
from ablate.protocol.label_causes import label_cause
from ablate.protocol.loss_causes import loss_findings
from ablate.protocol.norm_checks import norm_findings
from ablate.protocol.relation import relations
from ablate.protocol.signals import equal_head, signal_findings, signals, symmetric_layers
from ablate.protocol.steps import Finding
from ablate.records.words import noun, verb

EXAMPLES = 1000
"""Examples of each loader on which it is tested whether inputs predict labels."""


def model_findings(loop: TrainingLoop, seed: int, steps: int) -> list[Finding]:
    """`steps`: of a whole run. What trials with one training batch show: layers, modes, mixed examples, the loss function."""
    loop.begin(0.0, seed)
    batch = next(loop.batches(seed, 1), None)
    if batch is None:
        return []

    def whole() -> Tensor | None:
        return evaluate_batch(loop.model, batch, loop.loss)[1]

    findings = norm_findings(loop.model, whole, steps)
    if any(one.level == "fail" for one in findings):
        return findings
    loop.begin(0.0, seed)
    layers = signals(loop.model, lambda: apart(whole))
    findings += symmetric_layers(layers, loop.model) or signal_findings(layers)
    findings += equal_head(layers, loop.model)
    inputs, targets = split_batch(batch)
    if isinstance(inputs, list) and len(inputs[0]) > 1:

        def forward(x: Tensor) -> Tensor:
            outputs: Tensor = loop.model(x, *inputs[1:])
            return outputs

        findings += evaluation_findings(loop.model, inputs[0], forward) or dropout_findings(
            loop.model, inputs[0], forward
        )
    with torch.no_grad():
        outputs = apart(whole)
    if outputs is not None and targets is not None:
        cross_entropy = not targets.is_floating_point()
        findings += loss_findings(loop.loss or default_loss, outputs, targets, negative=not cross_entropy)
    return findings


def not_optimized(loop: TrainingLoop, seed: int) -> list[Finding]:
    """Trainable parameters that the optimizer was not given."""
    optimizer = loop.begin(0.0, seed)
    optimized = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    trained = {name: p for name, p in loop.model.named_parameters() if p.requires_grad}
    missing = [name for name, parameter in trained.items() if id(parameter) not in optimized]
    if not missing:
        return []
    shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
    return [
        Finding(
            "parameters-not-in-optimizer", "warn", f"{len(missing)} of {len(trained)} parameter {noun(len(trained), 'tensor')} {verb(len(missing), 'are', 'is')} not in the optimizer", shown,
            "give it model.parameters(), or freeze what is not to be trained",
        )
    ]  # fmt: skip


def loop_label_cause(loop: TrainingLoop) -> Finding | None:
    """`label_cause` of the loaders' first examples; None where inputs are not one tensor."""
    train, validation = _examples(loop.train), _examples(loop.validation)
    if train is None or validation is None:
        return None
    return label_cause(relations(train, validation), len(train[1]))


def _examples(loader: Any) -> tuple[Tensor, Tensor] | None:
    inputs, targets, count = [], [], 0
    for batch in loader:
        given, target = split_batch(batch)
        if not isinstance(given, list) or len(given) != 1 or target is None or target.ndim > 2:
            return None
        inputs.append(to_device(given[0], torch.device("cpu")))
        targets.append(target.cpu())
        count += len(target)
        if count >= EXAMPLES:
            break
    return (torch.cat(inputs), torch.cat(targets)) if inputs else None
