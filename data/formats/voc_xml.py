"""One VOC annotation: the XML file that says what an image shows.

VOC counts pixels from 1 and includes the last one, so its box (xmin, ymin, xmax, ymax) is
(xmin − 1, ymin − 1, xmax, ymax) in the continuous pixels used everywhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

import defusedxml.ElementTree as SafeTree
from defusedxml.common import DefusedXmlException

from data.formats.files import read_bytes
from data.records import UNKNOWN, InputError

__all__ = ["AnnotatedObject", "annotation_xml", "read_annotation"]

# Coordinates that were scaled and rounded may end this far beyond the image, in pixels. It is less
# than 1 so that a file that counts from 0 is noticed, not silently read one pixel off.
ROUNDING = 0.5

FLAGS = {"0": 0, "1": 1}


class AnnotatedObject(NamedTuple):
    """One object of an annotation.

    Attributes
    ----------
    label
        Name of its class.
    box
        xyxy, continuous pixels, inside the image.
    difficult
        VOC's flag for objects that are neither rewarded nor punished.
    truncated, occluded
        1, 0, or −1 where the file does not say.
    pose
        ``Frontal``, ``Left``, …; empty where the file does not say.
    """

    label: str
    box: tuple[float, float, float, float]
    difficult: bool = False
    truncated: int = UNKNOWN
    occluded: int = UNKNOWN
    pose: str = ""


def read_annotation(
    path: Path, classes: Mapping[str, object]
) -> tuple[tuple[int, int], list[AnnotatedObject]]:
    """Size (width, height) of the image and its objects, in the order of the file.

    Parameters
    ----------
    path
        The XML file.
    classes
        The class names that may occur, as keys.

    Raises
    ------
    InputError
        Names the file and the field: malformed XML or XML with entities or external references, another
        root than <annotation>, no size, a class that is not in `classes`, an object without a box or with
        two, a coordinate that is missing, no number or outside the image, a box without area (no object of
        VOC is a single pixel wide, so xmin = xmax counts as one), a flag other than 0 and 1.
    """
    root = _parse(path)
    if root.tag != "annotation":
        raise InputError(path, f"the root element <{root.tag}>", "<annotation>, as VOC's files have it")
    size = root.find("size")
    if size is None:
        raise InputError(path, "no <size>", "<size> with <width> and <height> of the image in pixels")
    width, height = (_length(path, size, tag) for tag in ("width", "height"))
    objects = [
        _object(f"{path}: object {number}", element, classes, width, height)
        for number, element in enumerate(root.findall("object"), start=1)
    ]
    return (width, height), objects


def annotation_xml(
    folder: str, filename: str, size: tuple[int, int], objects: Iterable[AnnotatedObject]
) -> str:
    """The text of an annotation that :func:`read_annotation` reads back unchanged.

    Parameters
    ----------
    folder, filename
        Name of the tree (``VOC2007``) and of the image file.
    size
        Width and height of the image.
    objects
        The objects; fields that are not annotated are left out.
    """
    width, height = size
    lines = [
        "<annotation>",
        f"\t<folder>{escape(folder)}</folder>",
        f"\t<filename>{escape(filename)}</filename>",
        f"\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n\t\t<depth>3</depth>\n\t</size>",
    ]
    for thing in objects:
        fields = [("name", escape(thing.label))]
        if thing.pose:
            fields.append(("pose", escape(thing.pose)))
        for tag, flag in (("truncated", thing.truncated), ("occluded", thing.occluded)):
            if flag != UNKNOWN:
                fields.append((tag, str(int(flag))))
        fields.append(("difficult", str(int(thing.difficult))))
        x1, y1, x2, y2 = thing.box
        corners = zip(("xmin", "ymin", "xmax", "ymax"), (x1 + 1, y1 + 1, x2, y2), strict=True)
        lines.append("\t<object>")
        lines += [f"\t\t<{tag}>{text}</{tag}>" for tag, text in fields]
        lines.append("\t\t<bndbox>")
        lines += [f"\t\t\t<{tag}>{_shortest(value)}</{tag}>" for tag, value in corners]
        lines.append("\t\t</bndbox>\n\t</object>")
    lines.append("</annotation>\n")
    return "\n".join(lines)


def _shortest(value: float) -> str:
    """Shortest text that reads back as `value`; whole numbers as VOC has them, without a point."""
    return str(int(value)) if value == int(value) else repr(float(value))


def _parse(path: Path) -> Element:
    content = read_bytes(path, "the annotation of an image that the list names")
    try:
        root: Element = SafeTree.fromstring(content, forbid_dtd=True)
    except ParseError as error:
        line, _ = error.position
        raise InputError(f"{path}:{line}", f"malformed XML ({error})", "a whole VOC annotation") from None
    except DefusedXmlException as error:
        kind = type(error).__name__
        raise InputError(
            path, f"XML that declares entities or a document type ({kind})", "plain XML"
        ) from None
    except (ValueError, LookupError) as error:  # an encoding that the parser does not know
        raise InputError(path, f"unreadable XML ({error})", "XML in UTF-8") from None
    return root


def _text(parent: Element, tag: str) -> str:
    """The text of a child, without white space around it; empty where there is none."""
    return (parent.findtext(tag) or "").strip()


def _length(path: Path, size: Element, tag: str) -> int:
    text = _text(size, tag)
    value = _float(text)
    if not (value > 0 and value.is_integer()):
        raise InputError(f"{path}: <size><{tag}>", repr(text), "the image's size: a whole number above 0")
    return int(value)


def _object(
    where: str, element: Element, classes: Mapping[str, object], width: int, height: int
) -> AnnotatedObject:
    label = _text(element, "name")
    if label not in classes:
        raise InputError(f"{where}: <name>", repr(label), f"one of the classes {', '.join(classes)}")
    return AnnotatedObject(
        label,
        _box(f"{where} ({label})", element, width, height),
        _flag(where, element, "difficult", 0) == 1,
        _flag(where, element, "truncated", UNKNOWN),
        _flag(where, element, "occluded", UNKNOWN),
        _text(element, "pose"),
    )


def _flag(where: str, element: Element, tag: str, absent: int) -> int:
    text = _text(element, tag)
    if not text:
        return absent
    if text not in FLAGS:
        raise InputError(f"{where}: <{tag}>", repr(text), "0 or 1")
    return FLAGS[text]


def _box(where: str, element: Element, width: int, height: int) -> tuple[float, float, float, float]:
    found = element.findall("bndbox")
    if len(found) != 1:
        number = f"{len(found)} <bndbox>" if found else "no <bndbox>"
        raise InputError(where, number, "one <bndbox> with <xmin>, <ymin>, <xmax> and <ymax>")
    corners = found[0]
    x1, y1, x2, y2 = (
        _number(f"{where}: <bndbox><{tag}>", _text(corners, tag)) for tag in ("xmin", "ymin", "xmax", "ymax")
    )
    for axis, low, high, limit in (("x", x1, x2, width), ("y", y1, y2, height)):
        for end, value in (("min", low), ("max", high)):
            if not 1 - ROUNDING <= value <= limit + ROUNDING:
                raise InputError(
                    f"{where}: <bndbox><{axis}{end}>",
                    f"{value:g}, outside the image of {width}×{height} pixels",
                    f"1 to {limit} (VOC counts pixels from 1)",
                )
        if low >= high:
            raise InputError(
                f"{where}: <bndbox>",
                f"{axis}min {low:g} and {axis}max {high:g}, a box of zero area",
                f"{axis}min below {axis}max",
            )
    return max(x1 - 1, 0.0), max(y1 - 1, 0.0), min(x2, float(width)), min(y2, float(height))


def _number(where: str, text: str) -> float:
    value = _float(text)
    if math.isnan(value):
        raise InputError(where, repr(text) if text else "nothing", "a number of pixels")
    return value


def _float(text: str) -> float:
    """The finite number that `text` says, or NaN."""
    try:
        value = math.nan if "_" in text else float(text)  # Python's 1_0 is a number nowhere else
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
