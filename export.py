"""Writes a trained detector as ONNX or a program of torch.export: ``python export.py --help``."""

import sys

from spatial_dependency import run_main

if __name__ == "__main__":
    sys.exit(run_main("training.export"))
