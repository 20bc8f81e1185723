"""How memory and time of a whole diagnosis grow: 365 classes, an object for 20 detections.

    python benchmarks/scale.py [--detections 2000000 5000000 20000000]

Draws seeded detections as of Objects365, a hundred an image, and diagnoses them: all analyses, without
intervals, figures and files; each size in a new process. At 20 million the aim is 12 GiB, and a cost
that is about linear. The peak is that of the process after drawing, with the detections in it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import forget_peak, resident
from benchmarks.synthetic import Size, synthetic
from diagnosis import diagnose, to_json


def measure(detections: int) -> None:
    """Diagnose a set and print a row."""
    images = detections // 100
    drawn = Size(images, 365, detections // 20, detections, (640, 480), 0.18, crowd=0.01)
    truth, found = synthetic(drawn)
    forget_peak()  # the peak so far was that of drawing
    before, clock, busy = resident("VmRSS") / 2**30, time.perf_counter(), time.process_time()
    to_json([diagnose(truth, found)], {})  # every analysis
    wall, cpu = time.perf_counter() - clock, time.process_time() - busy
    per = 1e6 * cpu / detections
    memory = f"{before:11.2f} {resident('VmHWM') / 2**30:9.2f}"
    print(f"{detections:12,} {len(truth):10,} {cpu:9.1f} {wall:9.1f} {per:9.2f} {memory}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detections", type=int, nargs="+", default=[2_000_000, 5_000_000, 20_000_000])
    options = parser.parse_args()
    print("  detections    objects     CPU s    wall s   µs/det.  GiB before  GiB peak")
    for count in options.detections:
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(count,))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(f"{count:,} detections: exit code {process.exitcode}")


if __name__ == "__main__":
    main()
