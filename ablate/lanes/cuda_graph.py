"""A group's whole step as one CUDA graph: draws, batch, forward, backward, update, in one launch.

A small model's step is hundreds of CUDA kernels of a few microseconds each, whose launches take longer than their execution. Captured
once, they are launched together. All that the step reads and changes is in the same tensors at every replay: weights,
optimizer state, averages, counters (`Trainer.settle`), settings (`[K]` tensors), and the indices of the batch, which are copied in. A
step that synchronises with the device (`.item()`, `if tensor`) cannot be captured: such a group trains eagerly, and the study says why.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.lanes.memory import is_out_of_memory
from ablate.lanes.optimizer_parts import loaded
from ablate.lanes.trainer import Trainer

WARM = 3
"""Warm-up steps before the capture, in which libraries choose their kernels; the state is restored after them."""


class StaticStep:
    """A trainer's step with all its state in the same tensors before and after, as capturing requires."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.state = trainer.state()
        self.index = trainer.index().clone()

    def step(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Train one step on the examples `index` `[K, B]`; returns its losses and accuracies."""
        self.index.copy_(index)
        return self.run()

    def run(self) -> tuple[Tensor, Tensor]:
        """Train one step and settle the state."""
        outputs = self.trainer.train_on(self.index)
        if self.trainer.state().keys() != self.state.keys():
            raise RuntimeError("some parameters have no gradient in some steps")
        self.trainer.settle(self.state)
        return outputs


class Captured(StaticStep):
    """A step as a CUDA graph, captured once and replayed."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(trainer)
        before = {name: tensor.clone() for name, tensor in self.state.items()}
        self.graph = torch.cuda.CUDAGraph()
        try:
            side_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side_stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side_stream):
                for _ in range(WARM):
                    self.run()
            torch.cuda.current_stream().wait_stream(side_stream)
            with torch.cuda.graph(self.graph):
                self.outputs = self.run()
        except (RuntimeError, NotImplementedError):
            trainer.optimizers.parts, trainer.optimizers.plan = loaded(before, trainer.layout), None
            raise
        finally:
            torch.cuda.synchronize()
            trainer.settle(self.state)
            for name, tensor in before.items():
                self.state[name].copy_(tensor)

    def step(self, index: Tensor) -> tuple[Tensor, Tensor]:
        self.index.copy_(index)
        self.graph.replay()
        loss, right = self.outputs
        return loss.clone(), right.clone()


def prepare(trainer: Trainer) -> None:
    """Let `trainer` replay its step if it is on a CUDA device and this was not tried before. If its step cannot
    be captured, the reason is recorded by the context's phase timer."""
    if trainer.context.device.type != "cuda" or trainer.graph is not None or trainer.eager:
        return
    if trainer.data.redrawn:
        trainer.eager = "training items are read anew each epoch"
        return
    if trainer.group.ports("rests"):
        trainer.eager = "some parameters are not updated at every step"
        return
    try:
        trainer.graph = Captured(trainer)
    except (RuntimeError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
        trainer.eager = " ".join(str(error).split())[:160] or type(error).__name__
        trainer.context.clock.slow.add(f"a group trains without a CUDA graph: {trainer.eager}")
