"""
What `load_connectors()` costs, which the core calls once per request, and what each variable of other programs adds.

    python3 benchmarks/load.py     # fails above 0.2 microseconds per unrelated variable

CPU time of this process, the best of several rounds; a process in a cluster has hundreds of variables.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runtime.connectors.loader import load_connectors

MOST_US = 0.2
OTHERS = 300
ROUNDS, LOADS = 9, 2000


def cost_us() -> float:
    """CPU microseconds of one load, the best round."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(LOADS):
            load_connectors()
        rounds.append((time.process_time() - start) / LOADS * 1e6)
    return min(rounds)


def main() -> None:
    few, before = cost_us(), len(os.environ)
    for index in range(OTHERS):
        os.environ[f"SVC_{index}_SERVICE_HOST"] = "10.0.0.1"
    many = cost_us()
    each = (many - few) / OTHERS
    print(f"load_connectors(): {few:.1f} us with {before} variables, {many:.1f} us with {before + OTHERS}")
    print(f"an unrelated variable: {each:.3f} us, at most {MOST_US}")
    if each > MOST_US:
        sys.exit("too much")


if __name__ == "__main__":
    main()
