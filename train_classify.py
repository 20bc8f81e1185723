"""Trains, resumes and evaluates a classifier: ``python train_classify.py --help``."""

import sys

from training.tasks.classification import main

if __name__ == "__main__":
    sys.exit(main())
