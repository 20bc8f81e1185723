"""A profile from options to table and figure, in one folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from data.records import InputError
from detector import profile
from detector.profiling import Profile, ProfileRow
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.style import count, save_figure
from training.profiling.figure import draw_profile
from training.profiling.files import read_known, write_json, write_table
from training.profiling.options import Options
from training.profiling.subject import Subject, checkpoint_of
from training.provenance import provenance
from training.run_state import make_folder

__all__ = ["run"]


def run(options: Options, out: Path | None = None) -> Profile:
    """Measure what is not known yet, and write table and figure.

    Parameters
    ----------
    options
        All of them.
    out
        Folder of the profile. Default: ``profile`` in that of the checkpoint's run, or one below ``runs``.

    Returns
    -------
    Profile
        With what earlier calls left in the folder.

    Raises
    ------
    InputError
        Anything wrong with options, data, weights, checkpoint or folder.
    """
    options.check()
    subject = _subject(options)
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
    sittings = [*earlier, provenance(images={options.images.split: subject.images}, rows_known=len(known))]
    facts = {
        "network": subject.name,
        "images": subject.images,
        "source": subject.source,
        "passes": shuffles.passes,
        "chance": dict(subject.chance),
    }
    print(
        f"{subject.name}: {count(subject.images, 'image')}, the {subject.source}; "
        f"{count(shuffles.passes, 'pass', 'passes')} for each layer and method; {out}",
        flush=True,
    )
    write_json(Profile.of(known), out, facts, configuration, sittings, finished=False)
    found = _measure(subject, options, known, out)
    write_table(found.rows, out)
    _draw(found, subject, shuffles.passes, out)
    # Last: whoever finds it finished finds the rest complete.
    write_json(found, out, facts, configuration, sittings, finished=True)
    print(f"\n{found}\n\ntable: {out / 'profile.csv'}\nfigure: {out / 'profile.png'}", flush=True)
    return found


def _subject(options: Options) -> Subject:
    from training.profiling.classifier import classifier_of_checkpoint, classifier_of_weights
    from training.profiling.detector import detector_of_checkpoint

    if options.network.checkpoint is None:
        return classifier_of_weights(options)
    checkpoint, hyper = checkpoint_of(options.network.checkpoint)
    make = classifier_of_checkpoint if "statistics" in hyper else detector_of_checkpoint
    return make(options, checkpoint, hyper)


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
        print(f"{done} of {total}  {_in_words(new[0])}  {_left(seconds)}".rstrip(), flush=True)

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


def _left(seconds: float) -> str:
    if seconds < 1:
        return ""
    return f"about {seconds:.0f} s left" if seconds < 90 else f"about {seconds / 60:.0f} min left"


def _draw(found: Profile, subject: Subject, passes: int, out: Path) -> None:
    if not found.layers:
        return
    detects = "map_area" in found.measures
    measures = ["map_area", *(kind.name for kind in ERROR_TYPES)] if detects else ["accuracy"]
    shares = " Small panels: shares of the top detections, averaged over the classes." if detects else ""
    several = (
        f"Line: mean of {passes} passes, each with its own draws; band: ± 1 standard deviation of a pass."
    )
    band = several if passes > 1 else "One pass each."
    note = (
        "The network is not trained again: at test time the order of what enters one layer is taken away, "
        "one layer at a time. "
        f"N={count(subject.images, 'image')}, the {subject.source}. "
        f"{band}{shares}"
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
