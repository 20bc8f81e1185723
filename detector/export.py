"""A trained detector as a file for other programs: ONNX, or a program of torch.export."""

from __future__ import annotations

import copy
import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import nms as plain_nms

from detector.grid import decode, split_outputs
from detector.intervene import fix_draws, shuffles
from detector.networks import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["TOLERANCE", "ExportError", "export"]

OPSET = 23
"""ONNX opset; released in 2025."""
TOLERANCE = 1e-4
"""Largest difference of scores, and of boxes as fractions of the image, between the file and the network."""
LEAST_SHARE = 0.99
"""Least share of detections after non-maximum suppression that agree: rounding can move an overlap past the
threshold."""
RESIZE = (
    "cv2.resize to input_size x input_size, INTER_AREA where neither side grows, else INTER_LINEAR; the "
    "aspect ratio is not kept; first turned as EXIF says"
)


class ExportError(RuntimeError):
    """A detector that cannot be exported here, or a file that computes something else than the network."""


# ---------------------------------------------------------------- what is exported


@torch.library.custom_op("detector::class_wise_nms", mutates_args=())
def class_wise_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float) -> Tensor:
    """ONNX's NonMaxSuppression: (M, 3) image, class and box; of boxes (N, K, 4) and scores (N, C, K)."""
    rows = []
    for image, (image_boxes, image_scores) in enumerate(zip(boxes, scores, strict=True)):
        for label, one in enumerate(image_scores):
            candidates = (one > score_threshold).nonzero()[:, 0]
            box = candidates[plain_nms(image_boxes[candidates], one[candidates], iou_threshold)]
            rows.append(torch.stack([torch.full_like(box, image), torch.full_like(box, label), box], dim=1))
    return torch.cat(rows)


@class_wise_nms.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float) -> Tensor:
    count = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty((count, 3), dtype=torch.int64)


def grouped_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float) -> Tensor:
    """The same by torchvision's operation, so that a program of torch.export needs nothing of this package.

    Boxes of other images and classes are moved apart; in 64 bits, as the places become large.
    """
    image, label, box = (scores > score_threshold).nonzero().unbind(1)
    group, groups = image * scores.shape[1] + label, scores.shape[0] * scores.shape[1]
    # Two more boxes that nothing suppresses: torchvision lets torch.export take it that two remain at least.
    group = torch.cat([group, torch.arange(groups, groups + 2)])
    places = torch.cat([boxes[image, box].double(), torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2).double()])
    places = places + group[:, None] * (2 * boxes.double().abs().max() + 2)
    of_all = torch.cat([scores[image, label, box], torch.zeros(2)]).double()
    kept = plain_nms(places, of_all, iou_threshold)
    return torch.stack([image, label, box], dim=1)[kept[kept < image.shape[0]]]


