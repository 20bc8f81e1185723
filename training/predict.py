"""The command ``predict.py``: a trained detector on photographs, folders of them, and videos."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.formats import ClassList, write_classes
from data.formats.files import IMAGE_SUFFIXES, open_image, write_text
from data.formats.names import distinct_names
from data.formats.voc import AnnotatedObject, annotation_xml, write_text_where_named
from data.records import Detections, InputError
from spatial_dependency import program
from training.command import ended_by_signals, exit_code
from training.options import AT_LEAST_1, PROBABILITY, OptionGroup, OptionGroups, option, some_of, split_error
from training.parser import Parser, add_options, word
from training.run_state import NO_ROOM, RunFolder, locked, make_folder, uninterrupted

if TYPE_CHECKING:
    from detector.trained import Found, TrainedDetector

__all__ = ["BACKBONE", "Options", "PredictOptions", "list_files", "load_detector", "main", "predict"]

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
BACKBONE = (
    "Of a detector that was trained with --backbone module:function the same words: your consent to run "
    "that code."
)
KINDS = ["pictures", "json", "voc", "xml"]
NUMBERS = "predictions.json"
RESULTS = ("pictures", "voc", "annotations", "detections.json", NUMBERS)
PART = ".predict-"
"""What the names of folders begin with that are being written."""

DESCRIPTION = """\
Detect objects in photographs, folders of them, and videos, with a detector that train_detect.py trained.

Its folder holds predictions.json (for people: file, size, names, scores, boxes), detections.json (COCO
results), voc/ (VOC detection text), annotations/ (VOC XML of those above --draw-score) and pictures/ (the
same, drawn). python -m diagnosis --detections reads detections.json and voc/. Boxes are in pixels of the
photograph as it is shown.

