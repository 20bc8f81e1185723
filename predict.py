"""Detects objects in photographs and videos with a trained detector: ``python predict.py --help``."""

import sys

from training.predict import main

if __name__ == "__main__":
    sys.exit(main())
