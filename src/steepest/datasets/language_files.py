"""Texts in files, for language modelling."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steepest.datasets.language_data import LanguageData
from steepest.datasets.text_files import TABLES, TextFiles
from steepest.datasets.text_rows import blocks
from steepest.datasets.text_streams import PIECE, Stream
from steepest.errors import ConfigError


class LanguageFiles(LanguageData):
    """Plain texts in UTF-8, or a column of Parquet, Arrow (`datasets`), CSV, TSV and JSON lines.

    Files whose names hold train, valid (val, validation, dev) or test are these parts; where none has such a name, all
    of them, one after the other, are the training text, and the other parts are cut from it.

    Args:
        path, origin, hub_dir: of `TextFiles`.
        text_column: of tables.
        row_end: ends each row of a table that does not end so itself; with tokenizer=bpe, <|endoftext|> is a token.
        tokenizer, vocab_size, min_count, context_length, eval_stride, validation_fraction, test_fraction, cache_dir,
            name, eval_batch_size: of `LanguageData`.
    """

    def __init__(
        self,
        path: str | None,
        origin: str | list[str] | None,
        hub_dir: str,
        text_column: str,
        row_end: str,
        tokenizer: str,
        vocab_size: int | None,
        min_count: int,
        context_length: int,
        eval_stride: int | None,
        validation_fraction: float,
        test_fraction: float,
        cache_dir: str,
        name: str,
        eval_batch_size: int,
    ) -> None:
        super().__init__(
            tokenizer,
            vocab_size,
            min_count,
            context_length,
            eval_stride,
            validation_fraction,
            test_fraction,
            cache_dir,
            name,
            eval_batch_size,
        )
        self.files = TextFiles(name, path, origin, hub_dir)
        self.text_column = text_column
        self.row_end = row_end

    @property
    def location(self) -> Path:
        """Where the files lie or belong."""
        return self.files.location

    def download(self) -> None:
        """Get the files from the net."""
        self.files.download()

    def decides(self) -> list[Any]:
        """The files' states, and how their rows become a text."""
        return [self.files.state(), self.text_column, self.row_end]

    def streams(self) -> dict[str, Stream]:
        """The texts of the parts that have files."""
        return {part: self._stream(files) for part, files in self.files.parts().items()}

    def _stream(self, files: list[Path]) -> Stream:
        return lambda: (chunk for file in files for chunk in self._read(file))

    def _read(self, file: Path) -> Iterator[str]:
        if file.suffix not in TABLES:
            yield from read_text(file)
            return
        for block in blocks(file, {"text_column": self.text_column}):
            texts = (self._text(value, file) for value in block[self.text_column])
            yield "".join(text if text.endswith(self.row_end) else text + self.row_end for text in texts)

    def _text(self, value: Any, file: Path) -> str:
        if value is not None and not isinstance(value, str):
            raise ConfigError(
                f"dataset.text_column={self.text_column} of {file} holds {type(value).__name__}; allowed is text."
            )
        return value or ""


def read_text(file: Path) -> Iterator[str]:
    """A file's text as it is, some characters at a time.

    Raises:
        ConfigError: it is not UTF-8, or cannot be read.
    """
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            while chunk := stream.read(PIECE):
                yield chunk
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as text ({error}); allowed are files in UTF-8.") from error
