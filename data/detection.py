"""Images and their boxes as tensors: a torch Dataset over a ground truth, and its loaders."""

from __future__ import annotations

import fcntl
import hashlib
import json
import operator
import os
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from data.augment import Key, Transform
from data.formats.files import (
    IMAGE_SUFFIXES,
    QUARTER_TURNS,
    exif_orientation,
    image_sizes,
    open_image,
    reason,
)
from data.formats.validation import warn
from data.loader import EpochLoader, EpochSampler, KeyedDataset, epoch_loader
from data.records import GroundTruth, InputError

__all__ = [
    "Batch", "DetectionDataset", "EpochLoader", "EpochSampler", "ImageCache", "Item", "Target",
    "cached_images", "check_images", "collate", "detection_loader", "read_image", "split_validation",
    "verify_images",
]  # fmt: skip

Target: TypeAlias = dict[str, Tensor]
"""What is known of one image with n objects: ``boxes`` (n, 4) float32, xyxy, pixels of the S×S input;
``labels`` (n,) int64; ``difficult`` (n,) bool, VOC's difficult objects and COCO's crowds."""


class Item(TypedDict):
    """One image with its n objects."""

    image: Tensor
    """(3, S, S) uint8, RGB."""
    boxes: Tensor
    """(n, 4) float32, xyxy, pixels of the S×S input."""
    labels: Tensor
    """(n,) int64."""
    difficult: Tensor
    """(n,) bool."""
    index: int
    """Which of ``truth.images`` this is."""


class Batch(TypedDict):
    """N images with their objects."""

    images: Tensor
    """(N, 3, S, S) uint8, RGB."""
    targets: list[Target]
    index: Tensor
    """(N,) int64, into ``truth.images``."""


def read_image(
    file: str | Path,
    size: tuple[int, int] | None = None,
    limit: int | None = None,
    as_shown: bool = False,
) -> NDArray[np.uint8]:
    """The pixels of an image file, ``(H, W, 3)`` uint8 RGB, decoded completely.

    Grey, palette, transparent and CMYK images become RGB. An image that its EXIF orientation turns is taken
    as `size`, (width, height) of the annotation, says: as stored, which VOC and COCO annotate, or as shown,
    which most tools annotate today. Where both are of that size (a square image, or one turned by 180°), it
    is taken as stored, with a warning; as shown with `as_shown`. A TIFF is taken as shown.

    A side longer than `limit` is resized to it. A JPEG is then decoded at a half, a quarter or an eighth of
    its size where that leaves enough pixels (libjpeg leaves the finest frequencies out); the result covers
    exactly the whole image.

    Raises
    ------
    InputError
        A missing, truncated or otherwise unreadable file, or one of another size than `size`.
    """
    with open_image(Path(file), "the image that the annotation names") as image:
        orientation = exif_orientation(image)
        shown = image.size[::-1] if orientation in QUARTER_TURNS else image.size
        if size is not None and size not in (image.size, shown):
            found = f"an image of {image.width}x{image.height} pixels"
            if shown != image.size:
                found += f", turned by its EXIF orientation {orientation}"
            annotated = f"{size[0]}x{size[1]} as annotated"
            raise InputError(file, found, f"{annotated}: mend the annotation, or restore the image it is of")
        turned = False
        if size is not None and orientation in range(2, 9):
            ambiguous = shown == image.size
            turned = as_shown if ambiguous else size == shown
            if ambiguous and not turned:
                _warn_of_orientation(file)
        pixels = _limited(image, limit)
        return np.asarray((ImageOps.exif_transpose(pixels) if turned else pixels).convert("RGB"))


WARNED: list[str | Path] = []
"""Images whose orientation was warned of; one warning a process is enough."""


def _warn_of_orientation(file: str | Path) -> None:
    if not WARNED:
        WARNED.append(file)
        warn(
            f"{file} and others like it: turned by the EXIF orientation, but the annotated size does not say "
            "whether the boxes are on the image as stored or as shown; it is taken as stored: store such "
            "images as shown"
        )


def _limited(image: Image.Image, limit: int | None) -> Image.Image:
    width, height = image.size
    if limit is None or max(width, height) <= limit:
        return image
    target = (min(width, limit), min(height, limit))
    _, box = image.draft(None, target) or (None, (0, 0, width, height))
    whole = image if image.mode == "RGB" else image.convert("RGB")
    return whole.resize(target, Image.Resampling.BILINEAR, box=box)


