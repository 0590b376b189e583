"""Texts with a class each, in tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steepest.datasets.data import require
from steepest.datasets.text_files import TextFiles
from steepest.datasets.text_labelled import LabelledData, Rows
from steepest.datasets.text_rows import blocks, names_of_classes
from steepest.errors import ConfigError, listed

PARTS = ("train", "validation", "test")


class LabelledFiles(LabelledData):
    """CSV, TSV, JSON lines, Parquet or Arrow (`datasets`) with a column of texts and a column of labels.

    Args:
        path, origin, hub_dir: of `TextFiles`.
        text_column: of texts.
        label_column: of names, or of numbers from 0.
        class_names: null: those that the data has.
        validation_part: of the files; null: held out of the training part.
        test_part: of the files.
        tokenizer, lowercase, vocab_size, min_count, context_length, word_dropout, validation_fraction, split_seed,
            cache_dir, name, eval_batch_size: of `LabelledData`.
    """

    def __init__(
        self,
        path: str | None,
        origin: str | list[str] | None,
        hub_dir: str,
        text_column: str,
        label_column: str,
        class_names: Sequence[str] | None,
        validation_part: str | None,
        test_part: str,
        tokenizer: str,
        lowercase: bool,
        vocab_size: int | None,
        min_count: int,
        context_length: int,
        word_dropout: float,
        validation_fraction: float,
        split_seed: int,
        cache_dir: str,
        name: str,
        eval_batch_size: int,
    ) -> None:
        super().__init__(
            tokenizer,
            lowercase,
            vocab_size,
            min_count,
            context_length,
            word_dropout,
            validation_fraction,
            split_seed,
            cache_dir,
            name,
            eval_batch_size,
        )
        others = PARTS[1:]
        require(validation_part in (None, *others), "validation_part", validation_part, f"null, {listed(others)}")
        require(test_part in others, "test_part", test_part, listed(others))
        unique = class_names is None or len({*class_names}) == len(class_names) > 1
        require(unique, "class_names", class_names, "null and lists of two or more different names")
        self.files = TextFiles(name, path, origin, hub_dir)
        self.text_column = text_column
        self.label_column = label_column
        self.given_class_names = class_names
        self.chosen = {"train": "train", "test": test_part} | ({"val": validation_part} if validation_part else {})

    @property
    def location(self) -> Path:
        """Where the files lie or belong."""
        return self.files.location

    def download(self) -> None:
        """Get the files from the net."""
        self.files.download()

    def decides(self) -> list[Any]:
        """The files' states, and what of them is read."""
        names = None if self.given_class_names is None else list(self.given_class_names)
        return [self.files.state(), self.text_column, self.label_column, names, self.chosen]

    def rows(self) -> tuple[dict[str, Rows], Sequence[str] | None]:
        """The rows of the parts, and the names that the configuration or `datasets` gives to the classes."""
        found = self.files.parts()
        for part, wanted in self.chosen.items():
            if wanted not in found:
                key = {"val": "validation_part", "test": "test_part"}[part]
                raise ConfigError(
                    f"dataset.{key}={wanted} is not among the files under {self.location}, which hold "
                    f"{listed(found)}; allowed are files with such a name, and another part."
                )
        rows = {part: self._rows(found[wanted]) for part, wanted in self.chosen.items()}
        names = self.given_class_names
        return rows, names_of_classes(found["train"][0], self.label_column) if names is None else names

    def _rows(self, files: Sequence[Path]) -> Rows:
        rows = Rows([], [])
        columns = {"text_column": self.text_column, "label_column": self.label_column}
        for file in files:
            for block in blocks(file, columns):
                for text in block[self.text_column]:
                    if not isinstance(text, str):
                        raise ConfigError(
                            f"dataset.text_column={self.text_column} of {file} holds something else than texts in row "
                            f"{len(rows.texts)} ({text!r}); allowed are texts only."
                        )
                    rows.texts.append(text)
                rows.labels += block[self.label_column]
        return rows
