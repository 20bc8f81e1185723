"""Trains, resumes, evaluates and diagnoses a detector: ``python train_detect.py --help``."""

import sys

from training.tasks.detection import main

if __name__ == "__main__":
    sys.exit(main())
