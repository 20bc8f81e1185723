"""The one-hidden-layer perceptron that the paper compares with (section 4.1)."""

from __future__ import annotations

from torch import Tensor, nn

from detector.backbone import normalize

__all__ = ["Perceptron", "perceptron"]


class Perceptron(nn.Module):
    """Pixels, one hidden layer with ReLU, classes. It has no layer that could be shuffled.

    Parameters
    ----------
    num_classes
        Outputs.
    hidden
        Hidden units; the paper has 512 and reaches 25.61 % on CIFAR-100.
    image_size
        Side of the square RGB images, in pixels.
    """

    def __init__(self, num_classes: int = 100, hidden: int = 512, image_size: int = 32) -> None:
        super().__init__()
        self.image_size = image_size
        self.num_classes = num_classes
        self.hidden = nn.Linear(3 * image_size**2, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(hidden, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits ``(N, num_classes)`` of images ``(N, 3, H, W)``, normalised or uint8."""
        return self.fc(self.relu(self.hidden(normalize(images).flatten(1))))  # type: ignore[no-any-return]


def perceptron(num_classes: int = 100, *, hidden: int = 512, image_size: int = 32) -> Perceptron:
    """The perceptron of section 4.1: 512 hidden units. See :class:`Perceptron`.

    Examples
    --------
    >>> sum(parameter.numel() for parameter in perceptron().parameters())
    1624676
    """
    return Perceptron(num_classes, hidden, image_size)
