"""Trains, resumes, evaluates and diagnoses a detector: ``python train_detect.py --help``."""

import sys

from spatial_dependency import run_main

if __name__ == "__main__":
    sys.exit(run_main("training.tasks.detection"))
