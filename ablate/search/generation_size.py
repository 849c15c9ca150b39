"""How many trials make a generation, and how many of them share a structure and train as one group.

A function of the kernel, the device, the model's size and the number of trials, not of workers or lanes, and kept by the ledger, so that a
study asks for the same trials again. Small generations learn sooner: on synthetic objectives generations of 10 with
groups of 5 had a regret of 1.6 after 300 trials, 16 in one group 2.0, 20 with groups of 10 had 2.2 (n = 20,
bench/results/search.md). Large groups are cheaper a lane: much where their tensors are stacked ("batched", "vmap"), little with
the loop, hardly where one lane fills the cache. Two generations are always under way: one group a generation keeps two workers busy.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOP_GENERATION = 10
"""Trials of a generation for the loop kernel, in two groups: beyond five lanes a group saves little."""
SOLO_GENERATION = 6
"""The same where runs train one by one, which share nothing: twelve under way keep as many workers busy."""
STACKED_LANES = 16
"""Lanes of a stacked group in a short search, about. Twice as many cost a fifth less a lane, but learn half as often."""
MAX_LANES = {"cpu": 64, "cuda": 128}
MIN_GENERATIONS = 5
"""Generations that even a short search is divided into; two of them are random."""
LONG_SEARCH_GENERATIONS = 12
"""Generations that a long search keeps, however large its groups become."""


@dataclass(frozen=True, slots=True)
class GenerationSize:
    """`generation` trials are asked at once; every `lanes` of them share their structure."""

    generation: int
    lanes: int


def generation_size(
    kernel: str, device: str, trials: int, *, solo: bool = False, large: bool = False
) -> GenerationSize:
    """The sizes for `trials` trained by `kernel` ("loop" or "vmap") on a `device` ("cpu" or "cuda").

    `solo`: lanes train one at a time, and so need share nothing. `large`: one lane fills a core's cache, so that lanes
    gain little from each other; on a CPU they train one at a time too, so that results come soon.
    """
    if solo or (large and device == "cpu"):
        return GenerationSize(max(2, min(SOLO_GENERATION, trials // MIN_GENERATIONS)), 1)
    if kernel == "loop":
        generation = max(2, min(LOOP_GENERATION, trials // MIN_GENERATIONS))
        return GenerationSize(generation + generation % 2, (generation + 1) // 2)
    if device == "cuda":
        lanes = min(MAX_LANES["cuda"], trials // MIN_GENERATIONS)
    else:
        wanted = max(
            min(STACKED_LANES, trials // MIN_GENERATIONS),
            min(MAX_LANES["cpu"], trials // LONG_SEARCH_GENERATIONS),
            1,
        )
        # An even number of generations of one size: of two that train side by side none waits for the other at the end.
        lanes = -(-trials // max(2, 2 * round(trials / wanted / 2)))
    return GenerationSize(max(2, lanes), max(2, lanes))
