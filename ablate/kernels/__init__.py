"""Kernels: how the forward passes of K lanes are computed.

`lower(kernel, nets, …)` returns an object that runs K models (`protocol.Forward`) with one of four kernels. Which layers of K lanes
run together, and how, is defined by lowering rules keyed by layer type (`registry`, `rules/`); a layer without a rule runs under vmap.
Kernels import `surgery`, whose layers are written for one lane; nothing there imports kernels.
"""

from ablate.kernels import rules  # noqa: F401 - importing registers the rules
