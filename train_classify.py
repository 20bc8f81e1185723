"""Trains, resumes and evaluates a classifier: ``python train_classify.py --help``."""

import sys

from training.classification.command import main

if __name__ == "__main__":
    sys.exit(main())
