# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Battery state to sparsity: a low-pass filter, then levels with hysteresis."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import ClassVar

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError

# Levels of a model whose file names none.
UNMEASURED = (0.2, 0.4)


class PowerSupply(enum.IntEnum):
    """sensor_msgs/BatteryState.power_supply_status."""

    UNKNOWN = 0
    CHARGING = 1
    DISCHARGING = 2
    NOT_CHARGING = 3
    FULL = 4


@dataclasses.dataclass(frozen=True)
class BatteryReading:
    """The fields of a sensor_msgs/BatteryState that are used."""

    stamp_s: float
    percentage: float  # 0 to 1 by its definition; many drivers send 0 to 100, or NaN
    voltage: float = math.nan  # V
    status: int = PowerSupply.UNKNOWN
    present: bool = True


@dataclasses.dataclass(frozen=True)
class BatteryConfig(Config):
    """How the battery's charge sets the sparsity.

    A model's own levels are the fastest sparsities that cost at most 1 and 3 points of R@1 in a
    map made at sparsity 0 (docs/results.md). The charge limits depend on the robot.
    """

    group: ClassVar[str] = "battery"

    sparsity_high: float = param(
        0.0, "sparsity while the battery is well charged or charging", minimum=0.0, maximum=0.95
    )
    sparsity_medium: float = param(
        -1.0,
        "sparsity at charges below battery.charge_medium; -1: the level in the model file",
        minimum=-1.0,
        maximum=0.95,
    )
    sparsity_low: float = param(
        -1.0,
        "sparsity at charges below battery.charge_low; -1: the level in the model file",
        minimum=-1.0,
        maximum=0.95,
    )
    charge_medium: float = param(
        0.5,
        "charge (0 to 1) below which battery.sparsity_medium applies",
        minimum=0.0,
        maximum=1.0,
    )
    charge_low: float = param(
        0.2, "charge (0 to 1) below which battery.sparsity_low applies", minimum=0.0, maximum=1.0
    )
    hysteresis: float = param(
        0.05,
        "how far the charge must rise above a limit before the sparsity drops again",
        minimum=0.0,
        maximum=0.5,
    )
    time_constant_s: float = param(
        2.0,
        "time constant of the low-pass filter on the charge, against voltage sag under load",
        unit="s",
        minimum=0.0,
        maximum=600.0,
    )
    voltage_empty: float = param(
        0.0,
        "voltage of an empty battery, for drivers that report no percentage; 0: unknown",
        unit="V",
        minimum=0.0,
        maximum=1000.0,
    )
    voltage_full: float = param(
        0.0,
        "voltage of a full battery, for drivers that report no percentage; 0: unknown",
        unit="V",
        minimum=0.0,
        maximum=1000.0,
    )
    trust_present: bool = param(
        True,
        "treat present = false as a missing battery; set to false for drivers that never set it",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.charge_low > self.charge_medium:
            raise ConfigError(
                f"Parameter 'battery.charge_low' is {self.charge_low:g}, above "
                f"battery.charge_medium ({self.charge_medium:g}), so battery.sparsity_medium "
                "would never apply."
            )


@dataclasses.dataclass(frozen=True)
class BatteryDecision:
    """What the readings so far ask for."""

    sparsity: float | None  # None: no usable reading yet, so leave the sparsity alone
    charge: float | None  # filtered, 0..1
    reason: str  # one sentence for the diagnostics
    faulty: bool = False  # readings arrive but cannot be used: worth a warning


class BatteryPolicy:
    """Follows one battery; pass every reading to `update`."""

    def __init__(self, config: BatteryConfig) -> None:
        """`config` may be replaced at any time."""
        self.config = config
        self.levels: tuple[float, ...] = UNMEASURED  # of the model: for medium and low charge
        self._charge: float | None = None
        self._stamp_s = 0.0
        self._in_percent = False
        self._level: int | None = None  # 0: high charge, 1: medium, 2: low
        self._reason, self._faulty = "no battery", False

    @property
    def decision(self) -> BatteryDecision:
        """What the readings so far ask for, with the current config and levels."""
        if self._level is None:
            return BatteryDecision(None, self._charge, self._reason, self._faulty)
        config = self.config
        chosen = (config.sparsity_medium, config.sparsity_low)
        own = (
            level if value < 0 else value for value, level in zip(chosen, self.levels, strict=True)
        )
        sparsity = (config.sparsity_high, *own)[self._level]
        return BatteryDecision(sparsity, self._charge, self._reason, self._faulty)

    def update(self, reading: BatteryReading) -> BatteryDecision:
        """The decision after one more reading; an unusable one leaves the sparsity as it is."""
        self._faulty = False
        charge = self._measured(reading)
        if charge is None:
            return self.decision
        self._charge = self._filtered(charge, reading.stamp_s)
        if reading.status in (PowerSupply.CHARGING, PowerSupply.FULL):
            self._level = 0
            self._reason = f"charging ({self._charge:.0%})"
        else:
            self._level = self._next_level(self._charge)
            self._reason = f"battery at {self._charge:.0%}"
        return self.decision

    def _measured(self, reading: BatteryReading) -> float | None:
        """Charge 0 to 1 of a reading; None, with the reason noted, if it has none."""
        if self.config.trust_present and not reading.present:
            self._reason = "no battery present (set battery.trust_present false to ignore this)"
            return None
        if math.isfinite(reading.percentage):
            return self._from_percentage(reading.percentage)
        empty, full = self.config.voltage_empty, self.config.voltage_full
        if not math.isfinite(reading.voltage) or reading.voltage <= 0:
            problem = "the battery reports neither percentage nor voltage"
        elif not 0 < empty < full:
            problem = (
                "the battery reports only a voltage; set battery.voltage_empty and "
                "battery.voltage_full"
            )
        else:
            return min(max((reading.voltage - empty) / (full - empty), 0.0), 1.0)
        self._reason, self._faulty = problem, True
        return None

    def _from_percentage(self, percentage: float) -> float | None:
        if not 0 <= percentage <= 100:
            self._reason = f"battery percentage {percentage:g} is outside 0 to 1 and 0 to 100"
            self._faulty = True
            return None
        if percentage == 0 and self._charge is None:
            self._reason = "the battery reports 0 before its first measurement; waiting"
            return None
        # Drivers that keep to the definition never exceed 1, except by rounding. One value above
        # tells the scale for good; otherwise 0.9 % would be read as 90 %.
        if percentage > 1.01 and not self._in_percent:
            self._in_percent = True
            self._charge = None
        return min(percentage / (100.0 if self._in_percent else 1.0), 1.0)

    def _filtered(self, charge: float, stamp_s: float) -> float:
        """First-order low-pass; the first value and jumps back in time pass unfiltered."""
        dt, self._stamp_s = stamp_s - self._stamp_s, stamp_s
        if self._charge is None or dt < 0 or self.config.time_constant_s == 0:
            return charge
        return charge + (self._charge - charge) * math.exp(-dt / self.config.time_constant_s)

    def _next_level(self, charge: float) -> int:
        """Down a level at its limit, up again only `hysteresis` above that limit."""
        limits = (self.config.charge_medium, self.config.charge_low)
        falling = sum(charge < limit for limit in limits)
        rising = sum(charge < limit + self.config.hysteresis for limit in limits)
        return min(max(self._level or 0, falling), rising)
