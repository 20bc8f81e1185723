"""The command ``python reproduce.py profile``, or ``python -m training.profiling``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from spatial_dependency import program
from training.command import ended_by_signals, exit_code
from training.options import require
from training.parser import Parser, add_options, word
from training.profiling.options import Options

__all__ = ["main"]

DESCRIPTION = """\
Take a trained classifier or detector, and measure for each of its layers what it scores with the spatial
order, the order within patches and the order of the channels of what enters the layer removed at test
time: where in this network does space matter?

Writes profile.csv, profile.json, profile.png and profile.svg; profile.html where pandas is installed; and
scores by image, for --compare. Stopped at any time, the same command goes on.
Exit codes: 0 done; 2 something in the input is wrong; 128 + signal: stopped.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, without the word ``profile``; returns the exit code."""
    parser = Parser(prog=program("reproduce.py profile"), description=DESCRIPTION)
    add_options(parser, Options())
    parser.add_argument(
        "--out",
        type=word("out"),
        default=None,
        help="Folder of the profile. Default: profile in the folder of the checkpoint's run, or one below "
        "runs. What is there of the same configuration is kept.",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=word("compare"),
        metavar=("FOLDER", "OTHER"),
        default=None,
        help="Measure nothing: compare two profiles of classifiers on the same images, the second less the "
        "first, with 95 %% intervals over images, paired by image. Writes compare.csv to --out or to OTHER.",
    )
    values = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments)).as_dict()

    def action() -> None:
        out = Path(values["out"]) if values["out"] else None
        if values["compare"]:
            for name in ("checkpoint", "arch", "network"):
                require(values[name] is None, name, values[name], "none with --compare")
            from training.profiling.run import compare_folders

            first, second = map(Path, values["compare"])
            compare_folders(first, second, out)
            return
        options = Options.from_flat(values)
        options.check()  # before torch is imported
        from training.profiling.run import run

        run(options, out)

    return ended_by_signals(lambda: exit_code(action), "the same command goes on from there")


if __name__ == "__main__":
    sys.exit(main())