def check_images(truth: GroundTruth) -> None:
    """Raise InputError for an image file that is no image, or of another size than annotated.

    Headers alone are read, which takes about 0.1 ms an image.
    """
    for file, size in zip(truth.files, truth.sizes.tolist(), strict=True):
        stored, shown = image_sizes(Path(file))
        if tuple(size) not in (stored, shown):
            found = f"an image of {shown[0]}x{shown[1]} pixels"
            raise InputError(file, found, f"{size[0]}x{size[1]} as annotated")


def verify_images(parts: Mapping[str, GroundTruth]) -> tuple[list[InputError], list[str]]:
    """Decode all images of the parts of a data set, and check their sizes, EXIF, copies and boxes.

    Parameters
    ----------
    parts
        Ground truth with image files, by name, such as ``training``; each image is decoded once.

    Returns
    -------
    errors, remarks
        Errors, with which training would end: what :func:`read_image` refuses. Remarks, a line each, on what
        is perhaps not meant: the same file twice, above all in two parts; images that EXIF turns; boxes of
        less than a pixel; images without objects; photographs beside them that are left out. (Equal boxes are
        a warning of the readers.)
    """
    errors, remarks, seen = list[InputError](), list[str](), dict[str, str]()
    for name, truth in parts.items():
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without the interpreter's lock
            sizes = map(tuple, truth.sizes.tolist())
            checked = list(pool.map(_verify, truth.files, sizes, truth.as_shown.tolist()))
        turned = []
        for file, (digest, orientation, error) in zip(truth.files, checked, strict=True):
            here = f"{file} ({name})"
            errors += [error] if error else []
            turned += [file] if orientation in range(2, 9) else []
            if (
                digest and seen.setdefault(digest, here) != here
            ):  # of two annotations of one file the reader warns
                remarks.append(f"{here}: the same file as {seen[digest]}")
        if turned:
            first = f"{turned[0]} ({name}): turned by EXIF{_like(turned)}"
            remarks.append(f"{first}; boxes are on the picture that has the annotated size")
        small = np.flatnonzero((truth.boxes[:, 2:] - truth.boxes[:, :2] < 1).any(axis=1))
        if len(small):
            file = truth.files[truth.image_index[small[0]]]
            remarks.append(f"{file} ({name}): a box of less than a pixel{_like(small)}")
        empty = np.setdiff1d(np.arange(len(truth.files)), truth.image_index)
        if len(empty):
            remarks.append(f"{truth.files[empty[0]]} ({name}): without an object{_like(empty)}")
    return errors, remarks + _left_out({Path(file) for truth in parts.values() for file in truth.files})


def _verify(file: str | Path, size: tuple[int, int], as_shown: bool) -> tuple[str, int, InputError | None]:
    """The checksum of an image file, its EXIF orientation, and what is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_image(file, size, as_shown=as_shown)
        with open_image(Path(file), "an image") as image:
            orientation = exif_orientation(image)
        return hashlib.sha256(Path(file).read_bytes()).hexdigest(), orientation, None
    except InputError as error:
        return "", 1, error


def _left_out(used: set[Path]) -> list[str]:
    """Remarks on photographs beside those used, but for trees whose lists say which these are."""
    folders = {file.parent for file in used if not (file.parent.parent / "ImageSets").is_dir()}
    names = {file.with_suffix(""): file.name for file in used}
    alone, again = list[Path](), list[Path]()
    for file in (file for folder in sorted(folders) if folder.is_dir() for file in sorted(folder.iterdir())):
        if file.suffix.lower() in IMAGE_SUFFIXES and file not in used:
            (again if file.with_suffix("") in names else alone).append(file)
    remarks = [f"{alone[0]}: left out, as no sound annotation is of it{_like(alone)}"] if alone else []
    if again:
        name = names[again[0].with_suffix("")]
        remarks.append(f"{again[0]}: left out, as {name} has its name{_like(again)}")
    return remarks


def _like(alike: Sized) -> str:
    """How many are like the first one."""
    return f", like {len(alike)} in all" if len(alike) > 1 else ""


CACHE_VERSION = 1
"""Part of a cache's name: another one where the same options give other pixels."""


