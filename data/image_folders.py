"""ImageNet, or any data set, as folders: ``train/CLASS/…`` and ``val/CLASS/…``. Lists files, decodes none."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from data.image_set import ImageFiles, Split
from data.records import InputError

__all__ = ["find_class_folders", "read_class_folders", "read_image_folders"]

FOLDERS: dict[Split, str] = {"train": "train", "test": "val"}
ENDINGS = (".jpeg", ".jpg", ".png", ".webp", ".bmp", ".ppm")


def read_image_folders(root: Path | str, split: Split) -> ImageFiles:
    """The images of a split, class by class, each class in the order of the file names.

    Parameters
    ----------
    root
        The folder with ``train`` and ``val``.
    split
        ``test`` is ``val``: the labels of ImageNet's own test set are secret.

    Returns
    -------
    ImageFiles
        The classes are the sorted names of the folders, as in torchvision.

    Raises
    ------
    InputError
        No such folder, no class folders in it, a class without an image, other classes in ``val`` than in
        ``train``.
    """
    return _read(Path(root) / FOLDERS[split], find_class_folders(root, split))


def read_class_folders(folder: Path | str) -> ImageFiles:
    """The images of a folder ``CLASS/…``, as :func:`read_image_folders` has those of a split.

    Raises
    ------
    InputError
        No such folder, no class folders in it, a class without an image.
    """
    return _read(Path(folder), _class_names(Path(folder)))


def _read(folder: Path, classes: tuple[str, ...]) -> ImageFiles:
    names: list[bytes] = []
    counts = []
    for name in classes:
        with os.scandir(folder / name) as entries:
            files = sorted(entry.name for entry in entries if _is_image(entry.name))
        if not files:
            raise InputError(folder / name, "no image", f"files that end in {', '.join(ENDINGS)}")
        names += [os.fsencode(f"{name}/{file}") for file in files]
        counts.append(len(files))
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    return ImageFiles(folder, np.array(names), labels, classes)


def _is_image(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and not name.startswith(".")  # macOS leaves ._photo.jpg beside it


def find_class_folders(root: Path | str, split: Split) -> tuple[str, ...]:
    """The classes that :func:`read_image_folders` reads; no image is looked for.

    Raises
    ------
    InputError
        No such folder, no class folders in it, other classes in ``val`` than in ``train``.
    """
    root = Path(root)
    folder = root / FOLDERS[split]
    classes = _class_names(folder)
    if split == "test" and (root / FOLDERS["train"]).is_dir():
        trained = _class_names(root / FOLDERS["train"])
        if classes != trained:
            odd = sorted(set(classes) ^ set(trained))[0]
            only = FOLDERS["test"] if odd in classes else FOLDERS["train"]
            expected = "the same class folders in train and val"
            raise InputError(folder, f"a class {odd} in {only} alone", expected)
    return classes


def _class_names(folder: Path) -> tuple[str, ...]:
    expected = "the folder with a folder of images for each class, such as n01440764"
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise InputError(folder, (error.strerror or str(error)).lower(), expected) from None
    if not names:
        raise InputError(folder, "no folder in it", expected)
    return tuple(names)
