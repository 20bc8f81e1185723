"""Detections as CSV, Parquet and tables in memory: what is read, and what each mistake is answered with."""

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from pyarrow import compute

from data.formats import from_table, read_ground_truth, read_table
from data.records import GroundTruth, InputError
from tests.data.test_foreign_tools import rows
from tests.fixtures.make_foreign import FOLDER, SCORES

HEAD = "image,class,score,xmin,ymin,xmax,ymax\n"
GOOD = "000012,dog,0.5,1,2,30,40\n"


@pytest.fixture
def truth():
    return GroundTruth(
        ["000012", "b"], ["dog", "7"], [[100, 80]] * 2, [], [], [], image_ids=[5, "x"], class_ids=[18, 3]
    )


def write(folder, text, name="found.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def columns(found):
    return found.image_index.tolist(), found.labels.tolist(), found.scores.tolist(), found.boxes.tolist()


def test_csv(tmp_path, truth):
    text = HEAD + GOOD + "\n" + "photos/b.jpg,7,1e-3,0,0,0,5\n"
    expected = ([0, 1], [0, 1], [0.5, 0.001], [[1, 2, 30, 40], [0, 0, 0, 5]])
    assert columns(read_table(write(tmp_path, text), truth)) == expected
    for other in (
        text.replace(",", ";"),
        text.replace(",", "\t"),
        text.replace("\n", "\r\n"),
        text.replace("\n", "\r"),
        "\ufeff" + text,
    ):
        assert columns(read_table(write(tmp_path, other), truth)) == expected


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("file_name,label,confidence,x1,y1,x2,y2", "000012.jpg,dog,0.5,1,2,30,40"),
        ("image_id,category_id,score,x,y,width,height", "5,18,0.5,1,2,29,38"),
        ("IMAGE_ID, Class_Id ,conf,x,y,w,h,comment", '5,0,0.5,1,2,29,38,"a, b"'),
        ("y,x,h,w,score,category,filename,rank", "2,1,38,29,0.5,dog,000012,1"),
    ],
)
def test_names_of_columns(tmp_path, truth, head, row):
    found = read_table(write(tmp_path, f"{head}\n{row}\n"), truth)
    assert columns(found) == ([0], [0], [0.5], [[1, 2, 30, 40]])


def test_ids_of_a_ground_truth_without_any(tmp_path):
    truth = GroundTruth(["000012"], ["dog"], [[100, 80]], [], [], [])
    text = "image_id,class,score,xmin,ymin,xmax,ymax\n12,dog,0.5,1,2,30,40\n"
    assert len(read_table(write(tmp_path, text), truth)) == 1


