"""A profile from options to table and figure, in one folder."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from torch import nn

from data.formats.files import read_text, write_text
from data.records import InputError
from detector import profile
from detector.profiling import Profile, ProfileRow
from detector.tables import METHODS
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.style import save_figure
from diagnosis.words import count
from training.profiling.figure import draw_profile
from training.profiling.options import Options
from training.profiling.subjects import Subject, make_subject
from training.provenance import provenance
from training.run_state import make_folder

__all__ = ["draw", "read_table", "run", "write_table"]

SCHEMA = 1
TABLE_FILE, SUMMARY_FILE = "profile.csv", "profile.json"
NUMBER_COLUMNS = ("layer", "percent", "channels", "height", "width")


def run(options: Options, out: Path | None = None) -> Profile:
    """Measure what is not known yet, and write table and figure.

    Parameters
    ----------
    options
        Checked ones.
    out
        Folder of the profile. Default: ``profile`` in that of the checkpoint's run, or one below ``runs``.

    Returns
    -------
    Profile
        Including what earlier calls left in the folder.

    Raises
    ------
    InputError
        Anything wrong with data, weights, checkpoint or folder.
    """
    subject = make_subject(options)
    out = subject.out if out is None else out
    shuffles = options.shuffles
    configuration = {
        **subject.configuration,
        "passes": shuffles.passes,
        "seed": shuffles.seed,
        "shuffle_shortcut": shuffles.shuffle_shortcut,
        "per_image": shuffles.per_image,
        "batch_size": shuffles.batch_size,
        "precision": options.machine.precision,
    }
    known, earlier = read_known(out, configuration)
    make_folder(out)
    sessions = [*earlier, provenance(images={options.images.split: subject.images}, rows_known=len(known))]
    facts = {
        "network": subject.name,
        "images": subject.images,
        "source": subject.source,
        "passes": shuffles.passes,
        "chance": dict(subject.chance),
    }

    def write_summary(found: Profile, *, finished: bool) -> None:
        content = {
            "schema": SCHEMA,
            **facts,
            "finished": finished,
            "configuration": configuration,
            "rows": [_row(row) for row in found.rows],
            "provenance": sessions,
        }
        write_text(out / SUMMARY_FILE, json.dumps(content, indent=1, allow_nan=False))

    print(
        f"{subject.name}: {count(subject.images, 'image')}, the {subject.source}; "
        f"{count(shuffles.passes, 'pass', 'passes')} for each layer and method; {out}",
        flush=True,
    )
    write_summary(Profile.of(known), finished=False)
    found = _measure(subject, options, known, out)
    write_table(found.rows, out)
    draw(found, subject, shuffles.passes, out)
    write_summary(found, finished=True)  # last: once it says finished, the rest is complete
    print(f"\n{found}\n\ntable: {out / 'profile.csv'}\nfigure: {out / 'profile.png'}", flush=True)
    return found


def _measure(subject: Subject, options: Options, known: Sequence[ProfileRow], out: Path) -> Profile:
    shuffles = options.shuffles
    rows = list(known)
    begun = time.perf_counter()
    evaluated = 0

    def evaluate(network: nn.Module) -> Mapping[str, float]:
        nonlocal evaluated
        evaluated += 1
        return subject.evaluate(network)

    def progress(new: Sequence[ProfileRow], done: int, total: int) -> None:
        rows.extend(new)
        write_table(Profile.of(rows).rows, out)
        seconds = (time.perf_counter() - begun) / evaluated * shuffles.passes * (total - done)
        left = f"about {seconds:.0f} s left" if seconds < 90 else f"about {seconds / 60:.0f} min left"
        line = f"{done} of {total}  {_in_words(new[0])}  {left if seconds >= 1 else ''}"
        print(line.rstrip(), flush=True)

    try:
        return profile(
            subject.network,
            evaluate,
            methods=shuffles.methods,  # type: ignore[arg-type]  # checked
            patches=shuffles.patches or None,
            layers=shuffles.layers or None,
            passes=shuffles.passes,
            seed=shuffles.seed,
            shortcut=shuffles.shuffle_shortcut,
            per_image=shuffles.per_image,
            example=subject.example,
            known=known,
            progress=progress,
        )
    except InputError:
        raise
    except ValueError as error:
        if evaluated:
            raise
        what, _, wanted = str(error).partition("; expected ")
        name, _, value = what.partition(": found ")
        where = subject.name if name == "network" else f"--{name if value else 'layers'}"
        raise InputError(where, value or what, wanted) from error


def _in_words(row: ProfileRow) -> str:
    what = "nothing shuffled" if row.method == "none" else f"layer {row.layer}, {row.method}"
    patch = "" if row.patch is None else f" {row.patch}"
    spread = "" if row.passes < 2 else f" ± {100 * row.std:.2f}"
    return f"{what}{patch}: {row.measure} {100 * row.mean:.2f}{spread} %"


def draw(found: Profile, subject: Subject, passes: int, out: Path) -> None:
    """Draw the profile as ``profile.png`` and ``profile.svg``."""
    if not found.layers:
        return
    detects = "map_area" in found.measures
    measures = ["map_area", *(kind.name for kind in ERROR_TYPES)] if detects else ["accuracy"]
    shares = " Small panels: shares of the top detections, averaged over the classes." if detects else ""
    band = "One pass each."
    if passes > 1:
        band = (
            f"Line: mean of {passes} passes, each with its own draws; band: ± 1 standard deviation of a pass."
        )
    note = (
        "The network is not trained again: at test time the order of what enters one layer is taken away, "
        f"one layer at a time. N={count(subject.images, 'image')}, the {subject.source}. {band}{shares}"
    )
    figure = draw_profile(
        found,
        title=f"Where does space matter? {subject.name}",
        note=note,
        chance=subject.chance,
        measures=measures,
    )
    for kind in ("png", "svg"):
        save_figure(figure, out / f"profile.{kind}")


# ---------------------------------------------------------------- files


def write_table(rows: Iterable[ProfileRow], folder: Path) -> None:
    """Write ``profile.csv``: a line for each layer, method and measure, with the value of each pass."""
    write_text(folder / TABLE_FILE, Profile(tuple(rows)).to_csv())


def read_table(folder: Path) -> list[ProfileRow]:
    """The rows of ``profile.csv``, none where it is not there; InputError names the line that is none."""
    file = folder / TABLE_FILE
    if not file.is_file():
        return []
    rows = []
    draws = [name for name, row in METHODS.items() if row.is_shuffle]
    for number, cells in enumerate(csv.DictReader(read_text(file, "a profile").splitlines()), start=2):
        try:
            known: dict[str, Any] = {
                item.name: cells[item.name] for item in fields(ProfileRow) if item.name != "by_image"
            }
            known |= {name: int(known[name]) for name in NUMBER_COLUMNS}
            known["patch"] = int(known["patch"]) if known["patch"] else None
            known["values"] = tuple(map(float, known["values"].split()))
            if known["method"] not in ("none", *draws) or not known["values"]:
                raise ValueError
        except (KeyError, ValueError, AttributeError, TypeError):
            raise InputError(
                f"{file}:{number}", "no row of a profile", "the file as it was written"
            ) from None
        rows.append(ProfileRow(**known))
    return rows


def read_known(
    folder: Path, configuration: Mapping[str, Any]
) -> tuple[list[ProfileRow], list[dict[str, Any]]]:
    """What an earlier call left: its rows, and the provenance of its sessions.

    InputError where they are of another configuration, or cannot be read.
    """
    file = folder / SUMMARY_FILE
    if not file.is_file():
        if (folder / TABLE_FILE).exists():
            raise InputError(
                folder, f"a {TABLE_FILE} without {SUMMARY_FILE}", "both, or another --out for a new one"
            )
        return [], []
    try:
        summary = json.loads(read_text(file, "a profile"))
        before, sessions = dict(summary["configuration"]), list(summary["provenance"])
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(file, "no profile", "the file as it was written, or another --out") from None
    now = json.loads(json.dumps(configuration))
    for name in dict.fromkeys([*now, *before]):
        if now.get(name) != before.get(name):
            raise InputError(
                folder,
                f"a profile with {name} {before.get(name)!r}",
                f"{now.get(name)!r} as now, or another --out for a new one",
            )
    return read_table(folder), sessions


def _row(row: ProfileRow) -> dict[str, Any]:
    content: dict[str, Any] = asdict(row) | {"passes": row.passes}
    del content["by_image"]
    content["values"] = [None if math.isnan(value) else value for value in row.values]
    content["mean"] = None if math.isnan(row.mean) else row.mean
    content["std"] = None if math.isnan(row.std) else row.std
    if None in content["values"]:
        content["reason"] = "not defined in every pass: there was nothing to count"
    elif row.passes == 1:
        content["reason"] = "one pass has no standard deviation"
    return content
