# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""16-bit images whose cameras use fewer bits: which values are black and white.

Drivers put 10, 12 or 14 bits into mono16, and thermal cameras use a narrow band far from zero. No
field of the message says so, so the range must be measured, and the brightness of a picture must
not change because something bright comes into view.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

BITS = (8, 10, 12, 14, 16)  # of real sensors
SAMPLE = 20_000  # pixels that are looked at
EXTREME = 0.5  # % of the pixels that may lie outside at either end: hot pixels, lamps
NARROW = 1 / 8  # share of the sensor's range; a narrower band, as far above zero, is thermal
NARROWEST = 1 / 128  # share of the sensor's range; stretched further, noise looks like structure
WITNESSES = 3  # successive images that must ask for another range


class ValueRange:
    """The values of one camera that become 0 and 255.

    The range has as many bits as the largest values need and starts at zero, as with an 8-bit
    driver, so that a dark room stays dark. If all values are in a narrow band far above zero,
    twice this band is used. The range is kept as long as the images fit into it and fill an eighth
    of it; it changes when three in a row do not.
    """

    def __init__(self) -> None:
        self.black, self.white = 0, 0
        self._bits = 0
        self._misfits = 0

    def to_8_bits(self, values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
        """Values (H, W) or (H, W, 3) scaled to 0..255."""
        step = max(1, round((values.size / SAMPLE) ** 0.5))
        low, high = np.percentile(values[::step, ::step], (EXTREME, 100 - EXTREME))
        if self._fits(float(low), float(high)):
            self._misfits = 0
        else:
            self._misfits += 1
            if not self.white or self._misfits >= WITNESSES:
                self._fit(float(low), float(high))
        shifted = np.maximum(values, np.uint16(self.black)) - np.uint16(self.black)
        alpha = 255.0 / (self.white - self.black)
        return np.asarray(cv2.convertScaleAbs(shifted, alpha=alpha), np.uint8)

    def _fits(self, low: float, high: float) -> bool:
        if not self.white or high > self.white:
            return False
        wanted = self._range(low, high, self._bits)
        filled = low >= self.black and high - low >= NARROW * (self.white - self.black)
        return filled or wanted == (self.black, self.white)

    def _fit(self, low: float, high: float) -> None:
        self._bits = max(self._bits, next(bits for bits in BITS if high < 2**bits))
        self.black, self.white = self._range(low, high, self._bits)
        self._misfits = 0

    @staticmethod
    def _range(low: float, high: float, bits: int) -> tuple[int, int]:
        full = 2**bits - 1
        if low < NARROW * full or high - low >= NARROW * full:
            return 0, full
        half = max(high - low, NARROWEST * full / 2)
        return round(max(0, (low + high) / 2 - half)), round((low + high) / 2 + half)
