"""Reads and writes safetensors files with nothing but Python: names, types, shapes and bytes.

A file is the length of its header (8 bytes, little-endian), the header as JSON, and the tensors' bytes.
"""

import json
import math
import struct
from collections import namedtuple

# A tensor: its type by the format's name (F32, I32, ...), its extents, its little-endian bytes.
Tensor = namedtuple("Tensor", "dtype shape data")
SIZES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I64": 8, "I32": 4, "U8": 1, "I8": 1, "BOOL": 1}


def load(path):
    """Name -> Tensor. Raises ValueError for a file that is none of the format, or cut short."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            part = data[8 + length + begin : 8 + length + end]
            if len(part) != math.prod(entry["shape"]) * SIZES[entry["dtype"]]:
                raise ValueError(f"{name} is cut short")
            tensors[name] = Tensor(entry["dtype"], tuple(entry["shape"]), part)
        return tensors
    except (struct.error, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not a safetensors file, or a damaged one ({error})") from error


def metadata(path):
    """The header's free strings, name -> text."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length)).get("__metadata__", {})


def save(path, tensors):
    """Writes name -> Tensor."""
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _dtype, _shape, data in tensors.values():
            file.write(data)


def as_numpy(tensors):
    """Name -> array, for types that numpy has."""
    import numpy as np

    types = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1"}
    return {name: np.frombuffer(t.data, types[t.dtype]).reshape(t.shape) for name, t in tensors.items()}
