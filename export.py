"""Writes a trained detector as ONNX or a program of torch.export: ``python export.py --help``."""

import sys

from spatial_dependency import load_main

if __name__ == "__main__":
    sys.exit(load_main("training.export")())
