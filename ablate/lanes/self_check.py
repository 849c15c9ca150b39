"""Compares two training steps of a kernel with a plain torch loop, before a study trains anything.

The loop below uses the user's module, torch's update rule and the batches. It shares with the engine only the seed of the
initial weights, the order of examples and the numbers that dropout draws.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from ablate.kernels.lower import KERNELS, kernel_unavailable
from ablate.kernels.random_keys import drawn_keys, random_layers
from ablate.kernels.support import FAILURES, differing
from ablate.lanes.build import build_module
from ablate.lanes.context import TaskContext
from ablate.lanes.order import Order
from ablate.lanes.trainer import Trainer
from ablate.records.errors import AblateError, InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.seams.draws import keep_mask, least_kept, seed_keys, step_keys, stream_keys, stream_number
from ablate.surgery.attention_dropout import CountedAttention, counted
from ablate.surgery.layer_types import CHANNEL_DROPOUTS
from ablate.surgery.net import counted_dropout
from ablate.tasks.user_code import repeatable

STEPS = 2
ROWS = 64
"""Validation examples that are evaluated."""
LR, MOMENTUM, DECAY = 0.01, 0.9, 0.05
"""Weight decay makes a zero gradient differ from an absent one."""
NUDGE, NUDGES, AMPLIFIED = 2.0**-19, 4, 4.0
"""Relative change of the weights, as large as the rounding of a sum of some hundred products, how many such changes are tried, and how many times as far as
they move a result a kernel may be from it: a rectifier that switches, or a norm of nearly equal values, amplifies the last bits."""

PARAMETER, BUFFER = "change of parameter", "change of buffer"

StepResults = dict[str, Tensor | None]
"""Losses, outputs in evaluation, and how far each parameter and buffer has moved, by name."""


def self_checked(context: TaskContext) -> tuple[TaskContext, str]:
    """(`context` with a kernel that trains the task's model as a plain loop does, why it differs from the chosen one or "").

    Raises AblateError if not even the loop kernel does, InputError if two plain loops differ from each other.
    """
    seeds = [0] if context.solo or context.probe.large else [0, 1]
    expected = [plain(context, seed) for seed in seeds]
    nudged: list[list[StepResults]] = []
    reasons: list[str] = []
    for kernel in candidates(context):
        candidate = context.with_kernel(kernel)
        try:
            actual = by_kernel(candidate, seeds)
            what = next(filter(None, map(first_difference, actual, expected)), "")
            if what:
                nudged = nudged or changed_by_rounding(context, seeds, expected)
                rounded = map(beyond_rounding, actual, expected, nudged)
                what = next(filter(None, map(first_difference, rounded, expected)), "")
        except FAILURES as error:
            if kernel == "loop":
                raise
            what = " ".join(str(error).split())[:160] or type(error).__name__
        if not what:
            return candidate, "; ".join(reasons)
        reasons.append(
            f"the kernel '{kernel}' does not train this model as torch would ({what}): trying the next"
        )
    raise AblateError(
        f"ablate does not train this model as torch would ({what})",
        hint="this is a bug: please report it, with the model's code and the output of: ablate doctor",
    )


def changed_by_rounding(
    context: TaskContext, seeds: list[int], expected: list[StepResults]
) -> list[list[StepResults]]:
    """The expected results of each seed, from weights that differ by rounding. Raises InputError if two plain loops from equal weights differ."""
    if first_difference(plain(context, seeds[0]), expected[0]):
        raise InputError(
            "two runs of the model with one seed and the same data differ",
            hint="draw from the global generators of torch, NumPy or Python, and keep no state outside of the model",
        )
    return [[plain(context, seed, draw) for draw in range(1, NUDGES + 1)] for seed in seeds]


def first_difference(actual: StepResults, expected: StepResults) -> str:
    """The first result that differs beyond rounding; empty if none does.

    Parameters are compared with each other and so are buffers: in two steps they move by much less than the outputs' size.
    """
    for kind in ("", PARAMETER, BUFFER):
        names = [name for name in expected if name.startswith(kind or ("loss", "output"))]
        if what := differing(
            *({name: results.get(name) for name in names} for results in (actual, expected))
        ):
            return what
    return ""


def beyond_rounding(actual: StepResults, expected: StepResults, nudged: list[StepResults]) -> StepResults:
    """`actual` with the expected values of results that are no farther from them than rounding moves them. `nudged`: the expected results from
    weights that differ by rounding."""

    def is_rounding(name: str) -> bool:
        one, other = actual.get(name), expected[name]
        if one is None or other is None or one.shape != other.shape or not one.numel():
            return False
        moved = [results[name] for results in nudged]
        largest = max(0.0 if value is None else float((value - other).abs().max()) for value in moved)
        return float((one - other).abs().max()) <= AMPLIFIED * largest

    return {**actual, **{name: value for name, value in expected.items() if is_rounding(name)}}


def candidates(context: TaskContext) -> list[str]:
    """The chosen kernel, then its substitutes, the loop last."""
    if context.solo:
        return ["loop"]
    usual = [context.kernel, *(name for name in KERNELS if name not in (context.kernel, "loop"))]
    names = usual if context.kernel != "loop" else ["loop"]
    return [
        *(name for name in names if not kernel_unavailable(name, context.device)),
        *({"loop"} - set(names)),
    ]


def by_kernel(context: TaskContext, seeds: list[int]) -> list[StepResults]:
    """The engine's result for the runs of `seeds`, as lanes of one group."""
    tricks = {"momentum": {"lr": LR, "momentum": MOMENTUM}, "weight_decay": {"decay": DECAY}}
    recipe = Recipe.of(context.catalogue, tricks)
    trainer = Trainer(context, [Run(context.task.name, recipe, seed, 1) for seed in seeds])
    before = [_state(trainer.model(lane)) for lane in range(len(seeds))]
    losses = torch.stack([trainer.step()[0] for _ in range(min(STEPS, trainer.order.steps_per_epoch))])
    x = context.splits["validation"].x[:ROWS].to(context.device)
    with torch.no_grad():
        stacked = x.expand(len(seeds), *x.shape)
        weights = dict(trainer.weights.items())
        outputs = trainer.outputs(weights, stacked, trainer.seeds, training=False)
    changes = []
    for lane in range(len(seeds)):
        after = _state(trainer.model(lane))
        changes.append(_results(losses[:, lane], outputs[lane], before[lane], after))
    return changes


def plain(context: TaskContext, seed: int, nudged: int = 0) -> StepResults:
    """The result of a plain torch loop. `nudged`: which change of the initial weights by rounding; 0 for none."""
    task, device = context.task, context.device
    module = build_module(task.model, seed, task.train.x[:2]).to(device)
    if nudged:
        _nudge(module, nudged)
    layers = {path: module.get_submodule(path) for path in counted_dropouts(context)}
    dropouts = [_Dropout(layer, path) for path, layer in layers.items()]
    counted(module, context.observed.removed)
    dropouts += [
        _Dropout(layer.weight_dropout, path)
        for path, layer in module.named_modules()
        if isinstance(layer, CountedAttention)
    ]
    before = _state(module)
    optimizer = _SGD(list(module.parameters()))
    train, seeds = context.splits["train"], seed_keys([seed], device)
    order = Order.of(train, task.batch_size)
    order.shuffle(seeds, torch.zeros_like(seeds, dtype=torch.int64))
    criterion = task.evaluation.plain_loss

    streams = random_layers(module)

    def outputs(x: Tensor, key: Tensor) -> Tensor:
        for dropout in dropouts:
            dropout.begin(key)
        drawn = drawn_keys(streams.values(), key[None])
        for name, stream in streams.items():
            module.get_buffer(name).copy_(drawn[stream][0])
        if not context.probe.reseed:
            return _columns(module(x.clone()))
        with repeatable(int(key) & 0x7FFFFFFF):
            return _columns(module(x.clone()))

    losses = []
    module.train()
    for step in range(min(STEPS, order.steps_per_epoch)):
        index = order.at(step)[0]
        optimizer.zero_grad()
        key = step_keys(seeds, torch.full_like(seeds, step, dtype=torch.int64))[0]
        loss = criterion(outputs(train.x[index].to(device), key), train.judged_at(index))
        for dropout in dropouts:  # recomputation in the backward pass draws again
            dropout.begin(key)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.detach())
    module.eval()
    with torch.no_grad():
        evaluated = outputs(context.splits["validation"].x[:ROWS].to(device), seeds[0])
    return _results(torch.stack(losses), evaluated, before, _state(module))


