"""`make bench`: speed, side by side in one run. Each part is a command of its own with options for sizes.

python -m bench.trials    (a, b) trials per hour of a whole search against a plain Optuna + DataLoader loop
python -m bench.grids     (c) lr-find's grids against the same runs one after another
python -m bench.lanes     (d, f) a run's step alone, fused, in processes, as others train it; share of the roofline
python -m bench.search    (e) search and ledger a trial (--overhead); what the search finds (--regret)
python -m bench.growth    (g) how cost grows with trials, lanes and runs
python -m bench.quality   the search's result at equal wall time, on three real tasks (an hour; not part of make bench)
"""

from __future__ import annotations

import subprocess
import sys

PARTS = (
    ("bench.trials", "--trials", "40"),
    ("bench.grids",),
    ("bench.lanes",),
    ("bench.search", "--overhead"),
    ("bench.growth",),
)


def main() -> int:
    """Each part in a process of its own; the first that fails ends it."""
    for module, *options in PARTS:
        print(f"\n# python -m {' '.join([module, *options])}", flush=True)
        code = subprocess.run([sys.executable, "-m", module, *options]).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
