"""A look at a model, before any lane is made: which kernel runs it, and how."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ablate.surgery.escape import channels_last
from ablate.surgery.kinds import ACTIVATIONS, DROPOUTS, NORMS
from ablate.surgery.net import Net

PLAIN = (nn.Linear, nn.Flatten, nn.Identity, nn.Sequential, *ACTIVATIONS, *NORMS, *DROPOUTS)


def favours_vmap(module: nn.Module, device: torch.device) -> bool:
    """Whether vmap is the faster kernel: always on a GPU; on a CPU where all leaves are linear and pointwise."""
    if device.type != "cpu":
        return True
    leaves = [layer for layer in module.modules() if not list(layer.children())]
    return bool(leaves) and all(isinstance(layer, PLAIN) for layer in leaves)


def why_not_vmap(module: nn.Module, x: Tensor) -> str:
    """Why the model cannot be vmapped, in a few words; empty where it can. Changes nothing in the model."""
    state = {name: tensor.detach().clone()[None] for name, tensor in module.named_parameters()}
    state |= {name: tensor.detach().clone()[None] for name, tensor in module.named_buffers()}

    def one(own: dict[str, Tensor], value: Tensor) -> Tensor:
        output: Tensor = functional_call(module, own, (value,), tie_weights=False)
        return output

    was_training = module.training
    module.train()
    try:
        with torch.no_grad():
            vmap(one, randomness="error")(state, x[None])
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError) as error:
        return " ".join(str(error).split())[:160] or type(error).__name__
    finally:
        module.train(was_training)
    return ""


def draws_from_torch(module: nn.Module, x: Tensor) -> bool:
    """Whether a training forward pass takes numbers from torch's global generator."""
    was_training = module.training
    module.train()
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            before = torch.random.get_rng_state()
            module(x)
            return not torch.equal(before, torch.random.get_rng_state())
    finally:
        module.train(was_training)
        for name, buffer in module.named_buffers():
            buffer.copy_(kept[name])


def takes_channels_last(module: nn.Module, x: Tensor) -> bool:
    """Whether a model on feature maps computes with channels innermost (a `view` after a convolution cannot)."""
    if x.ndim != 4 or not x.is_floating_point():
        return False
    try:
        with torch.no_grad():
            module(channels_last(x))
    except RuntimeError:
        return False
    return True


@dataclass(frozen=True)
class Look:
    """What a look at the model told about how to run it.

    `kernel`: "vmap" or "loop". `solo`: why lanes must run one at a time; empty where they need not.
    `reseed`: it draws from torch's global generator, which is then seeded at every step.
    `channels_last`: on a CPU, pooling is many times faster with channels innermost.
    """

    kernel: str
    solo: str
    reseed: bool
    channels_last: bool

    @classmethod
    def at(cls, net: Net, x: Tensor, device: torch.device, *, fast: bool, kernel: str | None) -> Look:
        """`fast`: vmap is the faster kernel, if it works at all. `kernel` overrides the choice."""
        reseed = draws_from_torch(net.module, x)
        solo = "it draws from torch's global generator" if reseed else why_not_vmap(net.module, x)
        if kernel is None or solo:
            kernel = "vmap" if fast and not solo else "loop"
        innermost = device.type == "cpu" and takes_channels_last(net.module, x)
        return cls(kernel, solo, reseed, innermost)
