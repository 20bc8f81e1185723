"""A classifier scored on batches, with and without a shuffle: accuracy, KL divergence, CKA of its layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from detector.intervene import without_shuffles
from detector.layers import list_layers

__all__ = ["Batches", "Score", "modes_restored", "score_on", "u_centred_gram"]

Score = float | Tensor
"""A number, or one for each image (N,)."""
Batches = Iterable[tuple[Tensor, Tensor]]
"""Images (N, C, H, W) and labels (N,), several times the same."""

_FEWEST_IMAGES = 4  # in a batch for an unbiased estimate of CKA
_CKA_IMAGES = 1024


@contextmanager
def modes_restored(network: nn.Module) -> Iterator[None]:
    """Restore at the end which modules are in training mode."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def u_centred_gram(features: Tensor) -> Tensor:
    """The U-centred Gram matrix of features (N, …) of at least 4 images, (N, N) float32 on the CPU.

    The sum of the products of two such matrices, divided by N (N − 3), is the unbiased estimate of HSIC by
    Song et al. (2012), "Feature selection via dependence maximization".
    """
    x = features.detach().flatten(1)
    x = x if x.dtype == torch.float64 else x.float()
    x = x - x.mean(0)  # changes nothing but the rounding
    gram, n = (x @ x.T).cpu().double().fill_diagonal_(0), len(x)
    sums = gram.sum(1, keepdim=True) / (n - 2)
    return (gram - sums - sums.T + sums.sum() / (n - 1)).fill_diagonal_(0).float()


class _Similarity:
    """Linear CKA between a network's activations without and with a shuffle, one number for each layer.

    Kornblith et al. (2019), "Similarity of neural network representations revisited", equations 3 and 4, each
    HSIC as the mean of its unbiased estimates on single batches: Nguyen et al. (2021), "Do wide and deep
    networks learn the same things?", section 3. Of each plain batch an N×N matrix a layer is kept in memory.
    """

    def __init__(self, network: nn.Module, images: int) -> None:
        self.network, self.images = network, images
        self.names: dict[str, str] = {}  # of modules, by the name of the measure
        self._plain: list[dict[str, Tensor]] = []
        self._sums: dict[str, list[float]] = {}
        self._seen = self._batch = 0

    @contextmanager
    def watch(self, batch: Tensor, found: dict[str, Tensor]) -> Iterator[None]:
        """Collect what leaves each layer while a batch is run, if it is one of those that count."""
        if not self.names:
            layers = list_layers(self.network, batch[:1])
            self.names = {f"cka[{layer.number}]": layer.name for layer in layers if layer.height}
        with ExitStack() as handles:
            if self._seen < self.images and len(batch) >= _FEWEST_IMAGES:
                for measure, name in self.names.items():

                    def keep(module: nn.Module, inputs: Any, output: Any, measure: str = measure) -> None:
                        first = output[0] if isinstance(output, tuple | list) else output
                        if measure not in found and isinstance(first, Tensor) and len(first) == len(batch):
                            found[measure] = u_centred_gram(first)

                    # First of all hooks: a shortcut's shuffle changes what leaves the layer before it.
                    module = self.network.get_submodule(name)
                    handles.enter_context(module.register_forward_hook(keep, prepend=True))
            yield

    def add(self, found: dict[str, Tensor], logits: Tensor, *, plain: bool) -> None:
        """Count a batch."""
        if self._seen < self.images and len(logits) >= _FEWEST_IMAGES:
            found = {"cka": u_centred_gram(logits), **found}
            if plain:
                self._plain.append(found)
            for measure in found.keys() & self._plain[self._batch].keys():
                x, y, n = self._plain[self._batch][measure], found[measure], len(logits)
                sums = self._sums.setdefault(measure, [0.0, 0.0, 0.0])
                for place, (a, b) in enumerate(((x, y), (x, x), (y, y))):
                    sums[place] += (a * b).sum(dtype=torch.float64).item() / (n * (n - 3))
            self._batch += 1
            self._seen += len(logits)

    def finish(self) -> dict[str, Score]:
        """The similarity of each layer since the last call; NaN where a layer's activations do not vary."""
        found: dict[str, Score] = {}
        for measure in ("cka", *self.names):
            both, x, y = self._sums.get(measure, (0.0, 0.0, 0.0))
            found[measure] = both / math.sqrt(x * y) if x > 0 and y > 0 else math.nan
        self._sums, self._seen, self._batch = {}, 0, 0
        return found