class Exported(nn.Module):
    """uint8 images to decoded boxes and scores; with `nms` thresholds, to the detections that remain."""

    def __init__(self, network: Any, nms: tuple[float, float, int] | None, onnx: bool) -> None:
        super().__init__()
        self.network, self.nms = network, nms
        self.suppress = torch.ops.detector.class_wise_nms if onnx else grouped_nms

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See :func:`export`."""
        size = (images.shape[2], images.shape[3])
        outputs = self.network(images)
        boxes, scores = decode(split_outputs(outputs, self.network.boxes_per_cell), size)
        if self.nms is None:
            return boxes, scores
        least, overlap, limit = self.nms
        # ONNX leaves out scores equal to the threshold, predict() does not.
        least = float(np.nextafter(np.float32(least), np.float32(-1)))
        rows = self.suppress(boxes, scores.transpose(1, 2), overlap, least)
        image, label, box = rows.unbind(1)
        score = scores[image, box, label]
        order = score.sort(descending=True).indices
        image, row = image[order], torch.arange(images.shape[0])
        before = (image[:, None] == row).cumsum(0)  # (M, N) detections of each image so far
        rank = before.gather(1, image[:, None])[:, 0] - 1
        kept = (rank < limit).nonzero()[:, 0]
        order, image, rank = order[kept], image[kept], rank[kept]
        counts = (image[:, None] == row).sum(0)
        place = (counts.cumsum(0) - counts)[image] + rank  # by image, the best first
        order = torch.zeros_like(order).scatter(0, place, order)
        image = torch.zeros_like(image).scatter(0, place, image)
        return image, boxes[image, box[order]], score[order], label[order]


# ---------------------------------------------------------------- files


def export(
    trained: Any,
    path: str | Path,
    *,
    nms: bool = False,
    score_threshold: float = 0.01,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
    seed: int = -1,
) -> Path:
    """Write a detector as ONNX (``.onnx``) or as a program of torch.export (``.pt2``).

    The input is ``images``, (N, 3, S, S) uint8 RGB, for any N; the mean is subtracted within. Boxes are xyxy,
    in pixels of that square: multiply them by width / S and height / S of the photograph. A shuffled
    detector always makes the one draw of `seed`, as ``TrainedDetector.predict(…, seed=seed)`` does.

    Parameters
    ----------
    trained
        A :class:`~detector.trained.TrainedDetector`, as of :func:`detector.load`.
    path
        Its ending says the format.
    nms
        False: the outputs are ``boxes`` (N, K, 4) and ``scores`` (N, K, C), for K = S·S·B boxes. True:
        detections after non-maximum suppression, image by image, best first: ``image`` (M,), ``boxes``
        (M, 4), ``scores`` (M,), ``labels`` (M,). A ``.pt2`` with it needs ``import torchvision``.
    score_threshold, iou_threshold, max_detections
        As of :meth:`detector.YOLO.predict`, with `nms`.
    seed
        Of the draws of the shuffles.

    Raises
    ------
    ExportError
        Another ending; a package that is missing; no room for the file; outputs that differ from the
        network's by more than `TOLERANCE`. Nothing is written then, and an earlier file stays.
    """
    path = Path(path)
    if path.suffix not in (".onnx", ".pt2"):
        expected = ".onnx, or .pt2 for torch.export"
        raise ExportError(f"{path}: found the ending {path.suffix!r}; expected {expected}")
    if path.suffix == ".onnx":
        try:
            import onnx  # noqa: F401
            import onnxruntime
            import onnxscript  # noqa: F401
        except ImportError as error:
            expected = "the extra 'export': pip install 'spatial-dependency[export]'"
            raise ExportError(f"{path}: found no package {error.name}; expected {expected}") from None
    size = trained.input_size
    network = copy.deepcopy(trained.network).cpu().eval()
    if any(shuffles(network)):
        fix_draws(network, seed, example=torch.zeros(1, 3, size, size, dtype=torch.uint8))
    network = network.float()
    thresholds = (score_threshold, iou_threshold, max_detections) if nms else None
    module = Exported(network, thresholds, path.suffix == ".onnx").eval()
    names = ("image", "boxes", "scores", "labels") if nms else ("boxes", "scores")
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=random)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torchvision's own operation
        program = torch.export.export(
            module, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
        )
    facts = _metadata(trained, seed, thresholds)
    run: Any
    if path.suffix == ".pt2":
        file = io.BytesIO()  # torch aborts the process where a file of its own cannot be written
        torch.export.save(program, file, extra_files={"metadata.json": json.dumps(facts, indent=1)})
        content = file.getvalue()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about buffers that are never written to
            run = torch.export.load(file).module()
    else:
        content = _onnx(program, names, facts)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

        def run(batch: Tensor) -> list[Tensor]:
            return [torch.from_numpy(output) for output in session.run(None, {"images": batch.numpy()})]

    _check(path, module, run, images)
    part = path.with_name(f".{path.name}.part")
    try:  # the file as a whole, or what is there stays
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        expected = f"a place for {len(content) / 1e6:.1f} MB"
        raise ExportError(f"{path}: found {error.strerror}; expected {expected}") from None
    finally:
        part.unlink(missing_ok=True)
    return path


def _metadata(trained: Any, seed: int, nms: tuple[float, float, int] | None) -> dict[str, Any]:
    shuffled = trained.model.get("shuffle", "none") != "none"
    return {
        "classes": list(trained.classes),
        "input_size": trained.input_size,
        "input": "uint8 RGB, (N, 3, input_size, input_size)",
        "resize": RESIZE,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "normalization": "within the network: (image / 255 - mean) / std",
        "boxes": "x1, y1, x2, y2 in pixels of the input",
        "nms": None if nms is None else dict(zip(("score", "iou", "max_detections"), nms, strict=True)),
        "arch": trained.model.get("arch"),
        "shuffle": trained.model.get("shuffle", "none"),
        "draw": f"fixed: seed {seed}, step 0" if shuffled else "none",
        "epoch": trained.epoch,
    }


def _onnx(program: Any, names: tuple[str, ...], facts: dict[str, Any]) -> bytes:
    """The content of an ONNX file."""
    from onnxscript import values

    op: Any = values.Opset("", OPSET)

    def translated(boxes: Any, scores: Any, iou_threshold: float, score_threshold: float) -> Any:
        most = np.iinfo(np.int64).max
        return op.NonMaxSuppression(boxes, scores, most, iou_threshold, score_threshold)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = torch.onnx.export(
            program,
            input_names=["images"],
            output_names=list(names),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
            custom_translation_table={torch.ops.detector.class_wise_nms.default: translated},
        )
    model.model.metadata_props.update({name: json.dumps(value) for name, value in facts.items()})
    return bytes(model.model_proto.SerializeToString())


@torch.no_grad()
def _check(path: Path, module: nn.Module, run: Any, images: Tensor) -> None:
    """Compare the file with the network, on batches of one and of two."""
    size = images.shape[-1]
    for batch in (images[:1], images):
        own, other = tuple(module(batch)), tuple(run(batch))
        if len(own) == 2:
            one, two = (torch.cat([boxes / size, scores], -1) for boxes, scores in (own, other))
            same = one.shape == two.shape and torch.allclose(one, two, rtol=0, atol=TOLERANCE)
        else:
            shares = _share_found(own, other, size), _share_found(other, own, size)
            same = min(shares) >= LEAST_SHARE
        if not same:
            expected = f"those of the network, to {TOLERANCE:g}"
            raise ExportError(f"{path}: found other outputs than the network has; expected {expected}")


def _share_found(some: Sequence[Tensor], others: Sequence[Tensor], size: int) -> float:
    """The share of detections that are among others too, but for ties with the last one of an image."""
    rows, known = (
        torch.cat([image[:, None], labels[:, None], scores[:, None], boxes / size], 1).double()
        for image, boxes, scores, labels in (some, others)
    )
    if not len(rows):
        return 1.0
    nearest = (rows[:, None] - known[None]).abs().amax(-1).amin(1) if len(known) else torch.ones(len(rows))
    last = torch.stack([rows[rows[:, 0] == image, 2].min() for image in rows[:, 0]])
    return float(((nearest <= TOLERANCE) | (rows[:, 2] <= last + TOLERANCE)).double().mean())