@torch.no_grad()
def _nudge(module: nn.Module, seed: int) -> None:
    """Make each weight larger or smaller by the share NUDGE, at random."""
    draw = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if parameter.is_floating_point():
            signs = torch.randint(2, parameter.shape, generator=draw).mul_(2).sub_(1).to(parameter)
            parameter.mul_(1 + NUDGE * signs)


def counted_dropouts(context: TaskContext) -> list[str]:
    """Paths of the user's dropout layers that draw by counter in the engine; others draw from torch's generator."""
    return [info.path for info in context.layer_infos if counted_dropout(info) is not None]


def _results(
    losses: Tensor, outputs: Tensor, before: dict[str, Tensor], after: dict[str, Tensor]
) -> StepResults:
    moved = {name: value - before[name] if name in before else value for name, value in after.items()}
    return {"loss": losses, "output": outputs, **moved}


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Copies of the numbers in the user's model, without the keys of ablate's layers."""
    keys = random_layers(module)
    kinds = {PARAMETER: module.named_parameters(), BUFFER: module.named_buffers()}
    return {
        f"{kind} '{name}'": tensor.detach().clone()
        for kind, tensors in kinds.items()
        for name, tensor in tensors
        if tensor.dtype is not torch.bool and name not in keys
    }


def _columns(outputs: Tensor) -> Tensor:
    return outputs.unsqueeze(-1) if outputs.ndim == 1 else outputs


class _SGD:
    """`torch.optim.SGD` as the function that it calls: constructing an `Optimizer` imports torch.compile, a second or more.

    A parameter without a gradient is skipped. Sparse gradients are made dense, since weight decay refuses them.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.velocities: list[Tensor | None] = [None] * len(parameters)

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for index, parameter in enumerate(self.parameters):
            if (gradient := parameter.grad) is None:
                continue
            dense = gradient.to_dense() if gradient.is_sparse else gradient
            velocity = [self.velocities[index]]
            sgd(
                [parameter], [dense], velocity, foreach=False, lr=LR, momentum=MOMENTUM, weight_decay=DECAY,
                dampening=0.0, nesterov=False, maximize=False,
            )  # fmt: skip
            (self.velocities[index],) = velocity


