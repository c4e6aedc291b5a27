# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Hostile values for every field of a ROS message, the same for the same seed."""

from __future__ import annotations

import array
import importlib
import random
import re
from typing import Any

FLOATS = (float("nan"), float("inf"), float("-inf"), 0.0, -0.0, -1.0, 1e-45, 1e30, -3e38, 0.5)
WORDS = (
    "", "\x00", " ", "%s%n%d", "x" * 1_000_000, "\u202e\U0001f916\n\r\x1b[31m", "../../..",
    "/dev/full", "/proc/self/mem", "~nobody/x", "a/" * 2000, "bgr8", "mono16", "16UC1", "-1",
    "bayer_rggb8; jpeg compressed ", "rgb8; png compressed ", "plumb_bob", "fisheye",
)  # fmt: skip
ENCODINGS = (
    "bgr8", "rgb8", "bgra8", "rgba8", "mono8", "mono16", "8UC1", "8UC3", "16UC1", "16SC1", "32FC1",
    "64FC4", "bgr16", "rgba16", "bayer_rggb8", "bayer_grbg8", "bayer_bggr16", "yuv422", "uyvy",
    "yuv422_yuy2", "nv12", "nv21", "nv24", "", "none",
)  # fmt: skip
LENGTHS = (0, 1, 2, 3, 7, 257, 5000, 100_000)
SIGNED = {f"int{bits}": (code, bits) for bits, code in ((8, "b"), (16, "h"), (32, "i"), (64, "q"))}
UNSIGNED = {"u" + name: (code.upper(), bits) for name, (code, bits) in SIGNED.items()}
REALS = {"float": "f", "double": "d"}


class Hostile:
    """Draws values that no well-meaning sender would choose, but that a message can carry."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def spoil(self, message: Any, fields: int) -> Any:
        """The message with that many of its fields, at any depth, replaced by hostile values."""
        for _ in range(fields if message.get_fields_and_field_types() else 0):
            self._spoil_one(message)
        return message

    def value(self, kind: str) -> Any:
        """A value for a field of this type, in the words of get_fields_and_field_types()."""
        if match := re.fullmatch(r"(.+)\[(\d+)\]", kind):
            return self._array(match[1], int(match[2]))
        if match := re.fullmatch(r"sequence<(.+?)(?:, (\d+))?>", kind):
            length = self.rng.choice(LENGTHS)
            return self._array(match[1], min(length, int(match[2] or length)))
        if kind in UNSIGNED or kind in SIGNED:
            bits = (UNSIGNED | SIGNED)[kind][1]
            low, high = (
                (0, 2**bits - 1) if kind in UNSIGNED else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            )
            drawn = self.rng.choice(
                (low, high, low + 1, high - 1, 0, 1, 2, self.rng.getrandbits(bits - 1))
            )
            return min(max(drawn, low), high)
        if kind in REALS:
            return self.rng.choice((*FLOATS, self.rng.gauss(0, 100)))
        if kind == "boolean":
            return self.rng.random() < 0.5
        if kind.startswith("string"):
            return self.rng.choice(WORDS)
        if kind == "octet":
            return bytes([self.rng.randrange(256)])
        package, name = kind.split("/")
        module = importlib.import_module(f"{package}.msg")
        return self.spoil(getattr(module, name)(), self.rng.randrange(4))

    def _array(self, kind: str, length: int) -> Any:
        code = REALS.get(kind) or (UNSIGNED | SIGNED).get(kind, ("", 0))[0]
        if code:
            some = [self.value(kind) for _ in range(min(length, 20))] or [0]
            return array.array(code, (some * (length // len(some) + 1))[:length])
        length = min(length, 8)  # each may be large
        return [self.value(kind) for _ in range(length)]

    def _spoil_one(self, message: Any) -> None:
        while True:
            name, kind = self.rng.choice(list(message.get_fields_and_field_types().items()))
            inner = getattr(message, name)
            nested = getattr(inner, "get_fields_and_field_types", dict)()
            if not nested or self.rng.random() < 0.1:
                break
            message = inner
        setattr(message, name, self.value(kind))
