"""Imports that a run can do without until its first step, or altogether: half of the time to that step."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["lean_imports"]

DYNAMO = "torch._dynamo"
UNUSED = ("transformers", "matplotlib", "scipy", "onnxruntime", "nltk", "librosa", "torchaudio")
"""What torchmetrics imports for metrics and plots that nothing here uses."""
ABSENT = ("huggingface_hub",)
"""What albumentations imports, where it is installed, to exchange augmentations over the network."""
LATE = "scipy.special"
"""What albumentations imports for one transform."""


class _Loaded(Loader):
    """Hands over a module that is loaded already."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = self.module


class _Deferred(ModuleType):
    """A placeholder of a module, with a few functions; anything else of it loads the module."""

    def __init__(self, name: str, **functions: Any) -> None:
        super().__init__(name)
        vars(self).update(functions, __path__=[])
        if name not in sys.modules:
            sys.modules[name] = self

    @property
    def _loaded(self) -> bool:
        return sys.modules.get(self.__name__) is not self

    def _load(self) -> ModuleType:
        """The module; it and its parts replace their placeholders."""
        if not self._loaded:
            for name in [name for name in sys.modules if f"{name}.".startswith(f"{self.__name__}.")]:
                del sys.modules[name]
            package, _, name = self.__name__.rpartition(".")
            vars(sys.modules[package]).pop(name, None)
        return import_module(self.__name__)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._load(), name)


class _Finder:
    """Finds the parts of a deferred module, loaded then; says that `ABSENT` are not installed."""

    lean = True

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if self.lean and name in ABSENT:
            raise ModuleNotFoundError(f"{name} is not used here", name=name)
        package = sys.modules.get(name.rpartition(".")[0])
        if not isinstance(package, _Deferred):
            return None
        package._load()
        return ModuleSpec(name, _Loaded(import_module(name)))


class _OfCompiler(type):
    """Of a class that has no instances before the compiler is loaded."""

    def __instancecheck__(cls, instance: object) -> bool:
        found: Any = vars(sys.modules[DYNAMO]).get(cls.__name__)
        return found is not cls and isinstance(instance, found)


class OptimizedModule(metaclass=_OfCompiler):
    """The placeholder of the compiler's class of this name."""


def _defer_compiler() -> None:
    """Load torch's compiler when something is compiled.

    Optimizers, torchvision and Lightning import it, and sympy with it, only to say "do not compile this" or
    to ask whether something is compiled.
    """

    def is_compile_supported(device: str) -> bool:
        return bool(compiler._load().utils.is_compile_supported(device))

    def graph_break() -> None:
        if compiler._loaded:
            compiler._load().graph_break()

    def disable(function: Callable[..., Any], *arguments: Any, **named: Any) -> Callable[..., Any]:
        disabled: list[Callable[..., Any]] = []

        def call(*inputs: Any, **named_inputs: Any) -> Any:
            if compiler._loaded and not disabled:
                disabled.append(compiler._load().disable(function, *arguments, **named))
            return (disabled or [function])[0](*inputs, **named_inputs)

        return call

    compiler = _Deferred(
        DYNAMO,
        utils=_Deferred(f"{DYNAMO}.utils", is_compile_supported=is_compile_supported),
        graph_break=graph_break,
        disable=disable,
        OptimizedModule=OptimizedModule,
    )
    vars(sys.modules["torch"])["_dynamo"] = compiler


@contextmanager
def lean_imports() -> Iterator[None]:
    """Import Lightning, torchvision and albumentations without what a run does not use.

    Transformers, matplotlib, scipy.special, the Hugging Face hub and torch's compiler took more than half of
    the time to the first training step. They can be imported as ever afterwards. The garbage collector finds
    nothing in imports.
    """
    import torch  # noqa: F401  # its compiler comes after it
    from lightning_utilities.core import imports

    original, package_available = imports.RequirementCache.__bool__, imports.package_available
    collects, finder = gc.isenabled(), _Finder()
    gc.disable()
    sys.meta_path.insert(0, finder)
    if DYNAMO not in sys.modules:
        _defer_compiler()
    _Deferred(LATE)
    imports.RequirementCache.__bool__ = lambda cache: (  # type: ignore[method-assign,assignment]
        not str(cache.requirement).startswith(UNUSED) and original(cache)
    )
    imports.package_available = lambda name: (  # type: ignore[assignment]
        name not in UNUSED and package_available(name)
    )
    try:
        yield
    finally:
        finder.lean = False
        imports.RequirementCache.__bool__ = original  # type: ignore[method-assign]
        imports.package_available = package_available
        if collects:
            gc.enable()
