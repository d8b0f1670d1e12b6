"""Reads and writes safetensors files (https://github.com/huggingface/safetensors).

A file is: the header's length (8 bytes, little endian), the header (JSON: name -> type, shape,
offsets), the tensors' bytes. The header's `__metadata__` maps strings to strings; we keep the
detector's architecture there, and values that are not strings as JSON text.
"""
import json
import os
import struct

import numpy as np
import torch

MAX_HEADER = 1 << 24
TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
NAMES = {kind: name for name, kind in TYPES.items()}


def _bytes_of(tensor):
    """The tensor's bytes; numpy knows no bfloat16, so 2-byte types travel as int16."""
    tensor = tensor.detach().contiguous().cpu()
    return (tensor.view(torch.int16) if tensor.element_size() == 2 else tensor).numpy().tobytes()


def _tensor_of(data, entry):
    kind = TYPES[entry["dtype"]]
    raw = np.frombuffer(data, np.float32 if kind == torch.float32 else np.int16).copy()
    return torch.from_numpy(raw).view(kind).reshape(entry["shape"])


def read(path):
    """(tensors by name in the types they are stored in, metadata with JSON values parsed).

    Raises ValueError that names the file where it is no safetensors file or has other types.
    """
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER + 1
        if length > MAX_HEADER:
            raise ValueError(f"{path}: is not a safetensors file")
        try:
            entries = json.loads(file.read(length))
        except ValueError:
            entries = None
        if not isinstance(entries, dict):
            raise ValueError(f"{path}: is not a safetensors file")
        data = file.read()
    metadata = {key: _parsed(value) for key, value in entries.pop("__metadata__", {}).items()}
    tensors = {}
    for name, entry in entries.items():
        if entry["dtype"] not in TYPES:
            raise ValueError(f"{path}: tensor {name} has type {entry['dtype']}; only "
                             f"{', '.join(TYPES)} are supported")
        first, last = entry["data_offsets"]
        try:
            tensors[name] = _tensor_of(data[first:last], entry)
        except (RuntimeError, ValueError) as problem:
            raise ValueError(f"{path}: tensor {name} does not fit the file") from problem
    return tensors, metadata


def _parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def write(path, tensors, metadata):
    """Writes the tensors, in the types they have, and the metadata; the file appears whole."""
    header, chunks, offset = {}, [], 0
    header["__metadata__"] = {key: value if isinstance(value, str) else json.dumps(value)
                              for key, value in metadata.items()}
    for name, tensor in tensors.items():
        chunk = _bytes_of(tensor)
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + len(chunk)]}
        chunks.append(chunk)
        offset += len(chunk)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = f"{path}.part"
    with open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
