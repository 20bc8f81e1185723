"""Small data sets as files: COCO, YOLO and VOC, each written by one function."""

import contextlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from data.records import GroundTruth

CATEGORIES = ({"id": 1, "name": "cat"}, {"id": 2, "name": "dog"})


def coco_image(key: Any, file_name: str | None = None, size: tuple[Any, Any] = (640, 480)) -> dict[str, Any]:
    """An entry of ``images``; its file is called as the id, if nothing else is said."""
    return {"id": key, "file_name": file_name or f"{key:04}.jpg", "width": size[0], "height": size[1]}


def coco_object(image: Any, category: Any, box: Sequence[float], **more: Any) -> dict[str, Any]:
    """An entry of ``annotations``."""
    return {"image_id": image, "category_id": category, "bbox": list(box), **more}


def coco_result(
    image: Any, category: Any, box: Sequence[float], score: float = 0.9, **more: Any
) -> dict[str, Any]:
    """A detection of a results file."""
    return {"image_id": image, "category_id": category, "bbox": list(box), "score": score, **more}


def write_json(path: Path, content: Any) -> Path:
    """A file of this text, these bytes, or the JSON of anything else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def write_coco(
    folder: Path,
    annotations: Iterable[Mapping[str, Any]] = (),
    images: Iterable[Mapping[str, Any]] | None = None,
    categories: Iterable[Mapping[str, Any]] = CATEGORIES,
    **more: Any,
) -> Path:
    """An annotation file; without `images` one of 640×480 pixels with the id 1."""
    listed = [coco_image(1)] if images is None else list(images)
    rows = [{"id": i, **row} for i, row in enumerate(annotations, start=1)]
    content = {"images": listed, "annotations": rows, "categories": list(categories), **more}
    return write_json(folder / "truth.json", content)


def write_image(path: Path, size: tuple[int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path)
    return path


def save_turned(pixels: Any, path: Path, orientation: int, **options: Any) -> Path:
    """A photograph (H, W) or (H, W, 3) with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **options)
    return path


def truth_of(
    path: str | Path, size: tuple[int, int], boxes: Sequence[Sequence[float]] = (), **more: Any
) -> Any:
    """Ground truth of one image, its objects all of one class."""
    none = [0] * len(boxes)
    return GroundTruth([Path(path).stem], ["thing"], [size], none, none, boxes, files=[path], **more)


def write_yolo(
    folder: Path,
    labels: Mapping[str, str],
    size: tuple[int, int] = (640, 480),
    yaml: str = "names: [cat, dog]",
) -> Path:
    """A data set with an image for each text of labels; returns ``data.yaml``."""
    for name, text in labels.items():
        write_image(folder / "images" / f"{name}.png", size)
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / f"{name}.txt").write_text(text)
    path = folder / "data.yaml"
    path.write_text(f"{yaml}\nval: images\n")
    return path


def voc_xml(objects: Iterable[tuple[str, Sequence[float]]], size: tuple[int, int] | None = (640, 480)) -> str:
    """An annotation; `size` of None: without ``<size>``."""
    text = "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    for name, box in objects:
        tags = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        corners = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
        text += f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"
    return f"<annotation>{text}</annotation>"


def pycocotools_evaluation(truth: Path, found: Path) -> Any:
    """pycocotools' ``COCOeval`` of two files, summarized without a word."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        evaluation = COCOeval(coco, coco.loadRes(str(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))
