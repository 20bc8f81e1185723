"""Arrays out of pickle files, without running what the pickle names.

CIFAR-100 and Small-ImageNet are published as pickles, and a pickle is a program: to load one is to run what
its author wrote. Here :meth:`ArrayUnpickler.find_class` knows the few functions by which NumPy writes an
array, and gives stand-ins for them; nothing is imported by name, and nothing from the file is called.

Python's unpickler in C would not do: an opcode that stores value 4,294,967,295 makes it take 64 GB, and it
hashes whatever a dictionary's key is, also tuples in tuples without end. So does the one in Python with the
keys, and with byte arrays of a length that lies; the methods below replace those.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data.formats.files import reason
from data.records import InputError

__all__ = ["read_pickle"]

EXPECTED = "a pickle of numbers, texts, lists and arrays, as it was published"
NUMBER_TYPE = re.compile(r"[<>|=]?[biuf][1248]")
ROOM_FOR_EMPTY_ARRAYS = 1 << 20  # bytes
BYTES_OF_AN_OBJECT = 100  # at least: what a call makes takes so much memory, even an empty array


class Unsafe(Exception):  # noqa: N818
    """The pickle asks for something that is not an array."""


@dataclass(frozen=True)
class Function:
    """What is done where the pickle calls the function that it names."""

    call: Callable[..., Any]


@dataclass
class Type:
    """In the place of a ``numpy.dtype``; its state may add the order of the bytes."""

    code: str


@dataclass
class Array:
    """In the place of a ``numpy.ndarray``; its state brings the values."""

    values: NDArray[Any] = field(default_factory=lambda: np.zeros(0))


def read_pickle(stream: IO[bytes], where: object) -> dict[str, Any]:
    """The dictionary that a pickle holds; of any protocol, written by Python 2 or 3.

    Parameters
    ----------
    stream
        An open file, or a member of an archive. Read to the end of the pickle.
    where
        What error messages call it.

    Returns
    -------
    dict
        Arrays are writable; bytes of Python 2 are texts of one character a byte.

    Raises
    ------
    InputError
        A file that ends too early or is no pickle, or one that would call anything but what makes an array:
        nothing of it is run.

    Examples
    --------
    >>> import io, pickle
    >>> read_pickle(io.BytesIO(pickle.dumps({"labels": [3, 1]})), "batch")
    {'labels': [3, 1]}
    >>> read_pickle(io.BytesIO(pickle.dumps({"labels": print})), "batch")
    Traceback (most recent call last):
    ...
    data.records.InputError: batch: found a pickle that names builtins.print; expected a pickle of numbers, \
