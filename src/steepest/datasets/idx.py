"""The IDX format of MNIST's files (LeCun, Cortes and Burges 1998), unpacked or as gzip."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from steepest.errors import ConfigError


def read_idx(path: Path) -> Tensor:
    """The array of bytes in an IDX file, uint8, of the shape in its header.

    Raises:
        ConfigError: the file is damaged.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zeros, kind, dimensions = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
        if zeros != 0 or kind != 8:  # 8: unsigned bytes
            raise ValueError("it is no IDX file of bytes")
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); delete it and get it again.") from error
    return torch.from_numpy(values.copy())
