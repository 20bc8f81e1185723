"""A trained detector from the folder of its run: photographs in, boxes in their own pixels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from detector.foreign_backbones import make_backbone
from detector.intervene import seek_shuffles, shuffle_layers
from detector.networks import BACKBONES, LoadedWeights, WeightsError, check_architecture, read_weights_file
from detector.registry import cells_and_stride, is_own_code
from detector.yolo import YOLO

__all__ = ["Found", "Photograph", "TrainedDetector", "build_detector", "load", "read_photograph", "resize"]

Photograph: TypeAlias = "str | Path | Image.Image | NDArray[np.uint8] | Tensor"
"""A file; a Pillow image; ``(H, W, 3)`` or ``(H, W)`` uint8 RGB or grey; a ``(3, H, W)`` uint8 tensor."""

COMMAND = "train_detect.py"
EIGHT_BIT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


class Found(TypedDict):
    """What was found in one photograph, best first."""

    boxes: Tensor
    """(n, 4) float64, xyxy, pixels of the photograph."""
    scores: Tensor
    """(n,) float64."""
    labels: Tensor
    """(n,) int64, into the classes."""
    names: list[str]
    """The n names of those classes."""
    size: tuple[int, int]
    """Width and height of the photograph as it was read, in pixels."""


# ---------------------------------------------------------------- photographs


def read_photograph(image: Photograph, *, exif: bool = True) -> NDArray[np.uint8]:
    """The pixels of a photograph, ``(H, W, 3)`` uint8 RGB.

    Grey, palette, transparent and CMYK images become RGB. A file or Pillow image is turned as its EXIF
    orientation says, which is how it is shown, unless `exif` is False.

    Raises
    ------
    ValueError
        Names the file that is absent, damaged, or of more than 8 bits a channel; or says what an array lacks.
    """
    if isinstance(image, str | Path):
        try:
            with Image.open(image) as opened:
                return read_photograph(opened, exif=exif)
        except FileNotFoundError:
            raise ValueError(f"{image}: found no such file; expected a photograph") from None
        except IsADirectoryError:
            expected = "photographs, such as sorted(Path(folder).glob('*.jpg'))"
            raise ValueError(f"{image}: found a folder; expected {expected}") from None
        except Image.DecompressionBombError as error:
            found = f"found more pixels than Pillow opens ({error})"
            raise ValueError(
                f"{image}: {found}; expected fewer, or PIL.Image.MAX_IMAGE_PIXELS larger"
            ) from None
        except Exception as error:  # broken content: SyntaxError, ValueError, struct.error and more
            text = " ".join(str(error).split()) or type(error).__name__
            if not text.startswith("found "):
                text = f"found an image that cannot be decoded ({text}); expected a whole one: fetch it again"
            raise ValueError(f"{image}: {text}") from None
    if isinstance(image, Image.Image):
        if image.mode not in EIGHT_BIT_MODES:
            found = f"found pixels of mode {image.mode!r}"
            raise ValueError(f"{found}; expected 8 bits a channel: convert the image")
        return np.array((ImageOps.exif_transpose(image) if exif else image).convert("RGB"))
    array = image.detach().cpu().movedim(0, -1).numpy() if isinstance(image, Tensor) else np.asarray(image)
    shape = tuple(getattr(image, "shape", array.shape))
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        kind = "a tensor (3, H, W)" if isinstance(image, Tensor) else "an array (H, W, 3)"
        raise ValueError(f"found {array.dtype} of shape {shape}; expected {kind} of uint8, RGB from 0 to 255")
    if not array.size:
        raise ValueError(f"found an image of shape {shape}; expected one with pixels")
    return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)


def resize(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Pixels ``(H, W, 3)`` resized to ``(size, size, 3)``, bit for bit as training and scoring do it."""
    import cv2  # imported late, as tensors of the right size need no cv2

    shrinks = min(pixels.shape[:2]) >= size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=how))


# ---------------------------------------------------------------- the detector