@pytest.mark.parametrize("text", [HEAD, HEAD.strip(), HEAD + "\n\n"])
def test_no_rows(tmp_path, truth, text):
    assert len(read_table(write(tmp_path, text), truth)) == 0


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("", "found an empty file; expected a first line"),
        (
            "class,score,xmin,ymin,xmax,ymax",
            "found.csv: image: found the columns class, .*expected one column of",
        ),
        ("image,file_name,class,score,xmin,ymin,xmax,ymax", "several columns for it: image, file_name"),
        ("image,class,score,xmin,ymin,xmax,ymax,x,y,w,h", "box: found several boxes: xmin .* and x y w h"),
        ("image,class,score,xmin,ymin,w,h", "box: found the columns .*expected four columns, one of"),
        ("image,class,score,Score,xmin,ymin,xmax,ymax", "found the column 'score' twice"),
        (GOOD, "found the columns 000012"),
    ],
)
def test_wrong_columns(tmp_path, truth, head, message):
    with pytest.raises(InputError, match=message):
        read_table(write(tmp_path, head + "\n"), truth, lenient=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD.encode() + b"caf\xe9,dog,0.5,1,2,30,40\n", "found.csv:2: found a byte that is not UTF-8"),
        ("\r", "found an empty file"),
        (f'"{HEAD}1,dog,0.9,1,2,3,4\n', "found.csv:1: found a malformed first line"),
        (f'{HEAD}"1,dog,0.9,1,2,3,4\n', r"found.csv:\d+: found malformed CSV"),
        (f"{HEAD}{'x' * 200_000},dog,0.9,1,2,3,4\n", "found.csv:2?"),
        (f"{HEAD}000012,dog,{'9' * 5000}e9999,1,2,3,4\n", "the score inf"),
    ],
    ids=["UTF-8", "empty", "head", "quotes", "long", "inf"],
)
def test_wrong_csv(tmp_path, truth, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_table(write(tmp_path, content), truth)
    assert len(str(caught.value)) < 5000


TABLE = {"image": ["000012", "b"], "class": ["dog", "7"], "score": [0.5, 1]} | {
    name: [1.5, 2.0] for name in ("xmin", "ymin", "xmax", "ymax")
}
EXPECTED = ([0, 1], [0, 1], [0.5, 1.0], [[1.5] * 4, [2.0] * 4])


def test_parquet(tmp_path, truth):
    pyarrow.parquet.write_table(pa.table(TABLE | {"more": [[1], []]}), tmp_path / "found.parquet")
    assert columns(read_table(tmp_path / "found.parquet", truth)) == EXPECTED


@pytest.mark.parametrize("content", [b"", b"PAR1", b"image,class\n" * 10])
def test_files_that_are_no_parquet(tmp_path, truth, content):
    with pytest.raises(InputError, match=r"found.parquet: found (an empty file|no readable Parquet)"):
        read_table(write(tmp_path, content, "found.parquet"), truth)


class Stream:
    """Whatever hands out an Arrow stream."""

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.table(TABLE).__arrow_c_stream__(requested_schema)


def arrow_kinds():
    plain = pa.table(TABLE)
    dictionary = pa.table(TABLE | {"image": plain["image"].dictionary_encode()})
    parts = pa.concat_tables([plain.slice(0, 1), plain.slice(1)])
    view = plain.set_column(0, "image", plain["image"].cast(pa.string_view()))
    indices = pa.array(range(len(plain)), pa.int8())
    views = pa.DictionaryArray.from_arrays(indices, plain["image"].combine_chunks().cast(pa.string_view()))
    single = plain.set_column(2, "score", plain["score"].cast(pa.float32()))
    return [
        TABLE,
        plain,
        dictionary,
        parts,
        view,
        plain.set_column(0, "image", views),
        single,
        plain.to_batches()[0],
        Stream(),
        view.to_batches()[0],
        view.to_reader(),
        pa.table({name: plain[name].dictionary_encode() for name in TABLE}),
        pa.table({name: compute.run_end_encode(plain[name].combine_chunks()) for name in TABLE}),
        TABLE | {"score": pa.array(TABLE["score"]).cast(pa.decimal128(5, 2))},  # DuckDB's 0.5
    ]


@pytest.mark.parametrize("table", arrow_kinds())
def test_tables_of_arrow(truth, table):
    assert columns(from_table(table, truth)) == EXPECTED


def test_data_frames_of_pandas(truth):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(TABLE, index=[5, 9])
    assert columns(from_table(frame, truth)) == EXPECTED
    numbered = frame.assign(image_id=[5.0, 5.0], category_id=[18, 3]).drop(columns=["image", "class"])
    assert columns(from_table(numbered, truth))[:2] == ([0, 0], [0, 1])
    assert len(from_table(frame[:0], truth)) == 0


@pytest.mark.parametrize("name", ["texts", "categories"])
def test_data_frames_of_polars(name):
    """The Arrow tables that polars makes of its frames: texts are views, categories dictionaries of views."""
    truth = read_ground_truth(FOLDER / "supervision_coco/annotations.json")
    found = from_table(pa.ipc.open_file(FOLDER / f"polars_memory/{name}.arrow").read_all(), truth)
    assert rows(found) == rows(truth)
    assert found.scores.tolist() == list(SCORES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": [0.5, None]}, "table, row 1: found the score nan"),
        ({"score": ["a", "b"]}, "table: column score: found values of type string; expected numbers"),
        ({"score": [True, False]}, "table: column score: found values of type bool; expected numbers"),
        ({"image": [["000012"], ["b"]]}, "column image: found values of type list"),
        ({"class": [{"a": 1}, {"a": 2}]}, "column class: found values of type struct"),
        ({"image": pa.array([b"000012", b"b"])}, "column image: found values of type binary"),
        (
            {"image": pa.array([b"\xff\xfe", b"b"]).view(pa.string())},
            "column image: found text that is not UTF-8",
        ),
        ({"image": ["b", None]}, "table, row 1: found the unknown image None"),
        ({"class": [None, "dog"]}, "table, row 0: found the unknown class None"),
        ({"class": [0, 1]}, "table, row 0: found the unknown class 0"),
        ({"xmin": [3, 1]}, "table, row 0: found the inverted box 3 1.5 1.5 1.5"),
    ],
)
def test_wrong_tables(truth, change, message):
    with pytest.raises(InputError, match=message):
        from_table(TABLE | change, truth)


@pytest.mark.parametrize("table", [5, [1, 2], {"image": [1], "class": [1, 2]}, None, {"image_id": [2**64]}])
def test_what_is_no_table(truth, table):
    with pytest.raises(InputError, match="table: found"):
        from_table(table, truth)


def test_whole_numbers_that_no_float_is(truth):
    assert from_table(TABLE | {"score": pa.array([2**53 + 1, 1])}, truth).scores.tolist() == [2.0**53, 1]


def test_many_rows_keep_their_order(tmp_path, truth):
    rng = np.random.default_rng(0)
    scores = rng.random(5000).round(6)
    rows = "".join(f"{'b' if i % 3 else '000012'},dog,{s},0,0,{i},1\n" for i, s in enumerate(scores))
    found = read_table(write(tmp_path, HEAD + rows), truth)
    assert found.scores.tolist() == scores.tolist()
    assert found.boxes[:, 2].tolist() == list(range(5000))
    assert found.image_index.tolist() == [int(bool(i % 3)) for i in range(5000)]


@pytest.mark.parametrize(
    ("names", "called", "name"),
    [
        (["other", "12"], "12.jpg", "12"),
        (["other", "12"], "photos/12", "12"),
        (["other", "12"], "photos/more/12.jpg", "12"),
        (["other", "12"], "photos\\12.jpg", "12"),
        (["other", "left/12"], "left/12.jpg", "left/12"),
        (["other", "12.jpg"], "photos/12.jpg", "12.jpg"),
        (["other", "a.b"], "photos/a.b.jpg", "a.b"),
        (["12", "left/12"], "left/12.jpg", "left/12"),  # the whole path comes before the name alone
        (["12", "12.jpg"], "left/12.jpg", "12.jpg"),
        (["left/12", "12"], "left", None),
        (["left/12", "12"], "13.jpg", None),
        (["left/12", "12"], "2", None),
    ],
)
def test_an_image_with_or_without_folder_and_ending(names, called, name):
    truth = GroundTruth(names, ["dog", "7"], [[90, 90]] * 2, [], [], [])
    table = TABLE | {"image": [called] * 2}
    if name is None:
        with pytest.raises(InputError, match="image"):
            from_table(table, truth)
    else:
        assert from_table(table, truth).image_index.tolist() == [names.index(name)] * 2
