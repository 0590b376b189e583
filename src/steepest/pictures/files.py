"""The files that pictures become."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Picture = Any
"""A matplotlib Figure, a list of frames (uint8 [H, W, 3], all of one size), or a text."""


def save(
    folder: Path, name: str, picture: Picture, write: Callable[[Path, Callable[[BinaryIO], object]], object]
) -> Path:
    """Write a picture into a folder: `<name>.png`, `<name>.gif` or `<name>.txt`. Returns the file.

    Args:
        folder: where it lies.
        name: what is no letter, digit, point or hyphen in it becomes an underscore.
        picture: figure, frames or text.
        write: puts what a function writes in place as a whole, such as `runs.files.write_atomically`.

    Raises:
        ValueError: frames of other shapes, or none.
    """
    if isinstance(picture, str):
        suffix, writer = "txt", text_writer(picture)
    elif hasattr(picture, "savefig"):
        suffix, writer = "png", figure_writer(picture)
    else:
        suffix, writer = "gif", frames_writer(picture)
    path = folder / f"{file_name(name)}.{suffix}"
    write(path, writer)
    return path


def file_name(name: str) -> str:
    """The name, safe as a file's on any system; never empty, hidden, or longer than 80 letters."""
    return re.sub(r"(\.{2,}|[^\w.-])+", "_", name, flags=re.ASCII).strip("._")[:80] or "picture"


def figure_writer(figure: "Figure") -> Callable[[BinaryIO], object]:
    """What writes a figure as PNG, without the version of its maker, so that equal figures are equal files."""
    return lambda file: figure.savefig(
        file, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 4}
    )


def text_writer(text: str) -> Callable[[BinaryIO], object]:
    """What writes a text in UTF-8."""
    return lambda file: file.write(text.encode(errors="replace"))


def frames_writer(frames: Sequence[Any], per_second: float = 30.0) -> Callable[[BinaryIO], object]:
    """What writes frames as an animated GIF that repeats for ever; its unit of time is 1/100 s.

    Raises:
        ValueError: frames of other shapes, or none.
    """
    import numpy as np
    from PIL import Image

    arrays = [np.asarray(frame) for frame in frames]
    shapes = {(array.shape, str(array.dtype)) for array in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 3 or arrays[0].shape[2] != 3 or arrays[0].dtype != np.uint8:
        raise ValueError(f"frames of {sorted(shapes)}; allowed is a list of uint8 [H, W, 3], all of one size")
    pages = [Image.fromarray(array).quantize(64, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
             for array in arrays]  # fmt: skip
    hundredths = max(2, round(100 / per_second))
    options: dict[str, Any] = {"save_all": True, "append_images": pages[1:], "duration": 10 * hundredths, "loop": 0}
    return lambda file: pages[0].save(file, format="GIF", **options)
