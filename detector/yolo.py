"""The detector: backbone and convolutional head, with YOLO v1's loss and decoding (paper, section 4.5)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from detector.grid import GridTargets, decode, encode, gather_targets, non_maximum_suppression, split_outputs
from detector.loss import LossWeights, YOLOLoss, yolo_loss

__all__ = ["YOLO", "ConvHead", "covering_dilation", "receptive_field"]

COLUMNS = ("boxes", "labels", "difficult")
"""What a target may hold."""


class ConvHead(nn.Module):
    """Turn the backbone's last map into the grid's outputs, at the same resolution.

    Each bottleneck is 1×1, 3×3 (dilated), 1×1, all of `channels` channels, stride 1. The last layer is a
    convolution instead of YOLO's fully connected layer, so that an output does not see the whole map at once
    "which may be exploited by the model to predict its location".

    Parameters
    ----------
    in_channels, out_channels
        Of the backbone's last map, and B·5 + C.
    channels, blocks
        Width, a multiple of 4, and number of the bottlenecks.
    dilation
        Of their 3×3 convolutions. An output of the default head sees 15×15 positions
        (:func:`receptive_field`): just more than a 14×14 map.
    """

    def __init__(
        self, in_channels: int, out_channels: int, channels: int = 256, blocks: int = 3, dilation: int = 2
    ) -> None:
        super().__init__()
        if channels < 1 or channels % Bottleneck.expansion:
            raise ValueError(f"head channels must be a multiple of {Bottleneck.expansion}, found {channels}")
        shortcut = nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        # torchvision's bottleneck outputs 4 × planes channels and is planes · base_width / 64 wide:
        # with these values both equal `channels`.
        planes, base_width = channels // Bottleneck.expansion, 64 * Bottleneck.expansion
        self.blocks = nn.Sequential(
            *(
                Bottleneck(
                    channels if number else in_channels,
                    planes,
                    downsample=None if number else shortcut,
                    base_width=base_width,
                    dilation=dilation,
                )
                for number in range(blocks)
            )
        )
        self.output = nn.Conv2d(channels, out_channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.output.weight, std=0.001)
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """``(N, in_channels, S, S)`` to ``(N, out_channels, S, S)`` float32, as scores and loss need it."""
        outputs: Tensor = self.output(self.blocks(features))
        return outputs.to(torch.float32)


def receptive_field(dilation: int, blocks: int = 3) -> int:
    """The side of the window that an output of the head sees, in positions."""
    return 1 + 2 * dilation * blocks + 2


def covering_dilation(grid: int, blocks: int = 3) -> int:
    """The smallest dilation, at least 2, whose receptive field covers a grid × grid map.

    Examples
    --------
    >>> [covering_dilation(grid) for grid in (8, 14, 15, 19)]
    [2, 2, 2, 3]
    """
    return next(dilation for dilation in count(2) if receptive_field(dilation, blocks) >= grid)


class YOLO(nn.Module):
    """A single-shot detector on an S×S grid.

    Parameters
    ----------
    backbone
        Maps ``(N, 3, H, W)`` images to ``(N, out_channels, S, S)`` and has the attribute `out_channels`, for
        example ``resnet50(num_classes=None)``. The paper shuffles its last layer
        (:func:`detector.shuffle_layers`).
    classes
        C.
    grid
        S, or rows and columns: the size of the backbone's map. 14 for ResNet-50 at 448 pixels.
    boxes_per_cell
        B.
    head_channels
        Width of the head; the paper gives none.
    dilation
        Of the bottlenecks. None: 2, or more where the head would not see the whole map; the paper gives none.
    weights
        Of the parts of the loss.

    Examples
    --------
    >>> from detector import resnet18, shuffle_layers
    >>> model = YOLO(shuffle_layers(resnet18(None), "last"), classes=20, grid=2, boxes_per_cell=2)
    >>> images = torch.zeros(1, 3, 64, 64)
    >>> target = {"boxes": torch.tensor([[5.0, 5.0, 40.0, 60.0]]), "labels": torch.tensor([3])}
    >>> bool(model.loss(images, [target]).total > 0)
    True
    >>> sorted(model.eval().predict(images)[0])
    ['boxes', 'labels', 'scores']
    """

    def __init__(
        self,
        backbone: nn.Module,
        classes: int,
        grid: int | tuple[int, int],
        boxes_per_cell: int = 2,
        *,
        head_channels: int = 256,
        dilation: int | None = None,
        weights: LossWeights | None = None,
    ) -> None:
        super().__init__()
        self.grid = (grid, grid) if isinstance(grid, int) else grid
        sizes = {"classes": classes, "boxes_per_cell": boxes_per_cell, "grid": min(self.grid)}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, found {value}")
        if stride := getattr(backbone, "stride", None):
            self.image_size = (self.grid[0] * stride, self.grid[1] * stride)  # pixels, that fit the grid
        self.classes = classes
        self.boxes_per_cell = boxes_per_cell
        self.weights = weights or LossWeights()
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", None, persistent=False)  # (C,) of the loss of classes
        self.backbone = backbone
        in_channels: Any = getattr(backbone, "out_channels", None)
        if in_channels is None:
            raise ValueError(
                f"a backbone of type {type(backbone).__name__} has no out_channels; expected a module that "
                "gives a feature map (N, out_channels, S, S), such as detector.resnet50(None), or "
                "torch.nn.Sequential(*list(network.children())[:-2]) with the attribute out_channels set"
            )
        dilation = dilation or covering_dilation(max(self.grid))
        self.head = ConvHead(in_channels, boxes_per_cell * 5 + classes, head_channels, dilation=dilation)
        # The initial prediction is mid-cell, a quarter of each side, no object, all classes equally likely.
        # The outputs are linear, so that the bias is the mean prediction; otherwise the first steps of a
        # training from scratch are spent on learning it.
        box = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.0], device=self.head.output.weight.device)
        with torch.no_grad():
            bias: Any = self.head.output.bias
            bias.fill_(1 / classes)[: boxes_per_cell * 5] = box.repeat(boxes_per_cell)

    def forward(self, images: Tensor) -> Tensor:
        """Raw outputs ``(N, B·5 + C, S, S)`` float32; :func:`detector.grid.split_outputs` takes them apart.

        Parameters
        ----------
        images
            ``(N, 3, H, W)``, uint8 RGB, or floating point and normalised (:func:`detector.normalize`).

        Raises
        ------
        ValueError
            Images whose feature map is not of the detector's grid.
        """
        features = self.backbone(images)
        if tuple(features.shape[2:]) != tuple(self.grid):
            raise ValueError(
                f"images of {images.shape[2]}x{images.shape[3]} pixels give a map of "
                f"{features.shape[2]}x{features.shape[3]} cells, but the detector's grid is "
                f"{self.grid[0]}x{self.grid[1]}: change the input size, the backbone's output stride, "
                "or the grid"
            )
        return self.head(features)  # type: ignore[no-any-return]

    def loss_from_outputs(
        self, outputs: Tensor, targets: Sequence[dict[str, Tensor]], image_size: tuple[int, int]
    ) -> YOLOLoss:
        """The loss of outputs that are already computed; see :meth:`loss`."""
        return self.grid_loss(outputs, self.encode_targets(targets, outputs.device, image_size))

    def encode_targets(
        self,
        targets: Sequence[dict[str, Tensor]],
        device: torch.device,
        image_size: tuple[int, int],
        grid: tuple[int, int] | None = None,
    ) -> GridTargets:
        """The objects of a batch in the detector's grid, or in another one of (rows, columns)."""
        columns = gather_targets(targets, device)
        return encode(*columns, images=len(targets), image_size=image_size, grid=grid or self.grid)

    def grid_loss(self, outputs: Tensor, targets: GridTargets) -> YOLOLoss:
        """The loss of outputs, with the objects in the grid (:meth:`encode_targets`)."""
        return yolo_loss(
            split_outputs(outputs.float(), self.boxes_per_cell), targets, self.weights, self.class_weights
        )

    def loss(self, images: Tensor, targets: Sequence[dict[str, Tensor]]) -> YOLOLoss:
        """The training loss of a batch.

        Parameters
        ----------
        images
            As of :meth:`forward`.
        targets
            For each image a dict of ``boxes`` (n, 4) xyxy in pixels of `images`, ``labels`` (n,) 0 to C − 1
            and, optionally, ``difficult`` (n,) bool.

        Raises
        ------
        ValueError
            Another number of targets than images, of labels than boxes, or (where they are on the CPU) a
            label that is no class, boxes that are not finite, inverted, fractions of the image's size, or
            centred outside of it; images or targets of another shape or type.
        """
        self._check_images(images)
        self._check_targets(images, targets)
        return self.loss_from_outputs(self(images), targets, (images.shape[2], images.shape[3]))

    def _check_images(self, images: Tensor) -> None:
        """Raise ValueError for another shape or type."""
        own = self.head.output.weight.dtype
        if not isinstance(images, Tensor):
            raise ValueError(f"found images of type {type(images).__name__}; expected a tensor (N, 3, H, W)")
        fits = images.dtype in (torch.uint8, own) or torch.is_autocast_enabled(images.device.type)
        if images.ndim != 4 or images.shape[1] != 3 or not fits:
            found = f"images of shape {tuple(images.shape)} and {images.dtype}"
            raise ValueError(f"found {found}; expected (N, 3, H, W), torch.uint8 or {own}")

    def _check_targets(self, images: Tensor, targets: Sequence[dict[str, Tensor]]) -> None:
        """Raise ValueError for targets that are not as :meth:`loss` says."""
        if len(targets) != len(images):
            raise ValueError(f"{len(images)} images need as many targets, found {len(targets)}")
        for number, target in enumerate(targets):
            none = torch.zeros(())
            columns = (
                [target.get(name, none) for name in COLUMNS] if isinstance(target, Mapping) else [target]
            )
            odd = [column for column in columns if len(columns) == 1 or not isinstance(column, Tensor)]
            if odd:
                found = f"targets[{number}] has a {type(odd[0]).__name__}"
                raise ValueError(f"{found}; expected a dict of the tensors {', '.join(COLUMNS)}")
            boxes, labels, _ = columns
            whole_numbers = not labels.is_floating_point() and labels.dtype != torch.bool
            if boxes.shape[1:] != (4,) or labels.ndim != 1 or not whole_numbers:
                found = f"boxes {tuple(boxes.shape)} and labels {tuple(labels.shape)} {labels.dtype}"
                raise ValueError(f"targets[{number}] has {found}; expected (n, 4) and (n,) whole numbers")
            # On a GPU these checks would wait for it.
            if labels.device.type == "cpu" and bool(((labels < 0) | (labels >= self.classes)).any()):
                raise ValueError(
                    f"targets[{number}] has labels {labels.tolist()}; expected 0 to {self.classes - 1}"
                )
            if boxes.device.type == "cpu" and len(boxes):
                bad = ~boxes.isfinite().all(1) | (boxes[:, 2:] < boxes[:, :2]).any(1)
                if bool(bad.any()):
                    raise ValueError(
                        f"targets[{number}] has the box {boxes[bad][0].tolist()}; expected finite numbers "
                        "x1, y1, x2, y2 with x1 <= x2 and y1 <= y2"
                    )
                centres = (boxes[:, :2] + boxes[:, 2:]) / 2
                outside = ((centres < 0) | (centres > centres.new_tensor(images.shape[:1:-1]))).any(1)
                if bool(outside.any()):
                    raise ValueError(
                        f"targets[{number}] has the box {boxes[outside][0].tolist()}, centred outside of "
                        f"its image; expected pixels of images of {images.shape[3]}x{images.shape[2]}"
                    )
        sides = [target["boxes"] for target in targets if len(target["boxes"])]
        if sides and sides[0].device.type == "cpu" and all(0 < float(boxes.max()) <= 1 for boxes in sides):
            raise ValueError(
                "all boxes of the batch are at most 1 pixel; expected pixels, not fractions of the image: "
                f"multiply them by {images.shape[3]} and {images.shape[2]}"
            )

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        score_threshold: float = 0.01,
        iou_threshold: float = 0.5,
        max_detections: int = 300,
    ) -> list[dict[str, Tensor]]:
        """Detections in a batch, after per-class non-maximum suppression.

        Parameters
        ----------
        images
            As of :meth:`forward`. Call ``eval()`` first: batch norm is left as it is.
        score_threshold, iou_threshold
            Lower scores are dropped; of two detections of a class that overlap more, the better one remains.
        max_detections
            Per image, the best.

        Returns
        -------
        list of dict
            For each image ``boxes`` (n, 4) xyxy in pixels of `images`, ``scores`` (n,), ``labels`` (n,);
            best first.
        """
        self._check_images(images)
        if images.is_floating_point() and images.numel():
            low, high = images.aminmax()
            if not bool((high - low).isfinite()):
                raise ValueError("found images with values that are not finite; expected finite ones")
            if 0 <= float(low) < float(high) and (float(high) <= 1 or float(high) > 10):
                warnings.warn(
                    f"floating-point images with values of {float(low):g} to {float(high):g} are taken as "
                    "normalised already: give uint8 images, or those of detector.normalize",
                    stacklevel=2,
                )
        return self.postprocess(
            self(images), (images.shape[2], images.shape[3]), score_threshold, iou_threshold, max_detections
        )

    def postprocess(
        self,
        outputs: Tensor,
        image_size: tuple[int, int],
        score_threshold: float,
        iou_threshold: float,
        max_detections: int,
    ) -> list[dict[str, Tensor]]:
        """Detections from outputs that are already computed; see :meth:`predict`."""
        boxes, scores = decode(split_outputs(outputs.float(), self.boxes_per_cell), image_size)
        return non_maximum_suppression(boxes, scores, score_threshold, iou_threshold, max_detections)

    lay, loss_of, suppress = encode_targets, loss_from_outputs, postprocess  # their earlier names
