"""Whether the verdict on two detectors is right, on a process in which one of them is known to be better.

    python benchmarks/verdict.py [--sets 200] [--images 100] [--replicates 1000]

The process is that of `benchmarks/intervals.py`: ``c`` is better than ``a``, and ``b`` is as good as ``a``.
Counted are the verdicts that name a better detector, and which.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.intervals import FIRST_SEED, draw
from diagnosis.compare import compare

VERDICTS = ("right", "wrong", "no clear difference")


def judged(images: int, replicates: int, seed: int) -> tuple[tuple[str, str], tuple[str, str]]:
    """How the verdicts on ``a`` and ``c`` and on ``a`` and ``b`` come out: one of `VERDICTS`, and the text.

    Of two equally good detectors a verdict that names a better one is wrong. "Right" and "wrong" are read off
    the words, as a person would.
    """
    a, b, c = draw(images, seed)
    verdicts = []
    for other, truth in ((c, "c is better than a"), (b, "")):
        text = compare([a, other], replicates=replicates, seed=seed).verdict
        named = " is better than " in text.split(":")[0]
        right = bool(truth) and text.startswith(truth)
        verdicts.append(("right" if right else "wrong" if named else "no clear difference", text))
    return verdicts[0], verdicts[1]


def main() -> None:
    """Print how many verdicts are right, and those that say what they must not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", type=int, default=200, help="data sets (default: %(default)s)")
    parser.add_argument("--images", type=int, default=100, help="of a set (default: %(default)s)")
    parser.add_argument(
        "--replicates", type=int, default=1000, help="of each interval (default: %(default)s)"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="at the same time")
    options = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + options.sets)
    with ProcessPoolExecutor(options.processes) as pool:
        pairs = list(pool.map(partial(judged, options.images, options.replicates), seeds))
    print(f"{options.sets} sets of {options.images} images, {options.replicates:,} replicates")
    for name, judgements in zip(("one is better", "equally good"), zip(*pairs, strict=True), strict=True):
        counts = Counter(verdict for verdict, _ in judgements)
        print(f"{name}: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS))
    bad = [text for pair in pairs for _, text in pair if "no difference" in text or "not differ" in text]
    print(f"verdicts that say there is no difference: {len(bad)}")
    print("an example:", pairs[0][0][1])


if __name__ == "__main__":
    main()
