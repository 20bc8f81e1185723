"""Detection: data, network and report of ``train_detect.py``.

Torch is imported within the functions that need it: it takes seconds, and ``--help`` does without.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.formats import guard_test_set, read_classes, read_ground_truth, read_voc, voc_folder
from data.formats.coco import image_folders
from data.formats.detect_format import find_ground_truth, similar_source
from data.formats.validation import counted
from data.formats.voc import check_text_names
from data.records import GroundTruth, InputError, InputWarning
from detector.registry import is_own_code
from training.command import run_command
from training.run_state import RunFolder, is_global_zero
from training.task import Report, Task, Trained, checksum
from training.tasks.detection_options import DataOptions, ModelOptions, Options

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from data.detection import Batch, DetectionDataset, EpochLoader
    from detector import YOLO
    from diagnosis import Diagnosis

__all__ = ["DETECTION", "DetectionTask", "main", "read_run_ground_truth", "read_test_data"]

CACHE_MARGIN = 1.25
"""Longest side of a decoded image in the cache, over the input size: crops of 0.8 keep enough pixels."""
DRAWN = Path("runs")
"""Where the folders of the embedded data sets are by default."""


# Data


class RunGroundTruth(NamedTuple):
    """Ground truth of a run."""

    train: GroundTruth
    validation: GroundTruth | None
    test: GroundTruth | None
    similar: tuple[tuple[str, ...], ...]
    """Groups of similar classes."""


def read_run_ground_truth(
    options: DataOptions, seed: int, faults: list[InputError] | None = None
) -> RunGroundTruth:
    """Read the lists and annotations, guard the test set, and hold the validation images out.

    `faults` takes the errors of annotations, instead of the first being raised.

    Raises
    ------
    InputError
        Anything wrong with the lists or annotations; a test image in the training list.
    """
    from data.detection import split_validation

    if options.is_own:
        train = _read("--train", options.train, options, None, faults)
        test, similar = None, tuple(map(tuple, similar_source(options.train[0], train.classes)[0]))
        if options.test:
            test, similar = read_test_data(options, train.classes, faults)
    else:
        test, similar = read_test_data(options, faults=faults)
        train = _read("--train", options.train_lists, options, None, faults)
        guard_test_set(_data_root(options), train, options.test_lists)
    if test is not None:
        _check_apart("--test", options.test_lists, test, train, faults)
    validation, expected = None, "objects to train on"
    if options.validation_lists:
        lists = options.validation_lists
        validation = _read("--validation-lists", lists, options, train.classes, faults)
        for other in (train,) if test is None else (train, test):
            _check_apart("--validation-lists", lists, validation, other, faults)
    elif options.validation:
        train, validation = split_validation(train, options.validation, seed)
        if _trained_on(validation).any():
            expected += f"; --validation {options.validation:g} holds out others: take another --seed"
    if not _trained_on(train).any():
        found = f"{len(train.images)} images without an object that is neither difficult nor a crowd"
        raise InputError(f"--train {' '.join(options.train_lists)}", found, expected)
    return RunGroundTruth(train, validation, test, similar)


def _trained_on(truth: GroundTruth) -> NDArray[np.bool_]:
    """``(N,)`` whether each object is trained on: neither difficult nor a crowd."""
    return ~truth.difficult & ~truth.crowd


def read_test_data(
    options: DataOptions, classes: tuple[str, ...] | None = None, faults: list[InputError] | None = None
) -> tuple[GroundTruth, tuple[tuple[str, ...], ...]]:
    """The test images' ground truth and the groups of similar classes; no training data is needed.

    Data of the user's own may lack some of the `classes` that were trained.

    Raises
    ------
    InputError
        Anything wrong with the lists or annotations.
    """
    if not options.test_lists:
        raise InputError("--test", "nothing", "the data to score, as for --train")
    test = _read("--test", options.test_lists, options, classes, faults)
    if options.is_own:
        similar = similar_source(options.test[0], classes or test.classes)[0]
        return test, tuple(map(tuple, similar))
    folder, _ = voc_folder(_data_root(options), options.test_lists[0])
    return test, read_classes(folder).similar


def _read(
    option: str,
    lists: list[str],
    options: DataOptions,
    classes: tuple[str, ...] | None,
    faults: list[InputError] | None,
) -> GroundTruth:
    """Images of the lists of `option`; data of the user's own may lack some of the `classes` trained on.

    Raises
    ------
    InputError
        Anything wrong with them; boxes without photographs.
    """
    if not options.is_own:
        return read_voc(_data_root(options), lists, pixels_from=options.pixels_from, faults=faults)
    source = lists[0]
    truth = read_ground_truth(source, pixels_from=options.pixels_from, faults=faults)
    if truth.images and not truth.files:
        name = next(filter(None, truth.file_names), None)
        outer, inner = image_folders(Path(source).absolute())
        places = f"in {' or '.join(map(str, outer))}, nor in a folder {', '.join(inner)} there"
        found = "no names of image files" if name is None else f"no image file {name} {places}"
        expected = "the photographs in one of these, or file_name with the folder before it"
        raise InputError(f"{option} {source}", found, expected)
    used = {truth.classes[label] for label in np.unique(truth.labels)}  # without names, VOC's may be meant
    if classes is not None and used <= set(classes):
        index = {name: label for label, name in enumerate(classes)}
        labels = np.array([index.get(name, -1) for name in truth.classes], np.int64)[truth.labels]
        truth = truth.with_classes(classes, labels)
    return truth


def _check_apart(
    option: str,
    lists: list[str],
    truth: GroundTruth,
    other: GroundTruth,
    faults: list[InputError] | None,
) -> None:
    """Raise InputError for images that are there twice, or for other classes; or add it to `faults`."""
    both = sorted({*map(os.path.realpath, truth.files)} & {*map(os.path.realpath, other.files)})
    where = f"{option} {' '.join(lists)}"
    errors: list[InputError] = []
    if both:
        expected = "each image once, in training, validation or test: put some aside"
        errors.append(InputError(where, f"{both[0]} in two of the lists", expected))
    if truth.classes != other.classes:
        errors.append(_other_classes(where, truth.classes, other.classes, "the other"))
    if errors and faults is None:
        raise errors[0]
    if faults is not None:
        faults += errors


def _other_classes(where: object, found: Sequence[str], wanted: Sequence[str], whose: str) -> InputError:
    """The error about classes other than those `wanted`, which are those of `whose` images."""
    more = ", ".join(name for name in found if name not in wanted)
    fewer = ", ".join(name for name in wanted if name not in found)
    differ = [f"{more}, which {whose} images do not have"] * bool(more) + [f"no {fewer}"] * bool(fewer)
    text = ", and ".join(differ) or f"the classes {', '.join(found)}"
    return InputError(where, text, f"the classes of {whose} images, in their order: {', '.join(wanted)}")


MOST_NAMED = 4
"""Weights that a message names."""


def _data_root(options: DataOptions) -> Path:
    """The folder of the VOC trees; the shapes are drawn where they are absent."""
    if options.data != "voc":
        from data.shapes import SHAPE_SETS, write_shapes

        return write_shapes(Path(options.root or DRAWN / options.data), **SHAPE_SETS[options.data]).parent
    root = Path(str(options.root))
    if not root.is_dir():
        expected = "the VOCdevkit folder that holds VOC2007, VOC2012 …"
        raise InputError(f"--root {root}", "no such folder", expected)
    return root


def _load_head(head: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Load the head's weights of a detector's state dict; print which do not fit and begin anew."""
    prefix = "model.head."
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    own = head.state_dict()
    fitting = {name: value for name, value in found.items() if name in own and value.shape == own[name].shape}
    head.load_state_dict(fitting, strict=False)
    new = [name for name in own if name not in fitting]
    if found and new and is_global_zero():
        more = f" and {len(new) - MOST_NAMED} more" if len(new) > MOST_NAMED else ""
        named = ", ".join(new[:MOST_NAMED]) + more if fitting else "weights"
        print(f"--weights {source}: the head's {named} do not fit and start anew", flush=True)


