"""The command ``export.py``: a trained detector as a file for other programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data.records import InputError
from spatial_dependency import program
from training.command import ended_by_signals, exit_code
from training.options import AT_LEAST_1, PROBABILITY, OptionGroup, OptionGroups, option, split_error
from training.parser import Parser, add_options, word
from training.predict import BACKBONE, load_detector
from training.run_state import RunFolder, make_folder

__all__ = ["ExportOptions", "Options", "main"]

DESCRIPTION = """\
Write a detector that train_detect.py trained as ONNX, or as a program of torch.export, and compare the file
with the network.

The input is images, (N, 3, S, S) uint8 RGB for any N. The outputs are boxes (N, K, 4), in pixels of that
square, and scores (N, K, C); with --nms image, boxes, scores and labels of the detections that remain. The
metadata in the file has classes, input size, mean and deviation, and how photographs are resized. A shuffled
detector always makes one draw, that of --seed.
"""


@dataclass(frozen=True)
class ExportOptions(OptionGroup):
    """What is written."""

    format: Literal["onnx", "torch"] = option("onnx", "ONNX, or a program of torch.export (.pt2).")
    nms: bool = option(False, "Whether non-maximum suppression is part of it.")
    score: float = option(0.01, "With --nms, detections that score less are left out.", PROBABILITY)
    iou: float = option(
        0.5, "With --nms, of two boxes of a class that overlap more the better stays.", PROBABILITY
    )
    max_detections: int = option(100, "With --nms, detections kept for an image.", AT_LEAST_1)
    backbone: str | None = option(None, BACKBONE)
    seed: int = option(-1, "Seed of the one draw of a shuffled detector.")


@dataclass(frozen=True)
class Options(OptionGroups):
    """All options of the command."""

    export: ExportOptions = field(default_factory=ExportOptions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``export.py``; returns the exit code."""
    parser = Parser(prog=program("export.py"), description=DESCRIPTION)
    parser.add_argument(
        "checkpoint", type=str, help="The folder of a run of train_detect.py (the best), or a checkpoint."
    )
    add_options(parser, Options())
    out = "The file. Default: detector.onnx, or detector.pt2, in the folder of the run."
    parser.add_argument("--out", type=word("out"), default=None, help=out)
    values = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments)).as_dict()

    def action() -> None:
        options = Options.from_flat(values)
        options.check()
        chosen, suffix = options.export, {"onnx": ".onnx", "torch": ".pt2"}[options.export.format]
        path = Path(values["out"]) if values["out"] else None
        if path is not None and path.suffix != suffix:
            raise InputError(
                "--out", str(path), f"a name that ends in {suffix}, for --format {chosen.format}"
            )
        trained = load_detector(values["checkpoint"], "cpu", chosen.backbone)
        from detector.export import ExportError, export

        path = path or RunFolder.of(trained.source).path / f"detector{suffix}"
        make_folder(path.parent)
        try:
            export(
                trained,
                path,
                nms=chosen.nms,
                score_threshold=chosen.score,
                iou_threshold=chosen.iou,
                max_detections=chosen.max_detections,
                seed=chosen.seed,
            )
        except ExportError as error:
            raise InputError(*split_error(error)) from None
        print(f"{path}: the same outputs as {trained.source}, compared on random images", flush=True)

    return ended_by_signals(lambda: exit_code(action), "no file was written")


if __name__ == "__main__":
    sys.exit(main())
