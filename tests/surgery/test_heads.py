"""The heads of a model, which surgery leaves alone: one for each output, whatever the order in which they run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.catalogue.model.activation import hidden_activations
from ablate.surgery.net import open_net


class Parts(nn.Module):
    """Layers `a` to `d` of one width, two activations, and a `forward` given as a function of the module."""

    def __init__(self, run: Callable[[Parts, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(4, 4) for _ in range(4))
        self.relu, self.tanh = nn.ReLU(), nn.Tanh()
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


class Square(torch.autograd.Function):
    """A function of the user's own, which torch's function modes do not see."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * x

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradient


def two_heads(m: Parts, x: Tensor) -> Tensor:
    h = m.relu(m.a(x))
    return torch.cat([m.tanh(m.b(h)), m.c(h)], 1)


def head_in_the_middle(m: Parts, x: Tensor) -> Tensor:
    h = m.relu(m.a(x))
    coarse = m.tanh(m.b(h))
    return torch.cat([m.d(m.c(h)), coarse], 1)


def towers(m: Parts, x: Tensor) -> Tensor:
    return m.b(m.relu(m.a(x))) @ m.d(m.tanh(m.c(x))).T


def unused_output(m: Parts, x: Tensor) -> Tensor:
    h = m.b(m.relu(m.a(x)))
    m.tanh(m.c(h))  # a pooled state, say, that only other users of the model look at
    return m.d(h)


def code_and_reconstruction(m: Parts, x: Tensor) -> Tensor:
    code = m.b(m.relu(m.a(x)))
    return torch.cat([code, m.d(m.tanh(m.c(code)))], 1)


def tied(m: Parts, x: Tensor) -> Tensor:
    return F.linear(m.b(m.relu(m.a(x))), m.c.weight) * m.d(m.tanh(x)).mean()


def written_into_a_buffer(m: Parts, x: Tensor) -> Tensor:
    h = torch.zeros(len(x), 2, 4)
    h[:, 0] = m.a(x)
    h[:, 1] = m.tanh(m.b(x))
    return m.d(m.c(m.relu(h)))[:, 0]


def own_function(m: Parts, x: Tensor) -> Tensor:
    h = Square.apply(m.b(m.tanh(m.a(x))))
    return m.d(m.relu(m.c(h)))


def own_function_last(m: Parts, x: Tensor) -> Tensor:
    return Square.apply(m.b(m.tanh(m.a(x))))


CASES = [
    (two_heads, {"b", "c"}, {"relu"}),
    (head_in_the_middle, {"b", "d"}, {"relu"}),
    (towers, {"b", "d"}, {"relu", "tanh"}),
    (unused_output, {"d"}, {"relu", "tanh"}),
    (code_and_reconstruction, {"d"}, {"relu", "tanh"}),
    (tied, {"d"}, {"relu", "tanh"}),
    (written_into_a_buffer, {"d"}, {"tanh", "relu"}),
    (own_function, {"d"}, {"relu", "tanh"}),
    (own_function_last, {"b"}, {"tanh"}),
]


@pytest.mark.parametrize(("run", "heads", "hidden"), CASES, ids=[case[0].__name__ for case in CASES])
def test_heads_are_the_layers_that_make_the_outputs(run, heads: set[str], hidden: set[str]) -> None:
    net = open_net(Parts(run), torch.randn(3, 4))
    assert net.heads == heads
    assert {info.path for info in hidden_activations(net)} == hidden
    assert {spec.name.split(".")[0] for spec in net.specs().values() if spec.head} == heads


def test_no_trick_puts_a_layer_behind_a_head() -> None:
    net = open_net(Parts(two_heads), torch.randn(3, 4))
    for switch, _, _ in net.norm_switches():
        switch.add("batch_norm", nn.BatchNorm1d(4), on=True)
    assert [path for path, layer in net.module.named_modules() if isinstance(layer, nn.BatchNorm1d)] == [
        "a.norm.branches.batch_norm"
    ]
