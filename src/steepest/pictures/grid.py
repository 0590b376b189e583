"""Many small images in one picture."""

from typing import TYPE_CHECKING, Any

from steepest.pictures.look import DPI, INK, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL, GAP, MARGIN, HEADING = 64, 4, 12, 34  # dots


def image_grid(images: Any, columns: int, title: str) -> "Figure":
    """Images in rows of `columns`, each of its pixels a square of whole dots.

    Args:
        images: [N, C, H, W] or [N, H, W], an array or a tensor, C 1 (grey) or 3 (red, green, blue). Whole numbers from
            0 to 255; or floats from 0 to 1, or from -1 to 1 if one of them is below 0.
        columns: how many stand in a row.
        title: stands above them.

    Raises:
        ValueError: images of another shape, or none.
    """
    import numpy as np

    pixels = as_pixels(images)
    count, height, width, _ = pixels.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    scale = max(1, round(CELL / max(height, width)))
    tall, wide = height * scale + GAP, width * scale + GAP
    canvas = np.full((rows * tall - GAP, columns * wide - GAP, 3), 255, np.uint8)
    for number, image in enumerate(pixels):
        top, left = number // columns * tall, number % columns * wide
        large = image.repeat(scale, 0).repeat(scale, 1)
        canvas[top : top + height * scale, left : left + width * scale] = large
    full = (canvas.shape[1] + 2 * MARGIN, canvas.shape[0] + MARGIN + HEADING)
    least = round(7.5 * len(title)) + 2 * MARGIN  # so that the title fits
    total = (max(full[0], least), full[1])
    figure = new_figure(total[0] / DPI, total[1] / DPI, layout=None)
    place = (MARGIN / total[0], MARGIN / total[1], canvas.shape[1] / total[0], canvas.shape[0] / total[1])
    panel = figure.add_axes(place)
    panel.imshow(canvas, interpolation="nearest", aspect="auto")
    panel.set_axis_off()
    figure.text(MARGIN / total[0], 1 - 22 / total[1], title, fontsize=10, fontweight="bold", color=INK)
    return figure


def as_pixels(images: Any) -> Any:
    """The images as uint8 [N, H, W, 3].

    Raises:
        ValueError: of another shape, or none.
    """
    import numpy as np

    if hasattr(images, "detach"):  # a tensor
        images = images.detach().cpu()
        images = images.float() if images.is_floating_point() else images
    found = np.asarray(images)
    if found.ndim == 3:
        found = found[:, None]
    if found.ndim != 4 or found.shape[1] not in (1, 3) or not found.size:
        raise ValueError(f"images of shape {list(found.shape)}; allowed are [N, C, H, W] and [N, H, W], C 1 or 3")
    if found.dtype.kind == "f":
        found = np.nan_to_num(found.astype(np.float32))
        found = (found + 1) / 2 if found.min() < 0 else found
        found = (found.clip(0, 1) * 255).round()
    return np.broadcast_to(found.clip(0, 255), (len(found), 3, *found.shape[2:])).transpose(0, 2, 3, 1).astype(np.uint8)
