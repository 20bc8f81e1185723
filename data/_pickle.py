"""Arrays out of pickle files without unpickling them.

CIFAR-100 and Small-ImageNet are published as pickles, and a pickle is a program: to load one is to run what
its author wrote. Here the opcodes are taken one by one, as :mod:`pickletools` lists them. Those that build
numbers, texts and containers are followed; of the functions that a pickle can name, those few by which NumPy
writes an array are *recognised*, and what they would have done is done by this module. Nothing is imported by
name and nothing that comes from the file is ever called.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from data.records import InputError

__all__ = ["read_pickle"]

EXPECTED = "a pickle of numbers, texts, lists and arrays, as it was published"
_TYPE = re.compile(r"[<>|=]?[biuf][1248]")


@dataclass(frozen=True)
class _Name:
    """A function or class that the pickle names; it stays a name."""

    text: str


@dataclass
class _Type:
    """What stands for a ``numpy.dtype``; its state may add the order of the bytes."""

    code: str


@dataclass
class _Array:
    """What stands for a ``numpy.ndarray``; its state brings the values."""

    values: NDArray[Any] = field(default_factory=lambda: np.zeros(0))


class _Unsafe(Exception):  # noqa: N818
    """The pickle asks for something that is not an array."""


class _Malformed(Exception):  # noqa: N818
    """The pickle is not one."""


_RECONSTRUCT = {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}
_FROM_BUFFER = {f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")}
_NO_BYTES = {"builtins.bytes", "__builtin__.bytes"}  # called without arguments, for an empty array
_NAMES = {*_RECONSTRUCT, *_FROM_BUFFER, *_NO_BYTES, "numpy.ndarray", "numpy.dtype", "_codecs.encode"}


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
    machine = _Machine()
    try:
        # KeyError, IndexError, AttributeError, TypeError: opcodes in an order that no pickler writes.
        for opcode, argument, _ in pickletools.genops(stream):
            machine.step(opcode.name, argument)
        found = machine.stack[-1]
    except _Unsafe as error:
        raise InputError(
            where, f"a pickle that {error}", f"{EXPECTED}: nothing of it was run, do not use this file"
        ) from None
    except (
        _Malformed,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        OverflowError,
        MemoryError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            where, f"a pickle that cannot be read ({reason})", f"{EXPECTED}: fetch it again"
        ) from None
    if not isinstance(found, dict):
        raise InputError(where, f"a pickled {type(found).__name__.strip('_').lower()}", "a dictionary")
    return {
        str(_text(key)): value.values if isinstance(value, _Array) else value for key, value in found.items()
    }


class _Machine:
    """The stack machine that a pickle is a program for, without the opcodes that reach out of it."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Do what one opcode says."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _IGNORED:
            pass
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(argument)] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[int(argument)])
        elif name in _ACTIONS:
            _ACTIONS[name](self)
        elif name == "GLOBAL":
            self.stack.append(_named(*argument.split(" ", 1)))
        else:  # INST, OBJ, NEWOBJ, persistent ids, extension codes, out-of-band buffers
            raise _Unsafe(f"makes an object ({name})")

    def above_mark(self) -> list[Any]:
        """Take what was pushed since the last mark."""
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def take(self, count: int) -> list[Any]:
        """Take the topmost `count`, the lowest first."""
        if len(self.stack) < count:
            raise _Malformed("values are missing")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def append(self, values: list[Any]) -> None:
        """Add to the list on top of the stack."""
        target = self.stack[-1]
        if type(target) is not list:
            raise _Malformed("an append to what is no list")
        target.extend(values)

    def set(self, values: list[Any]) -> None:
        """Add keys and values, alternating, to the dictionary on top of the stack."""
        target = self.stack[-1]
        if type(target) is not dict:
            raise _Malformed("a key for what is no dictionary")
        target.update(_pairs(values))

    def reduce(self) -> None:
        """A call, were this unpickling: recognise the ones that make an array."""
        function, arguments = self.take(2)
        if not isinstance(function, _Name) or type(arguments) is not tuple:
            raise _Unsafe("calls what is no function")
        self.stack.append(_called(function.text, arguments))

    def build(self) -> None:
        """The state of what lies below it."""
        target, state = self.take(2)
        if isinstance(target, _Array):
            _, shape, kind, columns_first, content = state
            target.values = _array(content, kind, shape, columns_first)
        elif isinstance(target, _Type):
            order, *rest = state[1:5]
            if rest != [None, None, None] or order not in ("<", ">", "|", "="):
                raise _Unsafe("has an array of records")
            target.code = order + target.code.lstrip("<>|=")
        else:
            raise _Unsafe("sets the attributes of an object")
        self.stack.append(target)