Exit codes: 0 done; 1 some photographs could not be read, the others are done; 2 something in the input is
wrong; 128 + its number: stopped by a signal.
"""


@dataclass(frozen=True)
class PredictOptions(OptionGroup):
    """What is detected and written."""

    score: float = option(0.01, "Detections that score less are left out.", PROBABILITY)
    draw_score: float = option(
        0.3, "Detections that score less are in no picture and in no VOC XML.", PROBABILITY
    )
    nms: float = option(
        0.5,
        "Non-maximum suppression: of two boxes of a class that overlap more the better stays.",
        PROBABILITY,
    )
    max_detections: int = option(100, "Detections kept for an image.", AT_LEAST_1)
    write: list[str] = option(
        KINDS, f"What is written besides predictions.json, of {', '.join(KINDS)}.", some_of(KINDS)
    )
    exif: Literal["shown", "stored"] = option(
        "shown",
        "Photographs as their EXIF orientation shows them, or as they are stored, which the annotations of "
        "VOC and COCO mean.",
    )
    every: int = option(1, "Take every Nth frame of a video.", AT_LEAST_1)
    batch_size: int = option(16, "Photographs computed at once.", AT_LEAST_1)
    seed: int = option(-1, "Seed of the draws of a shuffled detector; the same for every photograph.")
    backbone: str | None = option(None, BACKBONE)
    device: str = option("auto", "cpu, cuda, cuda:1, mps …; auto: a GPU where there is one.")


@dataclass(frozen=True)
class Options(OptionGroups):
    """All options of the command."""

    predict: PredictOptions = field(default_factory=PredictOptions)


# ---------------------------------------------------------------- input


class Image(NamedTuple):
    """A photograph, or a frame of a video."""

    file: Path
    frame: int | None
    """From 1; None for a photograph."""
    pixels: NDArray[np.uint8]


class Failed(NamedTuple):
    """A file that could not be read, or not to its end."""

    file: Path
    error: str


def list_files(sources: Sequence[str]) -> list[Path]:
    """Photographs and videos: files as given, of folders all within, by name; each once.

    Raises
    ------
    InputError
        No such file or folder, or nothing of the kind in it.
    """
    found: dict[Path, None] = {}
    for source in map(Path, sources):
        if source.is_dir():
            files = [
                file
                for file in sorted(source.rglob("*"))
                if file.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES
                and not file.name.startswith(".")
                and file.is_file()
            ]
            if not files:
                expected = f"photographs ({' '.join(IMAGE_SUFFIXES[:5])} …) or videos"
                raise InputError(source, "a folder without photographs", expected)
            found.update(dict.fromkeys(files))
        elif source.is_file():
            found[source] = None
        else:
            raise InputError(source, "no such file or folder", "a photograph, a video, or a folder of them")
    return list(found)


def _read(files: Sequence[Path], every: int, exif: bool) -> Iterator[Image | Failed]:
    from detector.trained import read_photograph

    for file in files:
        if file.suffix.lower() in VIDEO_SUFFIXES:
            yield from _frames(file, every)
            continue
        try:
            with open_image(file, "a photograph") as opened:  # Pillow alone would take a panorama for a bomb
                pixels = read_photograph(opened, exif=exif)
        except InputError as error:
            yield Failed(file, str(error).removeprefix(f"{file}: "))
        else:
            yield Image(file, None, pixels)


def _frames(file: Path, every: int) -> Iterator[Image | Failed]:
    import cv2

    video = cv2.VideoCapture(str(file))
    try:
        number = 0
        while True:
            there, pixels = video.read()
            if not there:
                break
            number += 1
            if (number - 1) % every == 0:
                yield Image(file, number, np.ascontiguousarray(pixels[..., ::-1]))
        announced = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        video.release()
    if not number:
        yield Failed(file, "found no frame that can be decoded; expected a video that OpenCV's ffmpeg reads")
    elif number < announced - 1:  # the header's number may be one off
        yield Failed(file, f"found {number} frames; expected {announced}: the video is cut short or damaged")


def _names_of(files: Sequence[Path]) -> dict[Path, str]:
    """Names of the photographs in what is written: short, distinct, printable."""
    absolute = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100  # links stay
    top = os.path.commonpath([file.parent for file in absolute])
    texts = [_printable(file.relative_to(top)) for file in absolute]
    names = distinct_names(texts) or texts
    if len(set(names)) < len(names):
        names = [f"{name}_{number}" for number, name in enumerate(names, start=1)]
    return dict(zip(files, names, strict=True))


# ---------------------------------------------------------------- output


class Predicted(NamedTuple):
    """What was found in an image."""

    name: str
    file: Path
    frame: int | None
    found: Found


class Pictures:
    """Writes photographs, and videos, with the detections drawn."""

    def __init__(self, folder: Path, least: float, every: int) -> None:
        self.folder, self.least, self.every = folder, least, every
        self.video: Any = None
        self.path, self.frames = folder, 0  # of the video

    def add(self, name: str, image: Image, found: Found) -> None:
        """Draw what was found in an image."""
        import cv2
        from PIL import Image as Pillow

        from training.pictures import draw_boxes

        sure = found["scores"] >= self.least
        rows = sure.nonzero()[:, 0].tolist()
        texts = [f"{found['names'][row]} {found['scores'][row]:.2f}" for row in rows]
        drawn = draw_boxes(image.pixels, found["boxes"][sure], found["labels"][sure], texts)
        path = self.folder / f"{name}.{'jpg' if image.frame is None else 'mp4'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if image.frame is None:
            Pillow.fromarray(drawn).save(path, quality=90)
            return
        if path != self.path:
            self.close()
            self.path, self.frames = path, 0
            source = cv2.VideoCapture(str(image.file))
            rate = (source.get(cv2.CAP_PROP_FPS) or 25.0) / self.every
            source.release()
            size = (drawn.shape[1], drawn.shape[0])
            self.video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
        self.video.write(drawn[..., ::-1])
        self.frames += 1

    def close(self) -> None:
        """Complete the video."""
        if self.video is not None:
            import cv2

            self.video.release()
            written = cv2.VideoCapture(str(self.path))  # OpenCV does not say that a disk is full
            count = int(written.get(cv2.CAP_PROP_FRAME_COUNT))
            written.release()
            if count < self.frames:
                found = f"{max(count, 0)} of {self.frames} frames written"
                raise InputError(self.path, found, "all of them; is there room?")
        self.video = None


def _write(
    out: Path,
    done: Sequence[Predicted],
    failed: Sequence[Failed],
    facts: dict[str, Any],
    options: PredictOptions,
) -> None:
    """Write what was found, in the formats that are asked for."""
    classes: tuple[str, ...] = tuple(facts["classes"])
    images = [
        {
            "file": str(one.file),
            "name": one.name,
            **({} if one.frame is None else {"frame": one.frame}),
            "width": one.found["size"][0],
            "height": one.found["size"][1],
            "detections": [
                {"name": name, "score": round(score, 6), "box": [round(value, 3) for value in box]}
                for name, score, box in _rows(one.found)
            ],
        }
        for one in done
    ]
    if "json" in options.write:
        results = [
            {
                # Its number where its name is one, as in COCO.
                "image_id": int(one.name) if one.name.isascii() and one.name.isdigit() else one.name,
                "file_name": one.file.name if one.frame is None else one.name,
                "category_id": classes.index(name) + 1,
                "category_name": name,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            for one in done
            for name, score, (x1, y1, x2, y2) in _rows(one.found)
        ]
        write_text(out / "detections.json", json.dumps(results))
    if "voc" in options.write:
        counts = [len(one.found["scores"]) for one in done]
        detections = Detections(
            [one.name for one in done],
            classes,
            np.repeat(np.arange(len(done)), counts),
            np.concatenate([np.zeros(0, np.int64), *(one.found["labels"].numpy() for one in done)]),
            np.concatenate([np.zeros(0), *(one.found["scores"].numpy() for one in done)]),
            np.concatenate([np.zeros((0, 4)), *(one.found["boxes"].numpy() for one in done)]),
        )
        write_text_where_named(detections, out / "voc")
    if "xml" in options.write:
        folder = out / "annotations"
        make_folder(folder)
        write_classes(folder, ClassList(classes, ()))
        for one in done:
            sure = [
                AnnotatedObject(name, tuple(box))  # type: ignore[arg-type]
                for name, score, box in _rows(one.found)
                if score >= options.draw_score and box[2] > box[0] and box[3] > box[1]
            ]
            name = one.file.name if one.frame is None else f"{one.name}.jpg"
            text = annotation_xml(folder.name, _printable(name), one.found["size"], sure)
            write_text(folder / f"{one.name.replace('/', '__')}.xml", text)
    content = {
        **facts,
        "boxes": "x1, y1, x2, y2 in pixels",
        "images": images,
        "not_read": [{"file": str(one.file), "error": one.error} for one in failed],
    }
    content["sha256"] = {str(file.relative_to(out)): _digest(file) for file in _files(out)}
    write_text(out / NUMBERS, json.dumps(content, indent=1))


def _printable(name: str | Path) -> str:
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else "_" for letter in text)


def _rows(found: Found) -> Iterator[tuple[str, float, list[float]]]:
    """Name, score and box of each detection."""
    return zip(found["names"], found["scores"].tolist(), found["boxes"].tolist(), strict=True)


# ---------------------------------------------------------------- the command


def load_detector(path: str, device: str = "auto", backbone: str | None = None) -> TrainedDetector:
    """The detector of a run or checkpoint; InputError where there is none, or no such device."""
    import torch

    from detector import WeightsError
    from detector.trained import load

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        trained = load(path, backbone=backbone)
    except WeightsError as error:
        raise InputError(*split_error(error)) from None
    try:
        return trained.to(device)
    except (RuntimeError, AssertionError) as error:
        found = f"{device!r} ({' '.join(str(error).split())[:120]})"
        raise InputError("--device", found, "a device of this machine, such as cpu") from None


def predict(checkpoint: str, sources: Sequence[str], options: PredictOptions, out: Path | None = None) -> int:
    """Detect and write, as the command does; the number of files that could not be read.

    Parameters
    ----------
    checkpoint
        The folder of a run, or a checkpoint.
    sources
        Photographs, videos, and folders of them.
    options
        Of the command.
    out
        The folder to write to. Default: ``predictions`` in the folder of the run.

    Raises
    ------
    InputError
        No such detector or source; a folder that holds something else.
    """
    options.check()
    files = list_files(sources)
    names = _names_of(files)
    trained = load_detector(checkpoint, options.device, options.backbone)
    out = out or RunFolder.of(trained.source).path / "predictions"
    make_folder(out)
    facts: dict[str, Any] = {
        "checkpoint": str(trained.source),
        "epoch": trained.epoch,
        "classes": list(trained.classes),
        **{name: getattr(options, name) for name in ("score", "nms", "exif")},
    }
    done: list[Predicted] = []
    failed: list[Failed] = []
    batch: list[Image] = []

    def detect(pictures: Pictures) -> None:
        pixels = [image.pixels for image in batch]
        limits = options.score, options.nms, options.max_detections
        found = trained.predict_pixels(pixels, *limits, seed=options.seed)
        for image, one in zip(batch, found, strict=True):
            name = names[image.file]
            if "pictures" in options.write:
                pictures.add(name, image, one)
            name = name if image.frame is None else f"{name}_{image.frame:06}"
            done.append(Predicted(name, image.file, image.frame, one))
        batch.clear()

    with locked(out), _part(out) as part:
        _check_unchanged(out)
        pictures = Pictures(part / "pictures", options.draw_score, options.every)
        for item in _read(files, options.every, options.exif == "shown"):
            if isinstance(item, Failed):
                failed.append(item)
                print(f"warning: {item.file}: {item.error}", file=sys.stderr)
                continue
            batch.append(item)
            if len(batch) == options.batch_size:
                detect(pictures)
        detect(pictures)
        pictures.close()
        _write(part, done, failed, facts, options)
        _check_unchanged(out)
        with uninterrupted(f"the prediction in {out} is complete"):
            _replace(out, part)
            count = sum(len(one.found["scores"]) for one in done)
            best = max((score for one in done for score in one.found["scores"].tolist()), default=1.0)
            hint = f"; none reaches --draw-score {options.draw_score:g}: the best has {best:.2g}"
            hint = hint if {"pictures", "xml"} & {*options.write} and best < options.draw_score else ""
            print(f"{out}: {count} detections in {len(done)} images of {len(files)} files{hint}", flush=True)
    if failed:
        print(f"error: {len(failed)} of {len(files)} files could not be read; see above", file=sys.stderr)
    return len(failed)


@contextmanager
def _part(out: Path) -> Iterator[Path]:
    """A folder in `out` to write to, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix=PART, dir=out, ignore_cleanup_errors=True) as name:
        try:
            yield Path(name)
        except BrokenPipeError:
            raise
        except OSError as error:  # without a number: of an encoder that could not write
            room = error.errno in (*NO_ROOM, None)
            expected = "a folder with room to write to" if room else "a folder to write to, by --out"
            raise InputError(error.filename or out, error.strerror or str(error), expected) from None


