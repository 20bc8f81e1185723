"""What an experiment leaves behind: table, figure and provenance, in its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

from data.formats.files import write_text
from diagnosis.figures.style import save_figure
from training.experiments.collect import Row, collect
from training.experiments.figures import draw
from training.experiments.jobs import runs_folder
from training.experiments.notes import differences
from training.experiments.plan import Plan
from training.experiments.tables import to_csv, to_markdown
from training.provenance import provenance
from training.run_state import make_folder

__all__ = ["write_results"]


def write_results(plan: Plan, out: Path) -> tuple[list[Row], list[Path]]:
    """Collect an experiment's results and write them, of what there is.

    Parameters
    ----------
    plan
        The experiment's.
    out
        Folder of runs and results; those of this experiment come into one of its name.

    Returns
    -------
    rows
        The results.
    files
        ``table.csv``, ``table.md``, the figure as PNG and SVG, ``provenance.json``.

    Raises
    ------
    InputError
        A run's scores cannot be read, the folder cannot be written to.
    """
    rows = collect(plan, runs_folder(out))
    folder = out / plan.experiment.name
    make_folder(folder)
    files = [folder / "table.csv", folder / "table.md"]
    write_text(files[0], to_csv(plan, rows))
    write_text(files[1], to_markdown(plan, rows))
    figure = draw(plan, rows, runs_folder(out))
    files += [save_figure(figure, folder / f"{plan.experiment.name}.{kind}") for kind in ("png", "svg")]
    facts = provenance(
        experiment=plan.experiment.name,
        seeds=list(plan.seeds),
        scale=plan.changes.scale,
        set=dict(plan.changes.overrides),
        only={name: list(values) for name, values in plan.changes.only.items()},
        differences=differences(plan),
        runs={run.name: os.path.relpath(runs_folder(out) / run.name, folder) for run in plan.runs},
        missing=[run.name for row in rows for run in row.missing],
    )
    write_text(folder / "provenance.json", json.dumps(facts, indent=1, default=str) + "\n")
    return rows, [*files, folder / "provenance.json"]
