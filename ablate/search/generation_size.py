"""The number of trials in a generation, and in a group of trials that share a structure and train together.

The sizes depend on the kernel, the device, the size of the model and the number of trials, not on the number of workers or
lanes, and are stored in the ledger, so that a resumed study suggests the same trials. Small generations learn sooner: on synthetic
objectives, generations of 10 with groups of 5 had a regret of 1.6 after 300 trials, 16 in one group 2.0, 20 with groups of 10
had 2.2 (n = 20, bench/results/search.md). Large groups cost less per lane: much less where tensors are stacked ("batched",
"vmap"), little less with the loop, hardly less where one lane fills the cache. Two generations are always in progress: one group
per generation keeps two workers busy.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOP_GENERATION = 10
"""Trials in a generation for the loop kernel, in two groups: beyond five lanes a group saves little."""
SOLO_GENERATION = 6
"""Trials in a generation where runs train one at a time: two generations keep twelve workers busy."""
LARGE_LANES = 4
"""Most lanes in a group of models of which one fills a core's cache."""
STACKED_LANES = 16
"""Approximate number of lanes in a stacked group in a short search. Twice as many cost a fifth less per lane but learn half as often."""
MAX_LANES = {"cpu": 64, "cuda": 128}
MIN_GENERATIONS = 5
"""Minimum number of generations; the first two are random."""
LONG_SEARCH_GENERATIONS = 12
"""Minimum number of generations in a long search, where groups grow with the number of trials."""


@dataclass(frozen=True, slots=True)
class GenerationSize:
    """`generation`: trials suggested at once; each `lanes` of them share their structure."""

    generation: int
    lanes: int


def generation_size(
    kernel: str, device: str, trials: int, *, solo: bool = False, large: bool = False, lanes: int = 1
) -> GenerationSize:
    """The sizes for `trials` trained by `kernel` on a `device` ("cpu" or "cuda").

    `solo`: lanes train one at a time, so they need not share a structure. `large`: one lane fills a core's cache; on a
    CPU as many lanes then train together as were measured to pay (`lanes`), of which one gives results soonest.
    """
    if solo or (large and device == "cpu"):
        most = trials // MIN_GENERATIONS
        together = 1 if solo else max(1, min(lanes, LARGE_LANES, most // 2))
        return GenerationSize(max(2, min(max(SOLO_GENERATION, 2 * together), most)), together)
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
        # An even number of equal generations: of two that train at the same time, neither waits for the other at the end.
        lanes = -(-trials // max(2, 2 * round(trials / wanted / 2)))
    return GenerationSize(max(2, lanes), max(2, lanes))
