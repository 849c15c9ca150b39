"""The kernel of a name over the lanes' models."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.kernels.loop import Loop, Reseed
from ablate.kernels.protocol import Forward
from ablate.kernels.stacked_lanes import Stacked
from ablate.kernels.tracing import never_trace
from ablate.surgery.net import Net


def lower(
    kernel: str,
    nets: Sequence[Net],
    names: Sequence[dict[str, str]],
    *,
    innermost: bool,
    reseed: Reseed | None = None,
    traceable: bool = True,
) -> Forward:
    """The forward pass of `nets` by `kernel`. `names`: for each lane, common name of a parameter -> its own name.

    `innermost`: feature maps have their channels innermost in memory. `reseed`: seeds the global generators around each
    lane's pass, for models that draw from them (the loop kernel only). `traceable`: whether a `forward` of the user's own may
    be run as traced; else it is vmapped.
    """
    if kernel == "loop":
        return Loop(nets, names, reseed=reseed, innermost=innermost)
    if reseed is not None:
        raise ValueError(f"the {kernel} kernel cannot run a model that draws from a global generator")
    if not traceable:
        never_trace(nets[0].module)
    return Stacked(nets, names, kernel, innermost=innermost)
