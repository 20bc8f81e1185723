"""What SECURITY.md promises, as far as the tests that it names do not show it."""

import io
import re
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from data.detection import read_image
from data.formats import read_ground_truth, read_table
from data.formats.files import image_size, open_image
from data.records import GroundTruth, InputError
from data.small_imagenet import read_small_imagenet
from diagnosis.photographs import read_picture
from tests.data.scenes import save_turned, truth_of, write_yolo

TRUTH = GroundTruth(["a"], ["dog"], [[100, 80]], [0], [0], [[10, 10, 50, 60]])


def test_every_test_that_the_page_names_exists(root):
    text = (root / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 8
    for file, test in named:
        assert f"def {test}(" in (root / file).read_text() or not test, (file, test)


def test_a_table_of_equal_rows_is_no_bomb(tmp_path):
    """A hundred million rows in a few kilobytes would take gigabytes."""
    rows = 2_000_000
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["a"]))
    zeros = pa.array(np.zeros(rows, np.float32))
    numbers = dict.fromkeys(("score", "xmin", "ymin", "xmax", "ymax"), zeros)
    path = tmp_path / "found.parquet"
    pyarrow.parquet.write_table(pa.table({"image": names, "class": names, **numbers}), path)
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"found.parquet: found 2,000,000 rows in [\d,]+ bytes"):
        read_table(path, TRUTH)


def test_arrays_that_are_many_times_as_large_as_their_archive(tmp_path):
    empty = np.zeros((40_000, 3072), np.uint8)
    np.savez_compressed(tmp_path / "val_data.npz", data=empty, labels=np.ones(40_000, np.int64))
    with pytest.raises(InputError, match=r"val_data.npz: found 123 MB of arrays in 0.1 MB; .* do not use"):
        read_small_imagenet(tmp_path, "test")


def png(width, height, compressed):
    """A PNG file that claims a size."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def jpeg(width, height, size):
    """The head of a JPEG file that claims a size, and as many bytes as it is to have."""
    part = io.BytesIO()
    Image.new("RGB", (16, 16)).save(part, "jpeg")
    content = part.getvalue()
    frame = content.index(b"\xff\xc0") + 5
    content = content[:frame] + struct.pack(">HH", height, width) + content[frame + 4 :]
    return content + bytes(size - len(content))


@pytest.mark.parametrize("side", [9_000, 20_000, 60_000])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_picture_of_more_pixels_than_its_bytes_hold_is_not_decoded(tmp_path, kind, side):
    path = tmp_path / f"a.{kind}"
    content = png(side, side, zlib.compress(bytes(10_000))) if kind == "png" else jpeg(side, side, 5_000)
    path.write_bytes(content)
    expected = rf"a.{kind}: found {side}x{side} pixels in [\d,]+ bytes.*expected at most 500,000,000 pixels"
    for read in (image_size, lambda path: open_image(path, "an image").__enter__(), read_image):
        with pytest.raises(InputError, match=expected):
            read(path)
    with pytest.raises(InputError, match=expected):
        read_picture(truth_of(path, (side, side)), 0)


def test_kind_a_large_photograph_is_no_bomb(tmp_path, recwarn):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(20_000, 20_000, 3_000_000))
    assert image_size(path) == (20_000, 20_000)
    with open_image(path, "an image") as image:
        assert image.size == (20_000, 20_000)
    assert not recwarn.list
    path.write_bytes(jpeg(60_000, 60_000, 20_000_000))
    with pytest.raises(InputError, match="cut or scale the picture"):
        image_size(path)


def turned(path):
    """A photograph that is stored 40×20 and shown 20×40, white at the right as stored, below as shown."""
    return save_turned(np.uint8([[0] * 20 + [255] * 20] * 20), path, 6)


def test_boxes_are_on_photographs_as_shown_where_these_give_the_size(tmp_path):
    path = write_yolo(tmp_path, {"a": "0 0.5 0.75 1 0.5"})
    turned(tmp_path / "images" / "a.png")
    truth = read_ground_truth(path)
    assert (truth.sizes.tolist(), truth.boxes.tolist()) == ([[20, 40]], [[0, 20, 20, 40]])
    picture = read_picture(truth, 0)
    assert picture.shape == (40, 20, 3)
    assert picture[:20].max() < 9 < 246 < picture[20:].min()


def test_boxes_are_on_photographs_as_stored_where_the_annotation_says_so(tmp_path):
    file = turned(tmp_path / "a.jpg")
    assert (read_picture(truth_of(file, (40, 20)), 0)[:, 24:] > 240).all()
    with pytest.raises(InputError, match=r"40 × 20 pixels; expected .* size that is annotated, 99 × 9"):
        read_picture(truth_of(file, (99, 9)), 0)