def _replace(out: Path, part: Path) -> None:
    """Move the results in `part` to `out`, and those of an earlier prediction to `part`, or none of them."""
    earlier = part / "earlier"
    earlier.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for source, target in ((out, earlier), (part, out)):
            for result in RESULTS:
                if (source / result).exists():
                    (source / result).replace(target / result)
                    moved.append((source / result, target / result))
    except OSError:
        for before, after in reversed(moved):
            after.replace(before)
        raise
    shutil.rmtree(part, ignore_errors=True)


def _check_unchanged(out: Path) -> None:
    """Raise InputError where `out` holds anything but a prediction as it was written."""
    if all(file.name.startswith(PART) for file in out.iterdir()):
        return
    instead = "choose another folder, by --out"
    try:
        written = json.loads((out / NUMBERS).read_bytes())["sha256"]
        changed = [file for file in _files(out) if written.get(str(file.relative_to(out))) != _digest(file)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        expected = f"an empty or new one: {instead}"
        raise InputError(out, "a folder that holds something else", expected) from None
    if changed:
        more = f" ({len(changed)} such files)" if len(changed) > 1 else ""
        found = f"a file that was changed since it was written, or is not of predict.py{more}"
        raise InputError(changed[0], found, f"none in a folder that is replaced: move it, or {instead}")


def _files(folder: Path) -> list[Path]:
    """The files of a prediction but for `NUMBERS`, and those beside them in its folders."""
    results = (folder / result for result in RESULTS if result != NUMBERS)
    found = [path for result in results for path in (result, *sorted(result.rglob("*")))]
    return [path for path in found if path.is_symlink() or (path.exists() and not path.is_dir())]


def _digest(file: Path) -> str:
    """The SHA-256 of a file; empty for a link in its place."""
    if file.is_symlink():
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``predict.py``; returns the exit code."""
    parser = Parser(prog=program("predict.py"), description=DESCRIPTION)
    parser.add_argument(
        "checkpoint", type=str, help="The folder of a run of train_detect.py (the best), or a checkpoint."
    )
    parser.add_argument("sources", nargs="+", type=str, help="Photographs, videos, folders of them.")
    add_options(parser, Options())
    parser.add_argument(
        "--out",
        type=word("out"),
        default=None,
        help="Folder of the results. Default: predictions in the folder of the run. Those of an earlier "
        "prediction there are replaced.",
    )
    values = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments)).as_dict()
    unread = 0

    def action() -> None:
        nonlocal unread
        options = Options.from_flat(values)
        options.check()
        out = Path(values["out"]) if values["out"] else None
        unread = predict(values["checkpoint"], values["sources"], options.predict, out)

    return ended_by_signals(lambda: exit_code(action) or int(unread > 0), "nothing was written")


if __name__ == "__main__":
    sys.exit(main())