class ImageCache:
    """Images decoded once, in one file that is mapped into memory; its pages are shared by all processes.

    The folder's name is a hash of what the pixels depend on: names of the files, limit, version. The index
    has size and time of change of each file, the annotated size, which decides whether EXIF turns it, and the
    checksum of each image, which is checked when a process reads it first.

    Parameters
    ----------
    truth
        The images.
    limit
        Longest side, in pixels: a longer one is resized to it.
    folder
        Of all caches.

    Raises
    ------
    InputError
        There is no such cache, it is damaged, or a file or its annotated size has changed since.
    """

    def __init__(self, truth: GroundTruth, limit: int, folder: Path) -> None:
        files = [str(Path(file).absolute()) for file in truth.files]
        name = hashlib.sha256(json.dumps([CACHE_VERSION, limit, files]).encode()).hexdigest()[:16]
        self.folder = folder / name
        self.stats = _states(truth)
        if not (self.folder / "index.npz").is_file():
            raise InputError(self.folder, "no cache of decoded images", "one that was made before")
        try:
            with np.load(self.folder / "index.npz", allow_pickle=False) as index:
                stats, self.sizes, self.checksums = (index[key] for key in ("stats", "sizes", "checksums"))
            self.ends = np.cumsum(3 * self.sizes.prod(1))
            self.pixels = np.memmap(self.folder / "pixels", np.uint8, "r", shape=(int(self.ends[-1]),))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(self.folder, f"a damaged cache ({reason(error)})", DAMAGED) from None
        if stats.shape != self.stats.shape:
            raise InputError(self.folder, "a cache of another form", DAMAGED)
        if (changed := np.argwhere(stats != self.stats)).size:
            row, column = changed[0].tolist()
            what = files[row] if column < FILE_COLUMNS else f"the annotated size of {files[row]}"
            raise InputError(self.folder, f"a cache from before {what} changed", DAMAGED)
        self.checked = np.zeros(len(files), dtype=bool)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """The pixels (H, W, 3) RGB of an image; not to be written to."""
        height, width = self.sizes[index].tolist()
        end = int(self.ends[index])
        flat = self.pixels[end - 3 * height * width : end]
        if not self.checked[index]:
            if zlib.crc32(flat.data) != self.checksums[index]:
                raise InputError(self.folder, f"a damaged cache (image {index})", DAMAGED)
            self.checked[index] = True
        return np.asarray(flat).reshape(height, width, 3)


FILE_COLUMNS = 2
"""Of a cache's index, what is of the image file and not of its annotation."""


def _states(truth: GroundTruth) -> NDArray[np.int64]:
    """Size and time of change of each file; annotated width, height, whether as shown: ``(N, 5)``."""
    states = []
    for file in truth.files:
        try:
            found = Path(file).stat()
        except OSError as error:
            expected = "the image that the annotation names"
            raise InputError(file, str(error.strerror).lower(), expected) from None
        states.append([found.st_size, found.st_mtime_ns])
    return np.column_stack([np.array(states), truth.sizes, truth.as_shown])


DAMAGED = "delete this folder, and the next run makes it anew"


