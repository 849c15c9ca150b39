"""The file and the test that `ablate new trick NAME` writes: a working trick to start from."""

from __future__ import annotations

TRICK = '''"""NAME: every gradient is multiplied by a constant. Describe your trick here.

    g ← s · g

Shapes: g is `[K, P]` (K lanes, P parameters), s is `[K]`.
Lineage: authors, year, title; whose conventions the code follows.
"""

from __future__ import annotations

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors
from torch import Tensor


def scaled(g: Tensor, scale: Tensor) -> Tensor:
    """The mathematics as a pure function: `[K, P]` and `[K, 1]` -> `[K, P]`."""
    return g * scale


def gradient(gradients: LaneTensors, weights: LaneTensors, p: Settings) -> LaneTensors:
    """The port of the seam "gradient": called between backward and update.

    Other seams have other ports: see docs/architecture.md. There are no draws here:
    tricks that need random numbers belong to the seams data, objective or model.
    """
    return gradients.like(scaled(gradients.flat, p.like("scale", gradients.flat)))


TRICK = Trick(
    name="NAME",
    title="TITLE",
    seam="gradient",
    parameters=(Parameter("scale", 0.5, low=0.1, high=1.0, log=True, neutral=1.0),),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="what the literature says that the trick does",
            source=Source("Title", "Authors", 2025, "https://arxiv.org/abs/"),
        ),
    ),
)
'''

TEST = '''"""NAME against its formula in float64, and the conformance suite of every trick."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ablate.catalogue.own_tricks import catalogue_with, own_tricks
from ablate.testing import check_trick

FILE = Path(__file__).parent / "NAME.py"


@pytest.mark.parametrize("seed", range(25))
def test_equals_its_formula(seed: int) -> None:
    code = catalogue_with(own_tricks([str(FILE)])).code("NAME")
    generator = torch.Generator().manual_seed(seed)
    g = torch.randn(3, 16, generator=generator, dtype=torch.float64)
    scale = torch.rand(3, 1, generator=generator, dtype=torch.float64)
    expected = torch.stack([g[lane] * scale[lane].item() for lane in range(3)])
    torch.testing.assert_close(code.scaled(g, scale), expected)


def test_conforms() -> None:
    """Neutral is the baseline, lanes equal runs alone, resuming is exact, and more."""
    check_trick(FILE)
'''


def trick_files(name: str) -> dict[str, str]:
    """File name -> content of the trick `name` and its test."""
    title = name.replace("_", " ").capitalize()
    return {
        f"{name}.py": TRICK.replace("NAME", name).replace("TITLE", title),
        f"test_{name}.py": TEST.replace("NAME", name),
    }
