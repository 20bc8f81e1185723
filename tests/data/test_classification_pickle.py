"""Pickles are read and never run."""

import contextlib
import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.pickles import read_pickle
from data.records import InputError
from tests.data.scenes import Evil

CONTENT = {
    "data": np.arange(24, dtype=np.uint8).reshape(4, 6),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big end first": np.arange(3, dtype=">i4"),
    "empty": np.zeros((0, 3072), np.uint8),
    "labels": [1, 2, 300, 70_000, 2**40, -1],
    "batch_label": "training batch 1 of 1",
    "bytes": b"\x00\xff",
    "others": (1, None, True, False, 2.5, [], {"a": ()}, (1, 2), (1, 2, 3, 4)),
}

# As Python 2 and NumPy of its time write {"data": uint8 (2, 3), "labels": [1, 2]}: CIFAR-100's own form, with
# strings of bytes, which no Python 3 writes.
PYTHON_2 = (
    b"\x80\x02}q\x00(U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04"
    b"U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02K\x03\x86q\x08cnumpy\ndtype\nq\x09U\x02u1q\x0aK\x00K\x01\x87q\x0bRq\x0c"
    b"(K\x03U\x01|q\x0dNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89T\x06\x00\x00\x00\x00\x7f\x80\xf0\xff."
    b"q\x0ftq\x10bU\x06labelsq\x11]q\x12(K\x01K\x02eu."
)


def read(content):
    return read_pickle(io.BytesIO(content), "batch")


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[key], value)
            assert found[key].dtype == value.dtype
            assert found[key].flags.writeable
        else:
            assert found[key] == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_pickle_writes_is_read_as_pickle_reads_it(protocol):
    assert_same(read(pickle.dumps(CONTENT, protocol)), CONTENT)


def test_a_pickle_of_python_2():
    expected = pickle.loads(PYTHON_2, encoding="latin-1")
    assert expected["data"].tolist() == [[0, 127, 128], [240, 255, 46]], "the pickle is a good one"
    assert_same(read(PYTHON_2), expected)


def test_an_empty_dictionary_and_keys_of_bytes_which_become_texts():
    assert read(pickle.dumps({})) == {}
    assert read(pickle.dumps({b"fine_labels": [3]})) == {"fine_labels": [3]}


def evil_pickles(marker):
    """Pickles that make the folder `marker` when they are loaded."""
    text = str(marker).encode()
    name = b"\x8c" + bytes([len(text)]) + text
    objects = np.array([Evil(marker)], dtype=object)
    in_a_dict = {f"protocol {p}": pickle.dumps({"data": Evil(marker)}, p) for p in range(6)}
    return {
        **in_a_dict,
        "an array of objects": pickle.dumps({"data": objects}),
        "beside an array": pickle.dumps({"data": np.zeros(3), "labels": [1, Evil(marker)]}),
        "INST": b"(S" + repr(str(marker)).encode() + b"\nios\nmkdir\n.",
        "OBJ": b"\x80\x02(cos\nmkdir\n" + name + b"o.",
        "NEWOBJ": b"\x80\x02cos\nmkdir\n" + name + b"\x85\x81.",
        "a name in two parts": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93" + name + b"\x85R.",
        "eval": b"cbuiltins\neval\n(V__import__('os').mkdir(" + repr(str(marker)).encode() + b")\ntR.",
    }


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "ran"
    ran = []
    for name, content in evil_pickles(marker).items():
        with pytest.raises(InputError, match=r"batch: found a pickle that .*: nothing of it was run"):
            read(content)
        assert not marker.exists(), name
        with contextlib.suppress(Exception):  # pickle itself does run it, or this test shows nothing
            pickle.loads(content)
        if marker.exists():
            ran.append(name)
            marker.rmdir()
    assert len(ran) >= len(evil_pickles(marker)) - 1, ran  # NEWOBJ wants a class


SIX = np.arange(6, dtype=np.uint8)
DEEP = b"]" + b"\x85" * 100_000  # a tuple in a tuple in a tuple …: to hash it, or to show it, recurses


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # More than arrays.
        (pickle.dumps({"data": Evil(Path("x"))}), r"a pickle that names (posix|nt).mkdir"),
        (b"\x80\x04\x8c\x02os\x8c\x06a\x1b[2Jb\x93.", r"names 'os\.a\\x1b\[2Jb'"),
        (b"Pid\n.", "PERSID"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x04\x8f.", "EMPTY_SET"),
        (b"cnumpy\ndtype\n}b.", "attributes"),
        (b"cnumpy\ndtype\n(U\x01OtR.", "something but numbers"),
        (b"cnumpy\ndtype\n(X\x03\x00\x00\x00V10tR.", "something but numbers"),
        (b"cnumpy\nndarray\n(K\x05tR.", "calls numpy.ndarray"),
        (b"K\x01)R.", "calls what is no function"),
        (b"cnumpy\nload\n.", "names numpy.load"),
        # No dictionary, or no pickle.
        (b"", "cannot be read"),
        (b"no pickle at all", "cannot be read"),
        (pickle.dumps([1, 2]), "a pickled list; expected a dictionary"),
        (pickle.dumps(SIX), "a pickled array; expected a dictionary"),
        (b".", "cannot be read"),
        (b"}K\x01e.", "cannot be read"),  # append without a mark
        (b"}(K\x01u.", "cannot be read"),  # a key without a value
        (b"}(]K\x01u.", "neither a text nor a number"),
        (b"}" + DEEP + b"K\x01s.", "cannot be read"),
        (DEEP + b"\x8c\x01a\x93.", "cannot be read"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.", "cannot be read"),  # bytes of a length that lies
        (b"\x8a\x04\xff\xff\xff\x7f" + b"cnumpy\ndtype\n" + b"0.", "a pickled int"),
        # Too little for the shape (2, 4); a number, of which bytearray() would make so many zeros.
        (
            pickle.dumps({"data": SIX.reshape(2, 3)}, 2).replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86"),
            "cannot",
        ),
        (pickle.dumps({"data": SIX}, 4).replace(b"C\x06" + SIX.tobytes(), b"K\x06"), "values are no bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_dictionary_of_arrays_is_refused(content, message):
    with pytest.raises(InputError, match=message):
        read(content)


@given(st.integers(0, len(PYTHON_2) - 1))
def test_wherever_it_is_cut_off_it_is_an_error(end):
    with pytest.raises(InputError, match="cannot be read"):
        read(PYTHON_2[:end])


@given(st.data(), st.integers(0, 5))
def test_whatever_is_changed_nothing_but_an_input_error_comes_out(data, protocol):
    content = bytearray(pickle.dumps(CONTENT, protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        assert isinstance(read(bytes(content)), dict)
