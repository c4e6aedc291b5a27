# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Battery state to sparsity: low-pass, then a curve with hysteresis."""

from __future__ import annotations

import dataclasses
import enum
import math

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError

# Of a model whose levels nobody has measured.
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
    """The fields of a sensor_msgs/BatteryState that count here."""

    stamp_s: float
    percentage: float  # 0..1, by REP; many drivers send 0..100 or NaN
    voltage: float = math.nan  # V
    status: int = PowerSupply.UNKNOWN
    present: bool = True


@dataclasses.dataclass(frozen=True)
class BatteryConfig(Config):
    """How the battery's charge sets the sparsity.

    A model's own levels are the fastest sparsities that cost at most 1 and 3 points of R@1 in a
    map made at 0 (`python -m bench.budgets`, docs/results.md); the charges depend on the robot.
    """

    sparsity_high: float = param(
        0.0, "sparsity with a full battery and while charging", minimum=0.0, maximum=0.95
    )
    sparsity_medium: float = param(
        -1.0, "sparsity below charge_medium; -1: the model's own level", minimum=-1.0, maximum=0.95
    )
    sparsity_low: float = param(
        -1.0, "sparsity below charge_low; -1: the model's own level", minimum=-1.0, maximum=0.95
    )
    charge_medium: float = param(
        0.5, "charge (0..1) below which sparsity_medium holds", minimum=0.0, maximum=1.0
    )
    charge_low: float = param(
        0.2, "charge (0..1) below which sparsity_low holds", minimum=0.0, maximum=1.0
    )
    hysteresis: float = param(
        0.05,
        "charge above a limit at which its lower sparsity returns",
        minimum=0.0,
        maximum=0.5,
    )
    time_constant_s: float = param(
        2.0,
        "low-pass on the charge: sag under load is not an empty battery",
        unit="s",
        minimum=0.0,
        maximum=600.0,
    )
    voltage_empty: float = param(
        0.0,
        "voltage of an empty battery, for drivers that send no percentage; 0: not known",
        unit="V",
        minimum=0.0,
        maximum=1000.0,
    )
    voltage_full: float = param(
        0.0,
        "voltage of a full battery, for drivers that send no percentage; 0: not known",
        unit="V",
        minimum=0.0,
        maximum=1000.0,
    )
    trust_present: bool = param(
        True, "take present = false for a missing battery; unset it for drivers that never set it"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.charge_low > self.charge_medium:
            raise ConfigError(
                f"Parameter 'charge_low' is {self.charge_low:g}, above charge_medium "
                f"({self.charge_medium:g}); sparsity_medium would never hold."
            )


@dataclasses.dataclass(frozen=True)
class BatteryDecision:
    """What follows from a reading."""

    sparsity: float | None  # None: no usable reading yet, leave the sparsity alone
    charge: float | None  # filtered, 0..1
    reason: str  # one sentence for the diagnostics


class BatteryPolicy:
    """Follows one battery; feed it every reading."""

    def __init__(self, config: BatteryConfig) -> None:
        """`config` may be replaced at any time."""
        self.config = config
        self.levels = UNMEASURED  # of the model: sparsity of a medium and of a low battery
        self._charge: float | None = None
        self._stamp_s = 0.0
        self._in_percent = False
        self._level: int | None = None  # 0 high, 1 medium, 2 low charge
        self._reason = "no battery message yet"

    @property
    def decision(self) -> BatteryDecision:
        """What follows from the readings so far, with the present config and levels."""
        if self._level is None:
            return BatteryDecision(None, self._charge, self._reason)
        config = self.config
        chosen = (config.sparsity_medium, config.sparsity_low)
        own = (
            level if value < 0 else value for value, level in zip(chosen, self.levels, strict=True)
        )
        sparsity = (config.sparsity_high, *own)[self._level]
        return BatteryDecision(sparsity, self._charge, self._reason)

    def update(self, reading: BatteryReading) -> BatteryDecision:
        """The sparsity after one more reading."""
        charge, problem = self._measured(reading)
        if charge is None:
            self._reason = problem
            return self.decision
        self._charge = self._filtered(charge, reading.stamp_s)
        if reading.status in (PowerSupply.CHARGING, PowerSupply.FULL):
            self._level = 0
            self._reason = f"charging ({self._charge:.0%})"
        else:
            self._level = self._next_level(self._charge)
            self._reason = f"battery at {self._charge:.0%}"
        return self.decision

    def _measured(self, reading: BatteryReading) -> tuple[float | None, str]:
        """Charge 0..1 of a reading, or None and why there is none."""
        if self.config.trust_present and not reading.present:
            return None, "battery reported as not present (trust_present: false ignores that)"
        if math.isfinite(reading.percentage):
            return self._from_percentage(reading)
        empty, full = self.config.voltage_empty, self.config.voltage_full
        if not math.isfinite(reading.voltage) or reading.voltage <= 0:
            return None, "battery sends neither percentage nor voltage"
        if not 0 < empty < full:
            return None, "battery sends only a voltage; set voltage_empty and voltage_full"
        return min(max((reading.voltage - empty) / (full - empty), 0.0), 1.0), ""

    def _from_percentage(self, reading: BatteryReading) -> tuple[float | None, str]:
        percentage = reading.percentage
        if percentage < 0 or percentage > 100:
            return None, f"battery percentage {percentage:g} is outside 0..1 and 0..100; ignored"
        if percentage == 0 and self._charge is None:
            return None, "battery sends 0 before its first value; waiting"
        # REP-conforming drivers never exceed 1 (but for rounding); one value above tells the
        # scale for good, so that 0.9 % is not read as 90 %.
        if percentage > 1.01 and not self._in_percent:
            self._in_percent = True
            self._charge = None
        scale = 100.0 if self._in_percent else 1.0
        return min(percentage / scale, 1.0), ""

    def _filtered(self, charge: float, stamp_s: float) -> float:
        """First-order low-pass; a first value or a jump back in time passes unfiltered."""
        dt, self._stamp_s = stamp_s - self._stamp_s, stamp_s
        if self._charge is None or dt < 0 or self.config.time_constant_s == 0:
            return charge
        return charge + (self._charge - charge) * math.exp(-dt / self.config.time_constant_s)

    def _next_level(self, charge: float) -> int:
        """Down a level at its limit, up again only `hysteresis` above it."""
        limits = (self.config.charge_medium, self.config.charge_low)
        falling = sum(charge < limit for limit in limits)
        rising = sum(charge < limit + self.config.hysteresis for limit in limits)
        return min(max(self._level or 0, falling), rising)
