"""Digits: 1,797 grey 8 x 8 images of handwritten digits (Alpaydin and Kaynak 1998), a part of scikit-learn."""

import torch
from sklearn.datasets import load_digits

from steepest.datasets.examples import Source
from steepest.datasets.images import ImageData
from steepest.datasets.memory import MemoryImages
from steepest.datasets.order import holdout

TEST_FRACTION = 0.2
TEST_SEED = 0  # the test set is part of what this data set is, so no option changes it


class Digits(ImageData):
    """Needs no file and no net. A fifth of the images, drawn at random once and for all, is the test set."""

    def read_source(self) -> Source:
        """All images, with their 17 grey levels spread over 0 to 255."""
        digits = load_digits()
        levels = torch.from_numpy(digits.images).unsqueeze(1)
        examples = MemoryImages((levels * (255 / 16)).round().to(torch.uint8), torch.from_numpy(digits.target).long())
        train, test = holdout(len(examples), TEST_FRACTION, TEST_SEED)
        return Source(examples.subset(train), examples.subset(test), [str(name) for name in digits.target_names])
