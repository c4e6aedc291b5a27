# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's battery: four lithium cells that run down in one drive, as a driver reports them."""

from __future__ import annotations

import dataclasses

import numpy as np

BATTERY_HZ = 2
BOOT_MESSAGES = 2  # drivers report zeros until they have a first reading
FULL, LEFT = 1.0, 0.1  # charge at the start and at the end
CELLS, EMPTY_V, SPAN_V = 4, 3.3, 0.85  # open-circuit volts of a cell: EMPTY_V + SPAN_V * charge
RESISTANCE_OHM = 0.06
IDLE_A, DRIVE_A = 2.0, 4.0  # amperes when standing, and in addition per m/s
CAPACITY_AH = 5.2


@dataclasses.dataclass(frozen=True)
class Reading:
    """One report of the battery."""

    stamp_s: float
    percentage: float  # 0 to 1
    voltage: float  # V
    current: float  # A, negative while discharging


def readings(times: np.ndarray, speeds: np.ndarray, seed: int) -> list[Reading]:
    """The reports over a drive at rising `times` (N,) s and `speeds` (N,) m/s.

    Hours of driving are compressed into one drive: the charge is scaled to end at LEFT.
    """
    rng = np.random.default_rng(seed)
    current = IDLE_A + DRIVE_A * np.abs(speeds)
    drawn = np.concatenate([[0.0], np.cumsum(np.diff(times) * current[1:])])
    charge = FULL - (FULL - LEFT) * drawn / drawn[-1]
    reports = []
    for k, stamp in enumerate(np.arange(0.0, times[-1], 1.0 / BATTERY_HZ)):
        if k < BOOT_MESSAGES:
            reports.append(Reading(float(stamp), 0.0, 0.0, 0.0))
            continue
        level, amperes = (float(np.interp(stamp, times, v)) for v in (charge, current))
        open_v = CELLS * (EMPTY_V + SPAN_V * level)
        voltage = open_v - RESISTANCE_OHM * amperes + float(rng.normal(0.0, 0.03))
        reports.append(Reading(float(stamp), level, voltage, -amperes))
    return reports