def _pairs(values: list[Any]) -> dict[Any, Any]:
    keys = values[::2]
    if not all(type(key) in (str, bytes, int) for key in keys):
        raise _Malformed("a key that is neither a text nor a number")
    return dict(zip(keys, values[1::2], strict=True))


def _named(module: Any, name: Any) -> _Name:
    if type(module) is not str or type(name) is not str:
        raise _Malformed("a function whose name is no text")
    text = f"{module}.{name}"
    if text not in _NAMES:
        raise _Unsafe(f"names {text if text.isprintable() else ascii(text):.80}")
    return _Name(text)


def _called(function: str, arguments: tuple[Any, ...]) -> Any:
    if function == "numpy.dtype":
        code = _text(arguments[0])
        if type(code) is not str or not _TYPE.fullmatch(code):
            raise _Unsafe("has an array of something but numbers")
        return _Type(code)
    if function in _RECONSTRUCT:
        return _Array()  # the arguments say no more than that; the state will say what is in it
    if function in _FROM_BUFFER:
        content, kind, shape, order = arguments
        return _Array(_array(content, kind, shape, order == "F"))
    if function == "_codecs.encode":  # how protocols 0 to 2 of Python 3 write bytes
        return arguments[0].encode("latin-1")
    if function in _NO_BYTES and not arguments:
        return b""
    raise _Unsafe(f"calls {function}")


def _array(content: Any, kind: Any, shape: Any, columns_first: Any) -> NDArray[Any]:
    if not isinstance(kind, _Type):
        raise _Malformed("an array without a type")
    if not isinstance(content, str | bytes | bytearray):  # of a number, bytearray() would make so many zeros
        raise _Malformed("an array whose values are no bytes")
    # A copy that is an array's own, so that it can be written to.
    own = bytearray(content, "latin-1") if isinstance(content, str) else bytearray(content)
    values: NDArray[Any] = np.frombuffer(own, dtype=np.dtype(kind.code))
    return values.reshape(shape, order="F" if columns_first else "C")


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


# The opcodes whose argument is the value.
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_IGNORED = {"PROTO", "FRAME", "STOP"}


def _push(make: Callable[[], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(make())


def _pack(make: Callable[[list[Any]], Any], count: int | None = None) -> Callable[[_Machine], None]:
    def pack(machine: _Machine) -> None:
        values = machine.above_mark() if count is None else machine.take(count)
        machine.stack.append(make(values))

    return pack


_ACTIONS: dict[str, Callable[[_Machine], Any]] = {
    "NONE": _push(lambda: None),
    "NEWTRUE": _push(lambda: True),
    "NEWFALSE": _push(lambda: False),
    "EMPTY_LIST": _push(list),
    "EMPTY_DICT": _push(dict),
    "EMPTY_TUPLE": _push(tuple),
    "MARK": lambda machine: machine.marks.append(len(machine.stack)),
    "POP": lambda machine: machine.take(1),
    "POP_MARK": lambda machine: machine.above_mark(),
    "DUP": lambda machine: machine.stack.append(machine.stack[-1]),
    "LIST": _pack(list),
    "TUPLE": _pack(tuple),
    "TUPLE1": _pack(tuple, 1),
    "TUPLE2": _pack(tuple, 2),
    "TUPLE3": _pack(tuple, 3),
    "DICT": _pack(_pairs),
    "APPEND": lambda machine: machine.append(machine.take(1)),
    "APPENDS": lambda machine: machine.append(machine.above_mark()),
    "SETITEM": lambda machine: machine.set(machine.take(2)),
    "SETITEMS": lambda machine: machine.set(machine.above_mark()),
    "STACK_GLOBAL": lambda machine: machine.stack.append(_named(*machine.take(2))),
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