class _Dropout:
    """`forward` of one of the model's dropout layers, or of the weights of one of its attentions, with masks determined by the step's key, the
    layer's path and the index of the call."""

    def __init__(self, layer: nn.Module, path: str) -> None:
        self.layer, self.stream, self.calls = layer, stream_number(f"model/{path}"), 0
        self.key = torch.zeros((), dtype=torch.int32)
        layer.forward = partial(self.apply)

    def begin(self, key: Tensor) -> None:
        self.key, self.calls = stream_keys(key, self.stream), 0

    def apply(self, x: Tensor) -> Tensor:
        p: float = self.layer.p  # type: ignore[assignment]
        if not self.layer.training:
            return x
        key = stream_keys(self.key, stream_number(f"call {self.calls}")) if self.calls else self.key
        self.calls += 1
        least = torch.tensor(least_kept(p), dtype=torch.int16, device=x.device)
        scale = 1 / (1 - p) if p < 1 else 0.0
        if isinstance(self.layer, tuple(CHANNEL_DROPOUTS)):
            channels = keep_mask(key, least, tuple(x.shape[:2]))
            return x * (channels * scale).reshape(*x.shape[:2], *[1] * (x.ndim - 2))
        maps = x.ndim == 4  # whose elements are numbered with the channels innermost
        mask = keep_mask(key, least, tuple(x.movedim(1, -1).shape if maps else x.shape))
        return x * ((mask.movedim(-1, 1) if maps else mask) * scale)