class RunImages(NamedTuple):
    """The images of a run."""

    train: DetectionDataset
    validation: DetectionDataset | None
    test: DetectionDataset | None
    similar: tuple[tuple[str, ...], ...]


class ScoredImages(NamedTuple):
    """The images that a detector is scored on."""

    images: DetectionDataset
    similar: tuple[tuple[str, ...], ...]


def _parts(data: Any) -> dict[str, Any]:
    """The parts of a :class:`RunGroundTruth` or of :class:`RunImages`, by their names in words."""
    return {"training": data.train, "validation": data.validation, "test": data.test}


# The task


class DetectionTask(Task):
    """Training a YOLO-style detector."""

    script = "train_detect.py"
    description = (
        "Train a YOLO-style detector, score it on the test set and say what kind of mistakes it makes. "
        "Its folder holds config.yaml, provenance.json, checkpoints, logs, detections, scores.json and "
        "diagnosis."
    )
    options = Options
    changeable = frozenset({"shuffle", "shuffle_method", "patch", "shuffle_shortcut"})
    resumable = frozenset({"sheet"})
    evaluation_verb = "score and diagnose"
    changeable_in_words = "--shuffle"
    name_help = "Name of the detector in tables and figures. Default: the folder's."
    monitor = "val/map"
    hyper_parameter_types: ClassVar[Mapping[str, Any]] = {
        "model": Mapping,
        "classes": list,
        "input_size": int,
    }
    other_weights = "the checkpoint is of another architecture, grid or set of classes"

    def check_changes(self, trained: Mapping[str, Any], changes: Mapping[str, Any], checkpoint: Path) -> None:
        """Accept every change, as a shuffle has no weights; ask for consent to run a backbone's code."""
        backbone = trained.get("backbone")
        if is_own_code(backbone) and changes.get("backbone") != backbone:
            expected = f"--backbone {backbone}, if you trust it: its code is run"
            raise InputError(checkpoint, f"a backbone made by {backbone!r}", expected)

    def default_name(self, options: Options) -> str:
        """A folder name that differs between runs.

        Examples
        --------
        >>> DETECTION.default_name(Options())
        'voc-resnet50-plain-448-seed0'
        """
        model, data = options.model, options.data
        shuffled = "plain" if model.shuffle == "none" else f"{model.shuffle_method}-{model.shuffle}"
        network = (model.backbone or model.arch).replace(":", "-").replace("/", "-")
        return f"{data.data}-{network}-{shuffled}-{data.input_size}-seed{options.optimization.seed}"

    def check_data_exists(self, options: Options) -> None:
        """Folders and files that the lists name; their content is checked when they are read."""
        data = options.data
        lists = [*data.train_lists, *data.test_lists, *data.validation_lists]
        for name in lists:
            if data.is_own:
                find_ground_truth(name)
            elif data.data == "voc":
                voc_folder(_data_root(data), name)

    def read(self, options: Options) -> RunImages:
        """Lists, annotations and the names of the image files."""
        from data.augment import Augmentation, eval_transform, train_transform
        from data.detection import DetectionDataset, cached_images, check_images

        seed, size = options.optimization.seed, options.data.input_size
        data, plain = read_run_ground_truth(options.data, seed), eval_transform(size)
        strength = Augmentation(min_visibility=options.data.min_visible).scaled(options.data.augment_strength)
        fast = options.data.input == "fast"
        augment = train_transform(size, strength, seed, fast=fast) if options.data.augment else plain
        cache = (
            cached_images(data.train, round(CACHE_MARGIN * size), Path(options.data.cache)) if fast else None
        )
        images = RunImages(
            DetectionDataset(data.train, augment, cache),
            None if data.validation is None else DetectionDataset(data.validation, plain),
            None if data.test is None else DetectionDataset(data.test, plain),
            data.similar,
        )
        for truth in (data.test, data.validation):
            if truth is not None:  # a training image at fault is found in the first epoch
                check_images(truth)
        return images

    def verify(self, options: Options) -> None:
        """Decode all images; print all that is wrong or odd, and raise InputError for the first error."""
        from data.detection import verify_images

        errors: list[InputError] = []
        known: dict[str, GroundTruth] = {}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", InputWarning)
            try:
                data = read_run_ground_truth(options.data, options.optimization.seed, errors)
                known = {name: truth for name, truth in _parts(data).items() if truth is not None}
            except InputError as error:  # of the lists, not of an annotation
                errors.append(error)
        of_images, odd = verify_images(known)
        errors += of_images
        remarks = [*dict.fromkeys(str(one.message) for one in said), *odd]
        if "test" in known:
            try:
                check_text_names(known["test"])
            except InputError as error:
                remarks.append(f"no VOC text of detections in the test images will be written: {error}")
        for line in [*(f"error: {error}" for error in errors[1:]), *remarks]:
            print(line)
        counts = ", ".join(counted(len(truth.images), f"{name} image") for name, truth in known.items())
        checked = f"{counts or 'no images'}, {counted(sum(map(len, known.values())), 'box', 'boxes')}"
        print(f"{checked}: {counted(len(errors), 'error')}, {counted(len(remarks), 'remark')}", flush=True)
        if errors:
            raise errors[0]

    def describe(self, options: Options, data: RunImages) -> dict[str, Any]:
        """Classes and input size."""
        return {"classes": list(data.train.truth.classes), "input_size": options.data.input_size}

    def checksums(self, data: RunImages) -> dict[str, str]:
        """Checksums of classes, names of images and annotations."""
        found = {"classes": checksum(data.train.truth.classes)}
        for name, images in _parts(data).items():
            truth = images.truth if images else None
            found[f"{name} images"] = checksum(truth.images if truth else ())
            columns = (truth.image_index, truth.labels, truth.boxes, truth.difficult) if truth else ()
            found[f"objects in {name} images"] = checksum(*columns)
            found[f"crowds in {name} images"] = checksum(truth.crowd if truth else ())
        return found

    def expected_hyper_parameters(self, options: Options) -> dict[str, Any]:
        """Classes and input size; the layers do not depend on the number of classes."""
        return {"classes": range(20), "input_size": options.data.input_size}

    def build(self, options: ModelOptions, hyper_parameters: Mapping[str, Any]) -> YOLO:
        """The detector, with its shuffle."""
        from detector import WeightsError
        from detector.foreign_backbones import BackboneError
        from detector.networks import LoadedWeights, load_weights
        from detector.trained import build_detector
        from training.checkpoint import backbone_error, weights_error

        weights: str | Path = options.weights
        if Path(weights).is_dir():
            weights = RunFolder(Path(weights)).best_or_last
        try:
            state = load_weights(weights) if Path(weights).suffix == ".ckpt" else None
            start = weights if state is None else LoadedWeights(state, str(weights))
            classes, size = len(hyper_parameters["classes"]), hyper_parameters["input_size"]
            detector = build_detector(vars(options), classes, size, weights=start)
        except WeightsError as error:
            raise weights_error(error, options.backbone or options.arch) from error
        except BackboneError as error:
            raise backbone_error("--backbone", error) from error
        except ValueError as error:
            expected = f"a layer of {options.backbone or options.arch}: {error}"
            raise InputError("--shuffle", options.shuffle, expected) from error
        if state is not None:
            _load_head(detector.head, state, Path(weights))
        return detector

    def make_module(
        self, network: Any, options: Options, data: Any, hyper_parameters: Mapping[str, Any]
    ) -> Any:
        """The detector with its loss, optimizer and validation."""
        import torch

        from training.tasks.detection_module import DetectorModule

        validation = data.validation.truth if data.validation else None
        if options.optimization.class_weights == "balanced":
            truth = data.train.truth
            labels = truth.labels[_trained_on(truth)]
            count = np.bincount(labels, minlength=len(truth.classes))
            share = len(labels) / (np.count_nonzero(count) * np.maximum(count, 1))
            network.class_weights = torch.from_numpy(share.astype(np.float32))
        return DetectorModule(
            network,
            options,
            hyper_parameters,
            train_names=data.train.truth.images,
            validation=validation,
            similar=data.similar,
        )

    def make_loader(
        self, images: Any, options: Any, batch_size: int, *, train: bool, device: torch.device, **ranks: int
    ) -> EpochLoader[Batch]:
        """Batches of images and boxes."""
        from data.detection import detection_loader

        seed, workers, pin = options.optimization.seed, options.machine.workers, device.type == "cuda"
        return detection_loader(
            images, batch_size, seed=seed, train=train, workers=workers, pin_memory=pin, **ranks
        )

    def image_counts(self, data: RunImages) -> dict[str, int]:
        """Images to train on, to validate and to test."""
        return {name: len(images or ()) for name, images in zip(data._fields, data[:3], strict=False)}

    def summary_line(self, network: nn.Module, options: Options, data: RunImages) -> str:
        """Numbers of images and of objects that are trained on."""
        counts = self.image_counts(data)
        objects = int(np.count_nonzero(_trained_on(data.train.truth)))
        score = "; val/map is AP (area) at IoU 0.5, from 0 to 1" if data.validation else ""
        return (
            f"{counted(counts['train'], 'image')} with {counted(objects, 'object')} to train on, "
            f"{counts['validation']:,} to validate, {counts['test']:,} to test{score}"
        )

    def read_test(
        self, options: Options, hyper_parameters: Mapping[str, Any], source: Path, data: RunImages | None
    ) -> ScoredImages:
        """The test images; InputError for another input size or other classes than the detector has."""
        from data.augment import eval_transform
        from data.detection import DetectionDataset

        if data is not None:
            assert data.test is not None  # else nothing is scored
            return ScoredImages(data.test, data.similar)
        classes, size = tuple(hyper_parameters["classes"]), hyper_parameters["input_size"]
        if size != options.data.input_size:
            expected = f"{size}, as {source} was trained"
            raise InputError("--input-size", str(options.data.input_size), expected)
        truth, similar = read_test_data(options.data, classes)
        if truth.classes != classes:
            raise _other_classes(source, classes, truth.classes, "the test")
        return ScoredImages(DetectionDataset(truth, eval_transform(size)), similar)

    def test_facts(self, options: Options, test: ScoredImages) -> dict[str, Any]:
        """Number and lists of the test images."""
        return {"images": {"test": len(test.images)}, "test": options.data.test_lists}

    def score(
        self, trained: Trained, options: Options, test: ScoredImages, report: Report, device: torch.device
    ) -> Diagnosis:
        """Detections, scores and diagnosis."""
        from diagnosis import sentences, table
        from training.callbacks import with_progress
        from training.tasks.detection_module import detect, write_diagnosis

        images = test.images
        loader = self.make_loader(
            images, options, options.optimization.batch_size, train=False, device=device
        )
        found = detect(
            trained.network,
            with_progress(loader, len(images)),
            images.truth,
            options.evaluation,
            device=device,
            precision=options.machine.precision,
            channels_last=options.machine.channels_last,
        )
        sheet = options.evaluation.sheet
        diagnosis = write_diagnosis(found, images.truth, test.similar, report, sheet=sheet)
        print("\n".join(["", table([diagnosis]), "", *sentences([diagnosis]), ""]))
        files = {"scores": "scores.json", "detections": "detections", "diagnosis": "diagnosis"}
        files["page"] = "diagnosis/report.html"
        print("\n".join(f"{what}: {report.out / file}" for what, file in files.items()), flush=True)
        return diagnosis


DETECTION = DetectionTask()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``train_detect.py``; returns the exit code."""
    return run_command(DETECTION, arguments)
