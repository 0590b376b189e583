"""Diabetes: ten measures of 442 patients and how their disease went on (Efron et al. 2004), a part of scikit-learn."""

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor

from steepest.datasets.data import Data, is_count, require
from steepest.datasets.loader import Batch
from steepest.datasets.records import Records, check_fractions, shuffled_parts


class Diabetes(Data):
    """Batches: (measures float32 [B, 10], progression after a year float32 [B, 1]), both standardised.

    Needs no file and no net. Mean 0 and standard deviation 1 are those of the training part.

    Args:
        validation_fraction, test_fraction: shares of the patients, drawn at random.
        split_seed: of that split, the same for every run seed.
        name: of the data set, for messages.
        eval_batch_size: patients at once in validation and test, which does not change any result.

    Raises:
        ConfigError: a value out of its range.
    """

    input_shape = (10,)
    target_shape = (1,)

    def __init__(
        self, validation_fraction: float, test_fraction: float, split_seed: int, name: str, eval_batch_size: int
    ) -> None:
        super().__init__(name, eval_batch_size)
        require(is_count(split_seed, 0), "split_seed", split_seed, "whole numbers from 0")
        check_fractions(validation_fraction, test_fraction)
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.split_seed = split_seed

    def read(self) -> dict[str, Records]:
        """The three parts."""
        data = load_diabetes(scaled=False)
        measures, progression = torch.from_numpy(data.data), torch.from_numpy(data.target).unsqueeze(1)
        parts = shuffled_parts(len(measures), self.validation_fraction, self.test_fraction, self.split_seed)
        train = parts["train"]
        require(len(train) > 1, "test_fraction", self.test_fraction, "shares that leave two patients to train on")
        columns = [standardised(column, column[train]) for column in (measures, progression)]
        return {name: Records(*(column[part] for column in columns)) for name, part in parts.items()}

    def blank_batch(self, size: int) -> Batch:
        """Measures [size, 10] and progression [size, 1] on the device `meta`."""
        return torch.empty(size, *self.input_shape, device="meta"), torch.empty(size, *self.target_shape, device="meta")


def standardised(column: Tensor, train: Tensor) -> Tensor:
    """A column [N, k] in standard deviations from the mean of its training part, float32."""
    return ((column - train.mean(0)) / train.std(0, correction=0)).float()
