"""Muon: the momentum of every hidden weight matrix is made orthogonal before the step; the rest is trained by Adam.

    M ← μ M + (1 − μ) G;   B = μ M + (1 − μ) G                       (Nesterov's look-ahead)
    X₀ = B / ‖B‖;   X ← a X + (b A + c A²) X with A = X Xᵀ, five times     (Newton and Schulz)
    W ← W − lr · 0.2 √max(O, I) · X,    a, b, c = 3.4445, −4.7750, 2.0315

Shapes: a hidden weight `[K, O, I, …]` counts as a matrix `[K, O, I · …]`; μ, lr are `[K]`. X has the singular vectors of B
and singular values near 1 (0.7 to 1.2: the iteration is tuned for speed, not for convergence). The factor 0.2 √max(O, I)
makes the step as long as one of Adam's, so that one learning rate serves both. Biases, gains, embeddings and the head take
Adam's step (β = 0.9, 0.95; ε = 10⁻⁸). Computed in the weights' precision.
Lineage: Jordan et al. 2024; Liu et al. 2025 (2502.16982) for the factor; `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`,
whose iteration is in bfloat16.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.averages import moments
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Spec

A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5
BETA1, BETA2, EPS = 0.9, 0.95, 1e-8


def is_hidden_matrix(spec: Spec) -> bool:
    """Whether the parameter is orthogonalised: a matrix or kernel of a hidden layer, no embedding and not the head."""
    return (
        not spec.head
        and spec.role != "embedding"
        and len(spec.shape) > 1
        and sum(n > 1 for n in spec.shape) > 1
    )


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix with its singular vectors and singular values near 1. `[K, O, I]` -> `[K, O, I]`."""
    tall = matrix.shape[1] > matrix.shape[2]
    x = matrix.mT if tall else matrix
    norm = x.square().sum(dim=2, keepdim=True).sum(dim=1, keepdim=True).sqrt()
    x = x / norm.clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x.mT if tall else x


def state(weights: LaneTensors) -> dict[str, Tensor]:
    return moments(weights)


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    w, g = weights.flat, gradients.flat
    corrections = state["corrections"]
    for column, share in enumerate((BETA1, BETA2)):
        corrections[:, column].mul_(share).add_(1 - share)
    c1, c2 = torch.split(corrections, 1, dim=1)
    beta = w.new_full((len(w), w.shape[1]), BETA1)
    matrices = [spec for spec in map(weights.spec, weights) if is_hidden_matrix(spec)]
    for spec in matrices:
        weights.like(beta)[spec.name].copy_(
            p.momentum.reshape(-1, *[1] * len(spec.shape)).expand_as(weights[spec.name])
        )
    m = state["mean"].mul_(beta).add_((1 - beta) * g)
    v = state["square"].mul_(BETA2).add_((1 - BETA2) * g * g)
    direction = weights.like((m / c1).div_((v / c2).sqrt_().add_(EPS)))
    ahead = weights.like(beta * m + (1 - beta) * g)
    for spec in matrices:
        matrix = ahead[spec.name].reshape(len(w), spec.shape[0], -1)
        step_of = orthogonalised(matrix) * (0.2 * max(matrix.shape[1:]) ** 0.5)
        direction[spec.name].copy_(step_of.reshape(direction[spec.name].shape))
    return w - p.like("lr", w) * direction.flat


TRICK = Trick(
    name="muon",
    title="Muon (orthogonalised momentum)",
    seam="optimizer",
    slot="optimizer",
    parameters=(
        Parameter("lr", 0.002, low=1e-5, high=1.0, log=True, meaning="learning rate, on Adam's scale"),
        Parameter(
            "momentum",
            0.95,
            low=0.8,
            high=0.99,
            most=0.9999,
            meaning="share of the old momentum of a matrix that is kept",
        ),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="CIFAR-10 speed record and NanoGPT: 1.35 times fewer tokens to a loss than AdamW",
            source=Source(
                "Muon: An optimizer for hidden layers in neural networks",
                "Jordan, Jin, Boza, You, Cesista, Newhouse, Bernstein",
                2024,
                "https://kellerjordan.github.io/posts/muon/",
            ),
            contested="against tuned baselines the advantage shrinks with the size of the model (Wen et al. 2025, 2509.02046)",
        ),
    ),
)
