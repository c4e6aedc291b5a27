# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled operators: where they are, and whether a model can use them."""

from __future__ import annotations

import ctypes
import dataclasses
import mmap
import os
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[1] / "kernels"
LIBRARY = KERNELS / "libvpr_kernels.so"
NOTE = KERNELS / "not_built.txt"  # written by `kernels/build.py`
SWITCH = "VPR_KERNELS"  # environment variable; "off": use stock operators
THREADS_SETTING = "vpr_ros.threads"  # tells the operators a session's number of threads

# Operators of domain `vpr_ros` in model files (see the room `export`).
NAMES = (b"TernaryLinear", b"Int8Linear")


@dataclasses.dataclass(frozen=True)
class Operators:
    """The implementation that runs the operators of domain `vpr_ros` in a session."""

    words: str  # which, and why, for people
    library: Path | None = None  # None: stock operators


def find_operators(model: Path, library: Path = LIBRARY) -> Operators:
    """The compiled operators if `library` exists and works and `model` uses them.

    The environment variable VPR_KERNELS=off disables them.
    """
    if os.environ.get(SWITCH, "").lower() in ("off", "0", "no"):
        return stock(f"{SWITCH}={os.environ[SWITCH]}")
    if not _has_operators(model):
        return stock("this model needs no others")
    if not library.is_file():
        note = library.with_name(NOTE.name)
        reason = note.read_text().strip() if note.is_file() else "see vpr_ros/kernels/build.py"
        return stock(f"no library, {reason}")
    try:
        ask = ctypes.CDLL(str(library)).vpr_kernels_isa
    except (OSError, AttributeError) as error:
        return stock(f"the library does not load: {error}")
    ask.restype = ctypes.c_char_p
    isa = ask()
    if isa is None:
        return stock("VPR_ROS_KERNELS_ISA requests an instruction set this CPU lacks")
    return Operators(f"compiled operators, {isa.decode()}", library)


def stock(reason: str) -> Operators:
    """The stock operators of onnxruntime."""
    return Operators(f"stock operators: {reason}")


def release_free_memory() -> None:
    """Return memory freed after loading a model to the system; glibc would keep it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _has_operators(model: Path) -> bool:
    with open(model, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(name) >= 0 for name in NAMES)