def cached_images(truth: GroundTruth, limit: int, folder: Path) -> ImageCache:
    """The cache of some images, made on all cores where there is none, or one that cannot be used.

    InputError where an image cannot be read, or the disk has too little room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes the first makes it
        try:
            return ImageCache(truth, limit, folder)
        except InputError as error:
            if (target := Path(error.where)).is_dir():
                print(f"{error.where}: {error.found}; made anew", flush=True)
        _decode_all(truth, limit, target)
        return ImageCache(truth, limit, folder)


def _decode_all(truth: GroundTruth, limit: int, target: Path) -> None:
    """Write a cache beside its place, then move it there."""
    part = target.with_suffix(".part")
    for folder in (target, part):
        shutil.rmtree(folder, ignore_errors=True)
    part.mkdir()
    sizes = np.minimum(truth.sizes[:, ::-1], limit)  # height, width
    ends = np.cumsum(3 * sizes.prod(1))
    stats = _states(truth)
    free = shutil.disk_usage(part).free
    if free < ends[-1]:
        found = f"{free / 2**20:,.1f} MiB free in {target.parent}"
        expected = f"{ends[-1] / 2**20:,.1f} MiB for the decoded images; or --input standard"
        raise InputError("--cache", found, expected)
    with (part / "pixels").open("wb") as file:

        def decode(index: int) -> int:
            width, height = truth.sizes[index].tolist()
            pixels = np.ascontiguousarray(
                read_image(truth.files[index], (width, height), limit, bool(truth.as_shown[index]))
            )
            os.pwrite(file.fileno(), pixels.data, int(ends[index]) - pixels.nbytes)
            return zlib.crc32(pixels.data)

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding releases the GIL
            checksums = np.array(list(pool.map(decode, range(len(truth.files)))), dtype=np.int64)
    np.savez(part / "index.npz", stats=stats, sizes=sizes, checksums=checksums)
    part.rename(target)


class DetectionDataset(KeyedDataset[Item]):
    """The images of a ground truth, decoded and transformed, with their objects.

    Parameters
    ----------
    truth
        With the image files in ``truth.files``.
    transform
        :func:`data.augment.train_transform` or :func:`data.augment.eval_transform`.
    cache
        Decoded images that are read instead of the files.

    Raises
    ------
    InputError
        No images, no files named, or a file that does not exist. When an item is read: an image that cannot
        be decoded, or is of another size than annotated.
    """

    def __init__(self, truth: GroundTruth, transform: Transform, cache: ImageCache | None = None) -> None:
        if not truth.images:
            raise InputError("images", "an empty list", "at least one image")
        if not truth.files:
            raise InputError("files", "none", "the image file of each image: boxes alone do not do here")
        for file in truth.files:  # now, not hours into the training
            if not Path(file).is_file():
                raise InputError(file, "no such file", "the image that the annotation names")
        self.truth, self.transform, self.cache = truth, transform, cache
        self._rows = np.argsort(truth.image_index, kind="stable")  # objects, image by image
        self._starts = np.searchsorted(truth.image_index[self._rows], np.arange(len(truth.images) + 1))

    def __len__(self) -> int:
        return len(self.truth.images)

    def __getitem__(self, key: Key) -> Item:
        """The image of a key (epoch, index); an index alone is one of epoch 0."""
        epoch, index = key if isinstance(key, tuple) else (0, operator.index(key))
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        truth = self.truth
        rows = self._rows[self._starts[index] : self._starts[index + 1]]
        width, height = truth.sizes[index].tolist()
        boxes = truth.boxes[rows]
        if self.cache is None:
            pixels = read_image(truth.files[index], (width, height), None, bool(truth.as_shown[index]))
        else:
            pixels = self.cache[index]
            boxes = boxes * np.tile([pixels.shape[1] / width, pixels.shape[0] / height], 2)
        image, boxes, kept = self.transform(pixels, boxes, (epoch, index))
        rows = rows[kept]
        channels = np.empty((3, *image.shape[:2]), dtype=np.uint8)
        cv2.split(image, list(channels))  # ten times as fast as a transposed copy
        return {
            "image": torch.from_numpy(channels),
            "boxes": torch.from_numpy(boxes.astype(np.float32)),
            "labels": torch.from_numpy(truth.labels[rows]),
            "difficult": torch.from_numpy(truth.difficult[rows] | truth.crowd[rows]),
            "index": index,
        }


def collate(items: Sequence[Item]) -> Batch:
    """Make a batch of items of one size.

    Examples
    --------
    >>> none = torch.zeros(0)
    >>> item = Item(image=torch.zeros(3, 2, 2), boxes=none, labels=none, difficult=none, index=7)
    >>> batch = collate([item, item])
    >>> batch["images"].shape, len(batch["targets"]), batch["index"].tolist()
    (torch.Size([2, 3, 2, 2]), 2, [7, 7])
    """
    return {
        "images": torch.stack([item["image"] for item in items]),
        "targets": [
            {"boxes": item["boxes"], "labels": item["labels"], "difficult": item["difficult"]}
            for item in items
        ],
        "index": torch.tensor([item["index"] for item in items], dtype=torch.int64),
    }


def detection_loader(dataset: DetectionDataset, batch_size: int, **options: Any) -> EpochLoader[Batch]:
    """A loader of :class:`Batch`; options as of :func:`data.loader.epoch_loader`."""
    return epoch_loader(dataset, collate, batch_size, **options)


def split_validation(truth: GroundTruth, share: float, seed: int = 0) -> tuple[GroundTruth, GroundTruth]:
    """Training and validation images: a `share` (0 to 1) of the images is taken out for validation.

    The images are put in the order of a hash of seed and name, and the first go. So the choice does not
    depend on their order in the list, and k images more, or fewer, make no more than k others change sides.
    Each side is in the order of `truth`.

    Raises
    ------
    InputError
        Nothing left on one of the sides.
    """
    count = len(truth.images)
    chosen = round(share * count) if 0 < share < 1 else 0
    if not 0 < chosen < count:
        found = f"{share:g} of {count} images"
        raise InputError("--validation", found, "at least one image on either side; 0: none is held out")
    digests = [hashlib.sha256(f"{seed} {name}".encode()).digest() for name in truth.images]
    order = sorted(range(count), key=digests.__getitem__)
    return truth.select(sorted(order[chosen:])), truth.select(sorted(order[:chosen]))
