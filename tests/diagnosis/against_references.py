"""Our numbers against those of pycocotools and tidecv, on as many random sets as asked for.

    python -m tests.diagnosis.against_references --sets 400

The tests run the first of these sets. Prints how many there were and how many differ by more than 1e-9.
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

from tests.diagnosis.test_kinds import test_kind_twelve_numbers_are_pycocotools
from tests.diagnosis.test_tide import test_odd_scenes_are_as_in_tidecv


def in_a_folder(seed):
    with tempfile.TemporaryDirectory() as folder:
        test_kind_twelve_numbers_are_pycocotools(Path(folder), seed)


REFERENCES = {
    "COCO's twelve numbers: pycocotools": in_a_folder,
    "TIDE's numbers and types: tidecv": test_odd_scenes_are_as_in_tidecv,
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=400)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    wrong = 0
    print(f"{'reference':36} {'sets':>5} {'different':>10}")
    for name, compare in REFERENCES.items():
        different = 0
        for seed in range(options.sets):
            try:
                compare(seed)
            except AssertionError as error:
                different += 1
                print(f"seed {seed}: {str(error)[:300]}", file=sys.stderr)
        print(f"{name:36} {options.sets:5} {different:10}", flush=True)
        wrong += different
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
