"""Writes a trained detector as ONNX or a program of torch.export: ``python export.py --help``."""

import sys

from training.export import main

if __name__ == "__main__":
    sys.exit(main())
