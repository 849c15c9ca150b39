"""A plain training loop for an arbitrary model: one run at a time, each from the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf, isfinite, nan
from typing import Any

import torch
from torch import Tensor, nn

from ablate.protocol.anywhere.objective import LossFunction, evaluate_batch
from ablate.protocol.anywhere.restoring import ModelState, generators_of, seed_everything, to_device
from ablate.protocol.short_runs import LossTrace

OptimizerFactory = Callable[..., torch.optim.Optimizer]
KEPT = 2000
"""Validation examples whose outputs are kept, for the test against the guess."""


@dataclass
class PlainRun:
    """A run: validation loss after each epoch, and outputs and targets of the best epoch's first `KEPT` examples."""

    rate: float
    seed: int
    losses: list[float] = field(default_factory=list)
    outputs: Tensor | None = None
    targets: Tensor | None = None
    diverged: bool = False

    @property
    def final(self) -> float:
        """The last validation loss; NaN if the run diverged."""
        return nan if self.diverged or not self.losses else self.losses[-1]

    @property
    def lowest(self) -> float:
        """The lowest finite validation loss; NaN if there is none."""
        return min((loss for loss in self.losses if isfinite(loss)), default=nan)


@dataclass(frozen=True)
class TrainingLoop:
    """The state that all runs share. Every run starts from `state` and sees the same batches under the same seed."""

    model: nn.Module
    state: ModelState
    train: Any
    validation: Any
    optimizer: OptimizerFactory
    loss: LossFunction | None
    device: torch.device

    def begin(self, rate: float, seed: int) -> torch.optim.Optimizer:
        """The model as it was given, generators seeded, and a fresh optimizer over its trainable parameters."""
        self.state.restore(gradients=False)
        seed_everything(seed, generators_of([self.train, self.validation]))
        self.model.train()
        return self.optimizer([p for p in self.model.parameters() if p.requires_grad], lr=rate)

    def step(self, optimizer: torch.optim.Optimizer, batch: Any) -> float:
        """One step; the loss before it. The closure serves optimizers that evaluate more than once."""

        def closure() -> Tensor:
            optimizer.zero_grad()
            value, _, _ = evaluate_batch(self.model, batch, self.loss)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        value: Any = optimizer.step(closure)  # type: ignore[arg-type]  # torch evaluates it as a tensor
        return float(value.detach())

    def batches(self, seed: int, count: int) -> Iterator[Any]:
        """`count` batches of training data, epoch after epoch."""
        done = 0
        while done < count:
            before = done
            for batch in self.train:
                yield to_device(batch, self.device)
                done += 1
                if done == count:
                    return
            if done == before:
                return

    def trace(self, rate: float, steps: int, seed: int, batch: Any = None) -> LossTrace:
        """Losses of `steps` steps; on the same `batch` if one is given. A rate of zero only evaluates."""
        optimizer = self.begin(rate, seed)
        losses = torch.full((steps,), nan, dtype=torch.float64)
        given = self.batches(seed, steps) if batch is None else (batch for _ in range(steps))
        for i, one in enumerate(given):
            if rate:
                losses[i] = self.step(optimizer, one)
            else:
                with torch.no_grad():
                    losses[i] = float(evaluate_batch(self.model, one, self.loss)[0])
            if not isfinite(float(losses[i])):
                break
        return LossTrace(losses.numpy())

    def run(self, rate: float, seed: int, epochs: int) -> PlainRun:
        """A whole run; it ends early if a loss is not finite."""
        optimizer, run = self.begin(rate, seed), PlainRun(rate, seed)
        for _ in range(epochs):
            self.model.train()
            for batch in self.train:
                if not isfinite(self.step(optimizer, to_device(batch, self.device))):
                    run.diverged = True
                    return run
            self.validate(run)
            if not isfinite(run.losses[-1]):
                run.diverged = True
                return run
        return run

    @torch.no_grad()
    def validate(self, run: PlainRun) -> None:
        """Add the validation loss in evaluation mode; keep the outputs if it is the lowest so far."""
        self.model.eval()
        total, count = 0.0, 0
        outputs: list[Tensor] = []
        targets: list[Tensor] = []
        for batch in self.validation:
            value, output, target = evaluate_batch(self.model, to_device(batch, self.device), self.loss)
            size = 1 if target is None else len(target)
            total, count = total + float(value) * size, count + size
            if output is not None and target is not None and sum(len(kept) for kept in outputs) < KEPT:
                outputs.append(output.detach().cpu())
                targets.append(target.detach().cpu())
        loss = total / count if count else inf
        if loss < min(run.losses, default=inf) and outputs:
            run.outputs, run.targets = torch.cat(outputs)[:KEPT], torch.cat(targets)[:KEPT]
        run.losses.append(loss)