texts, lists and arrays, as it was published: nothing of it was run, do not use this file
    """
    try:
        found = ArrayUnpickler(stream).load()
    except Unsafe as error:
        expected = f"{EXPECTED}: nothing of it was run, do not use this file"
        raise InputError(where, f"a pickle that {error}", expected) from None
    except Exception as error:  # opcodes in an order that no pickler writes raise almost anything
        found = f"a pickle that cannot be read ({reason(error)})"
        raise InputError(where, found, f"{EXPECTED}: fetch it again") from None
    if not isinstance(found, dict):
        raise InputError(where, f"a pickled {type(found).__name__.lower()}", "a dictionary")
    return {
        str(_text(key)): value.values if isinstance(value, Array) else value for key, value in found.items()
    }


class ArrayUnpickler(pickle._Unpickler):
    """An unpickler that makes numbers, texts, containers and :class:`Array`, and calls nothing else."""

    dispatch: ClassVar[dict[int, Callable[..., Any]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="latin-1")
        self._stream = stream
        self._made_bytes = 0
        self._functions: dict[str, Function] = {
            "numpy.dtype": Function(_type),
            "numpy.ndarray": Function(_refuse("calls numpy.ndarray")),
            "_codecs.encode": Function(self._encode),  # bytes in protocols 0 to 2
        }
        for module in ("numpy.core", "numpy._core"):
            # The arguments say no more than that it is an array; the state will say what is in it.
            self._functions[f"{module}.multiarray._reconstruct"] = Function(lambda *_: Array())
            self._functions[f"{module}.numeric._frombuffer"] = Function(self._from_buffer)
        for module in ("builtins", "__builtin__"):
            self._functions[f"{module}.bytes"] = Function(_empty_bytes)

    def find_class(self, module: str, name: str) -> Function:
        """The stand-in for a function by which NumPy writes an array."""
        text = f"{module}.{name}"
        if text not in self._functions:
            raise Unsafe(f"names {text if text.isprintable() else ascii(text):.80}")
        return self._functions[text]

    def load_global(self) -> None:
        lines = [self.readline(), self.readline()]
        if not all(line.endswith(b"\n") for line in lines):
            raise EOFError("pickle data was truncated")
        self.append(self.find_class(*(line[:-1].decode("utf-8") for line in lines)))

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Function) or type(arguments) is not tuple:
            raise Unsafe("calls what is no function")
        self._count(BYTES_OF_AN_OBJECT)
        self.append(function.call(*arguments))

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Array):
            _, shape, kind, columns_first, content = state
            target.values = self._array(content, kind, shape, columns_first)
        elif isinstance(target, Type):
            order, *rest = state[1:5]
            if rest != [None, None, None] or order not in ("<", ">", "|", "="):
                raise Unsafe("has an array of records")
            target.code = order + target.code.lstrip("<>|=")
        else:
            raise Unsafe("sets the attributes of an object")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self) -> None:
        self._set(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set(items)

    def load_bytearray8(self) -> None:
        # Read first: the unpickler would make as many zeros as the file says.
        length = int.from_bytes(self.read(8), "little")
        content = self.read(length)
        if len(content) < length:
            raise EOFError("values are missing")
        self.append(bytearray(content))

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise ValueError("a key for what is no dictionary")
        # To hash a tuple in a tuple in a tuple … recurses without limit.
        if not all(type(key) in (str, bytes, int) for key in items[::2]):
            raise ValueError("a key that is neither a text nor a number")
        target.update(zip(items[::2], items[1::2], strict=True))

    def _count(self, size: int) -> None:
        """Values that the file has once must not fill the memory by being used again and again."""
        self._made_bytes += size
        if self._made_bytes > 2 * self._stream.tell() + ROOM_FOR_EMPTY_ARRAYS:
            raise ValueError("values of more bytes than the file has")

    def _encode(self, text: Any, _: Any) -> bytes:
        self._count(len(text))
        encoded: bytes = text.encode("latin-1")
        return encoded

    def _from_buffer(self, content: Any, kind: Any, shape: Any, order: Any) -> Array:
        return Array(self._array(content, kind, shape, order == "F"))

    def _array(self, content: Any, kind: Any, shape: Any, columns_first: Any) -> NDArray[Any]:
        if not isinstance(kind, Type):
            raise ValueError("an array without a type")
        if not isinstance(content, str | bytes | bytearray):  # of a number, bytearray() would make zeros
            raise ValueError("an array whose values are no bytes")
        self._count(len(content))
        # A copy that is the array's own, so that it can be written to.
        own = bytearray(content, "latin-1") if isinstance(content, str) else bytearray(content)
        values: NDArray[Any] = np.frombuffer(own, dtype=np.dtype(kind.code))
        return values.reshape(shape, order="F" if columns_first else "C")


def _refuse(text: str) -> Callable[..., Any]:
    def refuse(*_: Any) -> None:
        raise Unsafe(text)

    return refuse


def _type(code: Any, *_: Any) -> Type:
    code = _text(code)
    if type(code) is not str or not NUMBER_TYPE.fullmatch(code):
        raise Unsafe("has an array of something but numbers")
    return Type(code)


def _empty_bytes(*arguments: Any) -> bytes:
    """How protocols 0 to 2 write them."""
    if arguments:
        raise Unsafe("calls bytes")
    return b""


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


OBJECT_OPCODES = (
    *("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4"),
    *("NEXT_BUFFER", "READONLY_BUFFER", "EMPTY_SET", "ADDITEMS", "FROZENSET"),
)
"""What makes objects in other ways, or hashes what is not checked."""

for opcode in pickletools.opcodes:
    number = ord(opcode.code)
    if opcode.name in OBJECT_OPCODES:
        ArrayUnpickler.dispatch[number] = _refuse(f"makes an object ({opcode.name})")
    elif hasattr(ArrayUnpickler, method := f"load_{opcode.name.lower()}"):
        ArrayUnpickler.dispatch[number] = getattr(ArrayUnpickler, method)
