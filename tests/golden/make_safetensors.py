"""Writes safetensors_python.safetensors, the file that the C++ reader and writer are held to.

Run by hand, in an environment with:  pip install safetensors==0.8.0 numpy
    python tests/golden/make_safetensors.py
"""

import pathlib

import numpy as np
import safetensors

OUTPUT = pathlib.Path(__file__).parent / "safetensors_python.safetensors"

# name: (dtype as the library calls it, shape, the raw little-endian values)
TENSORS = {
    "f64": ("float64", [2], np.array([1.5, -2.25], "<f8")),
    "f32": ("float32", [2, 3], np.array([0, 1, 2, 3, 4, -5.5], "<f4")),
    "f16": ("float16", [3], np.array([0.5, -1.0, 65504.0], "<f2")),
    "bf16": ("bfloat16", [2], np.array([0x3F80, 0xC040], "<u2")),  # 1, -3
    "i64": ("int64", [1, 2], np.array([2**62, -7], "<i8")),
    "i32": ("int32", [2], np.array([2**31 - 1, -8], "<i4")),
    "i16": ("int16", [2], np.array([-32768, 9], "<i2")),
    "i8": ("int8", [3], np.array([-128, 0, 127], "i1")),
    "u8": ("uint8", [2], np.array([0, 255], "u1")),
    "bool": ("bool", [3], np.array([True, False, True])),
    "scalar": ("float32", [], np.array(3.5, "<f4")),
    "empty": ("float32", [0, 4], np.zeros([0, 4], "<f4")),
    'name "é"/\\\n': ("float32", [1], np.array([-0.0], "<f4")),
}


def main():
    specs = {
        name: safetensors.TensorSpec(
            dtype=dtype, shape=shape, data_ptr=values.ctypes.data, data_len=values.nbytes
        )
        for name, (dtype, shape, values) in TENSORS.items()
    }
    safetensors.serialize_file(specs, OUTPUT, {"format": "pt"})


if __name__ == "__main__":
    main()