def score_on(
    network: nn.Module,
    batches: Batches,
    by_class: bool | Sequence[str],
    cka: bool | int,
    *,
    measures: Sequence[str] = ("accuracy", "kl"),
) -> Callable[[nn.Module], dict[str, Score]]:
    """A function that scores a classifier on batches, image by image, beside its logits without shuffles.

    The `measures` are some of ``accuracy``, ``accuracy_top5``, ``loss`` (cross-entropy, nats) and ``kl``;
    for the other parameters see :func:`detector.profile`.
    """
    if not isinstance(batches, Iterable) or iter(batches) is batches:
        raise ValueError(
            f"evaluate: found {type(batches).__name__}; expected a function of the network, or batches of "
            "images and labels that can be read several times, as a DataLoader or a list"
        )
    similarity = _Similarity(network, _CKA_IMAGES if cka is True else int(cka)) if cka else None

    @torch.no_grad()
    def run(network: nn.Module, *, plain: bool = False) -> tuple[Tensor, Tensor]:
        device = next((value.device for value in network.parameters()), torch.device("cpu"))
        found: list[tuple[Tensor, Tensor]] = []
        for batch in batches:
            if not (isinstance(batch, tuple | list) and len(batch) == 2):
                raise ValueError(
                    f"evaluate: found a batch of {type(batch).__name__}; expected (images, labels)"
                )
            images, labels = batch
            grams: dict[str, Tensor] = {}
            with similarity.watch(images, grams) if similarity else ExitStack():
                outputs = network(images.to(device))
            logits = getattr(outputs, "logits", outputs)
            if logits.dim() != 2 or labels.shape != logits.shape[:1]:
                sizes = " and ".join("x".join(map(str, x.shape)) for x in (logits, labels))
                raise ValueError(
                    f"evaluate: found outputs and labels of {sizes}; expected (N, classes) and (N,), or a "
                    "function of the network that scores it"
                )
            if similarity:
                similarity.add(grams, logits, plain=plain)
            found.append((logits.double().log_softmax(1).cpu(), labels.cpu()))
        if not found:
            raise ValueError("evaluate: found no images; expected batches of images and labels")
        logits, labels = map(torch.cat, zip(*found, strict=True))
        return logits, labels

    with modes_restored(network), without_shuffles(network):
        usual, expected = run(network.eval(), plain=True)
    if similarity and math.isnan(float(similarity.finish()["cka"])):
        raise ValueError(
            f"cka: found batches of fewer than {_FEWEST_IMAGES} images, or the same output for all; expected "
            "larger batches"
        )
    classes = _class_names(expected, by_class)

    def score(network: nn.Module) -> dict[str, Score]:
        shuffled, labels = run(network)
        if not labels.equal(expected):
            raise ValueError(
                "evaluate: found other labels than in the first pass; expected the same images in the same "
                "order in every pass, as of a DataLoader with shuffle=False"
            )
        correct = (shuffled.argmax(1) == labels).double()
        first = shuffled.topk(min(5, shuffled.shape[1])).indices
        found = {
            "accuracy": correct,
            "accuracy_top5": (first == labels[:, None]).any(1).double(),
            "loss": -shuffled.gather(1, labels[:, None])[:, 0],
            "kl": nn.functional.kl_div(shuffled, usual, reduction="none", log_target=True).sum(1),
        }
        return {
            **{name: found[name] for name in measures},
            **(similarity.finish() if similarity else {}),
            **{f"accuracy[{name}]": correct[labels == label] for label, name in classes.items()},
        }

    return score


def _class_names(labels: Tensor, by_class: bool | Sequence[str]) -> dict[int, str]:
    """The name of each class that has images, if accuracy is asked for by class."""
    if by_class is False:
        return {}
    found = sorted({int(label) for label in labels.tolist()})
    names = [str(label) for label in range(max(found) + 1)] if by_class is True else list(by_class)
    if (
        isinstance(by_class, str)
        or len(set(names)) < len(names)
        or not 0 <= min(found) <= max(found) < len(names)
    ):
        raise ValueError(
            f"by_class: found {by_class!r} for labels from {min(found)} to {max(found)}; expected True, or a "
            "different name for each class from 0"
        )
    return {label: names[label] for label in found}
