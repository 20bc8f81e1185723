"""A profile from options to table and figure, in one folder."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.formats.files import read_text, replacing, write_text
from data.records import InputError
from detector import compare, profile
from detector.profiling import Profile, ProfileRow
from detector.registry import METHODS
from detector.scores import Score
from diagnosis.breakdown import ERROR_NAMES
from diagnosis.figures.style import save_figure
from diagnosis.words import count
from training.profiling.figure import draw_profile
from training.profiling.options import Options
from training.profiling.subjects import Subject, make_subject
from training.provenance import provenance
from training.run_state import make_folder

__all__ = ["compare_folders", "draw", "read_table", "run", "write_table"]

SCHEMA = 1
TABLE_FILE, SUMMARY_FILE, PAGE_FILE = "profile.csv", "profile.json", "profile.html"
SCORES_FOLDER = "scores"
"""Scores by image, a file for each layer and method: for intervals of resumed profiles and comparisons."""
NUMBERS_DEPEND_ON = ("passes", "seed", "shuffle_shortcut", "per_image", "batch_size")
FURTHER = ("cumulative", "reestimate_batch_norm", "by_class", "cka")
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
        **{name: getattr(shuffles, name) for name in NUMBERS_DEPEND_ON},
        "precision": options.machine.precision,
        **{name: True for name in FURTHER if getattr(shuffles, name)},  # the default is not written
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
    page = f"\npage: {out / PAGE_FILE}" if (out / PAGE_FILE).is_file() else ""
    print(f"\n{found}\n\ntable: {out / TABLE_FILE}\nfigure: {out / 'profile.png'}{page}", flush=True)
    return found


def _measure(subject: Subject, options: Options, known: Sequence[ProfileRow], out: Path) -> Profile:
    shuffles = options.shuffles
    rows = list(known)
    begun = time.perf_counter()
    evaluated = 0

    def evaluate(network: nn.Module) -> Mapping[str, Score]:
        nonlocal evaluated
        evaluated += 1
        return subject.evaluate(network)

    def progress(new: Sequence[ProfileRow], done: int, total: int) -> None:
        rows.extend(new)
        write_scores(new, out)
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
            controls=shuffles.controls,
            reestimate_batch_norm=(subject.batches or False) if shuffles.reestimate_batch_norm else False,
            patches=shuffles.patches or None,
            layers=shuffles.layers or None,
            names=shuffles.names or None,
            cumulative=shuffles.cumulative,
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
    """Draw the profile as ``profile.png`` and ``profile.svg``, and where pandas is installed as a page."""
    if not found.layers:
        return
    detects = "map_area" in found.measures
    shares = " Small panels: shares of the top detections, averaged over the classes." if detects else ""
    band = "One pass each."
    if passes > 1:
        band = (
            f"Line: mean of {passes} passes, each with its own draws; band: ± 1 standard deviation of a pass."
        )
    each = "each layer with all that follow it" if found.cumulative else "one layer at a time"
    title = f"Where does space matter? {subject.name}"
    figure = draw_profile(
        found,
        title=title,
        note="The network is not trained again: at test time the order of what enters one layer is removed, "
        f"{each}. N={count(subject.images, 'image')}, the {subject.source}. {band}{shares}",
        chance=subject.chance,
        measures=["map_area", *ERROR_NAMES] if detects else ["accuracy"],
    )
    for kind in ("png", "svg"):
        save_figure(figure, out / f"profile.{kind}")
    if importlib.util.find_spec("pandas") is not None:
        settings = {"network": subject.name, "images": f"{subject.images}, the {subject.source}"}
        page = replace(found, settings={**found.settings, **settings})
        write_text(out / PAGE_FILE, page.to_html(title=title))


# ---------------------------------------------------------------- comparison

SAME_IMAGES = ("data", "split", "split_seed", "validation", "fraction", "images")


def compare_folders(first: Path, second: Path, out: Path | None = None) -> list[dict[str, Any]]:
    """Compare two profiles of classifiers on the same images, and write ``compare.csv``.

    A line for each layer, method and measure of both: the second's score less the first's (``score``), and
    the difference of their changes from their own baselines (``change``), each with a 95 % interval over
    images, paired by image. `out` is the folder of the table; default: the second's.

    Raises
    ------
    InputError
        No profile in a folder, profiles of other images, or none with scores by image.
    """
    tables, summaries = [], []
    for folder in (first, second):
        if not (folder / SUMMARY_FILE).is_file():
            raise InputError(folder, f"no {SUMMARY_FILE}", "the folder of a profile")
        summaries.append(summary := _read_summary(folder / SUMMARY_FILE))
        cumulative = bool(summary["configuration"].get("cumulative"))
        tables.append(Profile.of(read_table(folder), cumulative))
    before, after = (summary["configuration"] for summary in summaries)
    for name in SAME_IMAGES:
        if before.get(name) != after.get(name):
            raise InputError(second, f"{name} {after.get(name)!r}", f"{before.get(name)!r} as in {first}")
    try:
        rows: list[dict[str, Any]] = [
            {"compared": kind, **asdict(item)}
            for kind, from_baseline in (("score", False), ("change", True))
            for item in compare(*tables, from_baseline=from_baseline)
        ]
    except ValueError as error:
        what, _, wanted = str(error).partition("; expected ")
        found = what.partition("found ")[2]
        raise InputError(
            f"--compare {first} {second}", found, wanted or "two profiles of one kind"
        ) from error
    out = second if out is None else out
    make_folder(out)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "compare.csv", text.getvalue())
    main = tables[0].measures[0]
    names = [summaries[0].get("network", first), summaries[1].get("network", second)]
    print(f"{names[1]} less {names[0]}: {main}, 95 % intervals over images")
    print(f"{'compared':8}  {'layer':>5}  {'method':10}  difference")
    for row in rows:
        if row["measure"] == main:
            method = row["method"] if row["patch"] is None else f"{row['method']} {row['patch']}"
            numbers = f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
            print(f"{row['compared']:8}  {row['layer'] or '-':>5}  {method:10}  {numbers}")
    print(f"\ntable: {out / 'compare.csv'}")
    return rows


# ---------------------------------------------------------------- files


def write_table(rows: Iterable[ProfileRow], folder: Path) -> None:
    """Write ``profile.csv``: a line for each layer, method and measure, with the value of each pass."""
    write_text(folder / TABLE_FILE, Profile(tuple(rows)).to_csv())


def _scores_file(folder: Path, row: ProfileRow) -> Path:
    patch = "" if row.patch is None else f"-{row.patch}"
    return folder / SCORES_FOLDER / f"{row.layer}-{row.method}{patch}.npz"


def write_scores(rows: Sequence[ProfileRow], folder: Path) -> None:
    """Write the scores by image of the rows of a layer and a method, where they are known."""
    scores: dict[str, Any] = {row.measure: row.by_image.numpy() for row in rows if row.by_image is not None}
    if scores:
        file = _scores_file(folder, rows[0])
        file.parent.mkdir(exist_ok=True)
        with replacing(file) as part, part.open("wb") as stream:
            np.savez_compressed(stream, **scores)


def _read_scores(folder: Path, rows: Sequence[ProfileRow]) -> list[ProfileRow]:
    """The rows with their scores by image, where these are in the folder."""
    found: dict[Path, dict[str, Tensor]] = {}
    for file in dict.fromkeys(_scores_file(folder, row) for row in rows):
        if file.is_file():
            try:
                with np.load(file) as scores:
                    found[file] = {name: torch.from_numpy(scores[name]) for name in scores.files}
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                found_there = f"no scores by image ({error})"
                raise InputError(file, found_there, "the file as it was written") from None
    return [replace(row, by_image=found.get(_scores_file(folder, row), {}).get(row.measure)) for row in rows]


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
            where, expected = f"{file}:{number}", "the file as it was written"
            raise InputError(where, "no row of a profile", expected) from None
        rows.append(ProfileRow(**known))
    return _read_scores(folder, rows)


def read_known(
    folder: Path, configuration: Mapping[str, Any]
) -> tuple[list[ProfileRow], list[dict[str, Any]]]:
    """What an earlier call left: its rows, and the provenance of its sessions.

    InputError where they are of another configuration, or cannot be read.
    """
    file = folder / SUMMARY_FILE
    if not file.is_file():
        if (folder / TABLE_FILE).exists():
            expected = "both, or another --out for a new one"
            raise InputError(folder, f"a {TABLE_FILE} without {SUMMARY_FILE}", expected)
        return [], []
    summary = _read_summary(file)
    before, sessions = summary["configuration"], summary["provenance"]
    now = json.loads(json.dumps(configuration))
    for name in dict.fromkeys([*now, *before]):
        if now.get(name) != before.get(name):
            expected = f"{now.get(name)!r} as now, or another --out for a new one"
            raise InputError(folder, f"a profile with {name} {before.get(name)!r}", expected)
    return read_table(folder), sessions


def _read_summary(file: Path) -> dict[str, Any]:
    text = read_text(file, "a profile")
    try:
        summary = json.loads(text)
        parts = {"configuration": dict(summary["configuration"]), "provenance": list(summary["provenance"])}
        return {**summary, **parts}
    except (ValueError, KeyError, TypeError):
        raise InputError(file, "no profile", "the file as it was written, or another --out") from None


def _row(row: ProfileRow) -> dict[str, Any]:
    content: dict[str, Any] = asdict(replace(row, by_image=None)) | {"passes": row.passes}
    del content["by_image"]
    content["values"] = [None if math.isnan(value) else value for value in row.values]
    content["mean"] = None if math.isnan(row.mean) else row.mean
    content["std"] = None if math.isnan(row.std) else row.std
    if None in content["values"]:
        content["reason"] = "not defined in every pass: there was nothing to count"
    elif row.passes == 1:
        content["reason"] = "one pass has no standard deviation"
    return content