@dataclass(frozen=True, eq=False)
class TrainedDetector:
    """A detector with what it was trained for.

    Examples
    --------
    >>> network = build_detector({"arch": "resnet18", "width": 0.125}, classes=2, input_size=64).eval()
    >>> trained = TrainedDetector(network, ("cat", "dog"), 64, {}, Path("best.ckpt"), 3)
    >>> found = trained.predict(np.zeros((50, 80, 3), np.uint8), score_threshold=0.5)[0]
    >>> found["boxes"].shape, found["size"]
    (torch.Size([0, 4]), (80, 50))
    """

    network: YOLO
    """In evaluation mode, with the shuffles that it was trained with."""
    classes: tuple[str, ...]
    """Names, in the order of the labels."""
    input_size: int
    """Side of the square that photographs are resized to, in pixels."""
    model: Mapping[str, Any]
    """The options that the network was made of, such as ``arch`` and ``shuffle``."""
    source: Path
    """The checkpoint."""
    epoch: int | None
    """How many epochs it was trained for, where the checkpoint says it."""

    def to(self, device: str | torch.device) -> TrainedDetector:
        """Move the network to a device; returns this detector."""
        self.network.to(device)
        return self

    def export(self, path: str | Path, **options: Any) -> Path:
        """Write the detector as ONNX or a program of torch.export; see :func:`detector.export.export`."""
        from detector.export import export

        return export(self, path, **options)

    def predict(
        self,
        images: Photograph | Sequence[Photograph],
        score_threshold: float = 0.01,
        iou_threshold: float = 0.5,
        max_detections: int = 100,
        *,
        batch_size: int = 16,
        seed: int = -1,
        exif: bool = True,
    ) -> list[Found]:
        """Detections in photographs of any size.

        Parameters
        ----------
        images
            One photograph or several. Files are turned as their EXIF orientation says (`exif`), so that boxes
            are on the photograph as it is shown.
        score_threshold, iou_threshold, max_detections
            As of :meth:`detector.YOLO.predict`.
        batch_size
            Photographs that are computed at once.
        seed
            Of the draws of a shuffled detector, the same for every batch: what is found in a photograph does
            not depend on the others. −1 and 0 are the draws of the first batch in the first pass of a
            scoring.
        exif
            False: photographs as stored, whatever their EXIF orientation.

        Returns
        -------
        list of Found
            One for each photograph.

        Raises
        ------
        ValueError
            A photograph that cannot be read; its name is in the message. A number that cannot be meant.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, found {batch_size}")
        one = isinstance(images, str | Path | Image.Image | np.ndarray) or (
            isinstance(images, Tensor) and images.dim() == 3
        )
        several: list[Any] = [images] if one else list(images)  # type: ignore[arg-type]
        found: list[Found] = []
        for start in range(0, len(several), batch_size):
            pixels = [read_photograph(image, exif=exif) for image in several[start : start + batch_size]]
            found += self.predict_pixels(pixels, score_threshold, iou_threshold, max_detections, seed=seed)
        return found

    def predict_pixels(
        self,
        pixels: Sequence[NDArray[np.uint8]],
        score_threshold: float,
        iou_threshold: float,
        max_detections: int,
        *,
        seed: int = -1,
    ) -> list[Found]:
        """Detections in one batch of photographs ``(H, W, 3)`` uint8 RGB; see :meth:`predict`."""
        if not pixels:
            return []
        device = self.network.head.output.weight.device
        images = torch.stack([torch.from_numpy(resize(one, self.input_size)) for one in pixels])
        seek_shuffles(self.network, seed, 0)
        batch = images.to(device).movedim(-1, 1).contiguous()
        found = self.network.predict(batch, score_threshold, iou_threshold, max_detections)
        return [self._named(*pair) for pair in zip(found, pixels, strict=True)]

    def _named(self, found: dict[str, Tensor], pixels: NDArray[np.uint8]) -> Found:
        height, width = pixels.shape[:2]
        scale = torch.tensor([width, height] * 2, dtype=torch.float64) / self.input_size
        labels = found["labels"].cpu()
        return {
            "boxes": found["boxes"].cpu().double() * scale,
            "scores": found["scores"].cpu().double(),
            "labels": labels,
            "names": [self.classes[label] for label in labels.tolist()],
            "size": (width, height),
        }


def build_detector(model: Mapping[str, Any], classes: int, input_size: int, *, weights: Any = None) -> YOLO:
    """The detector of a run's model options, with its shuffle.

    Parameters
    ----------
    model
        Options of ``train_detect.py`` by name, ``arch`` to ``shuffle_shortcut``; those that are absent have
        their defaults, others are ignored.
    classes
        How many.
    input_size
        Side of the images, in pixels.
    weights
        Of the backbone, as of :func:`detector.networks.resnet`; ``model["weights"]`` is ignored.

    Raises
    ------
    WeightsError
        Weights that cannot be read or do not fit.
    BackboneError
        ``model["backbone"]``, as of :func:`detector.foreign_backbones.make_backbone`, that cannot be.
    ValueError
        A grid, a width or a layer to shuffle that the network cannot have.
    """
    backbone: Any
    if name := model.get("backbone"):
        named = None if isinstance(weights, LoadedWeights) else weights
        backbone, cells = make_backbone(name, input_size, weights=named, cells=model.get("grid"))
        if isinstance(weights, LoadedWeights):
            prefix = "model.backbone."
            names = [name for name in weights.state if name.startswith(prefix)]
            try:
                backbone.load_state_dict({name.removeprefix(prefix): weights.state[name] for name in names})
            except RuntimeError as error:
                found = f"found other weights ({' '.join(str(error).split())[:200]})"
                expected = "a checkpoint of a detector with this backbone"
                raise WeightsError(f"{weights.source}: {found}; expected {expected}") from None
    else:
        cells, stride = cells_and_stride(input_size, model.get("grid"))
        width, arch = model.get("width", 1.0), model.get("arch", "resnet50")
        check_architecture(arch, BACKBONES)
        backbone = BACKBONES[arch](output_stride=stride, weights=weights, width=width)
    layer = model.get("shuffle", "none")
    if layer != "none":
        shuffle_layers(
            backbone,
            layer if layer == "last" else int(layer),
            model.get("shuffle_method", "spatial"),
            patch=model.get("patch"),
            shortcut=model.get("shuffle_shortcut", True),
            example=input_size,
        )
    sizes = (classes, cells, model.get("boxes_per_cell", 2))
    return YOLO(backbone, *sizes, head_channels=model.get("head_channels", 256))


def load(
    path: str | Path, device: str | torch.device = "cpu", *, backbone: str | None = None
) -> TrainedDetector:
    """The trained detector of a run of ``train_detect.py``. Nothing in the file is executed.

    Parameters
    ----------
    path
        The folder of a run, of which the best checkpoint is taken, else the last; or a checkpoint.
    device
        Where it computes, such as ``"cuda"``.
    backbone
        Of a detector that was trained with ``--backbone module:function`` the same words: your consent to
        import that module, which runs its code.

    Raises
    ------
    WeightsError
        Says what the path is instead: absent, no run, a run without a checkpoint, a classifier's, damaged.

    Examples
    --------
    >>> import detector
    >>> detector.load("runs/none")
    Traceback (most recent call last):
    ...
    detector.networks.WeightsError: runs/none: found no such file or folder; expected the folder of a run ...
    """
    file = _checkpoint(Path(path))
    content = read_weights_file(file)
    hyper_parameters = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    wanted = f"a checkpoint that {COMMAND} wrote"
    if not isinstance(hyper_parameters, Mapping) or not isinstance(state, Mapping):
        raise WeightsError(f"{file}: found a file without state_dict and hyper_parameters; expected {wanted}")
    if "image_size" in hyper_parameters and "input_size" not in hyper_parameters:
        raise WeightsError(f"{file}: found a classifier of train_classify.py; expected {wanted}")
    kinds = {"model": Mapping, "classes": list, "input_size": int}
    for name, kind in kinds.items():
        if not isinstance(hyper_parameters.get(name), kind):
            raise WeightsError(f"{file}: found no {name} in its hyper_parameters; expected {wanted}")
    model, names, input_size = (hyper_parameters[name] for name in kinds)
    if is_own_code(made_by := model.get("backbone")) and backbone != made_by:
        expected = "the same as backbone= (in commands --backbone), if you trust it: its code is run"
        raise WeightsError(f"{file}: found a backbone made by {made_by!r}; expected {expected}")
    try:
        network = build_detector(model, len(names), input_size)
        network.load_state_dict({name.removeprefix("model."): value for name, value in state.items()})
    except (ValueError, TypeError, RuntimeError) as error:
        text = " ".join(str(error).split())[:300]
        raise WeightsError(f"{file}: found what makes no detector ({text}); expected {wanted}") from None
    epoch = int(content["epoch"]) + 1 if "epoch" in content else None  # a checkpoint counts from 0
    classes = tuple(map(str, names))
    return TrainedDetector(network.eval().to(device), classes, input_size, model, file, epoch)


def _checkpoint(path: Path) -> Path:
    """The checkpoint that a path means."""
    expected = f"the folder of a run of {COMMAND}, such as runs/NAME, or a checkpoint"
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(f"{path}: found no such file or folder; expected {expected}")
    for place in (path / "checkpoints", path):
        for name in ("best.ckpt", "last.ckpt"):
            if (place / name).is_file():
                return place / name
    if (path / "config.yaml").is_file():
        what = "a run without a checkpoint"
        expected = f"one that has been trained for an epoch: --resume {path}, or begin it anew"
        raise WeightsError(f"{path}: found {what}; expected {expected}")
    raise WeightsError(
        f"{path}: found a folder without checkpoints/best.ckpt or last.ckpt; expected {expected}"
    )
