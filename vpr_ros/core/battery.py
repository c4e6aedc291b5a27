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

WITNESSES = 3  # successive readings that change what the numbers mean
JUMP = 0.25  # of the charge: more between two readings must be confirmed by a third
START_S = 10.0  # readings of 0 for longer are no longer a driver's start


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

    A model's own levels are the fastest sparsities that cost at most 1 and 3 points of R@1, in a
    map made at sparsity 0 and in one made at the level (docs/models.md). The charge limits depend
    on the robot.
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
        "time constant of the low-pass filter on the charge, which smooths out voltage sag under "
        "load",
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
        "treat present = false as a missing battery; set this to false for drivers that never "
        "set present",
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
    """The sparsity that the readings so far call for."""

    sparsity: float | None  # None: no usable reading yet, so leave the sparsity alone
    charge: float | None  # filtered, 0..1
    reason: str  # one sentence for the diagnostics
    faulty: bool = False  # readings arrive but cannot be used: worth a warning


class BatteryPolicy:
    """Follows one battery; pass every reading to `update`. No single reading decides."""

    def __init__(self, config: BatteryConfig) -> None:
        """`config` may be replaced at any time."""
        self.config = config
        self.levels: tuple[float, ...] = UNMEASURED  # of the model: for medium and low charge
        self._charge: float | None = None
        self._stamp_s = 0.0
        self._last: float | None = None  # charge believed last, before the low-pass
        self._doubted: float | None = None  # charge of a reading that is to be confirmed
        self._full: float | None = None  # the driver's number for a full battery: 1 or 100
        self._agreeing = 0  # readings that agree with it, up to WITNESSES
        self._contrary = 0  # successive readings that do not
        self._zero_since_s: float | None = None  # readings of 0 before the first measurement
        self._level: int | None = None  # 0: high charge, 1: medium, 2: low
        self._reason, self._faulty = "no battery", False

    @property
    def decision(self) -> BatteryDecision:
        """The decision on the readings so far, with the current config and levels."""
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
        if charge is None or not self._believes(charge):
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
        voltage = self._from_voltage(reading.voltage)
        if math.isfinite(reading.percentage):
            # Drivers that measure no charge send one of these for ever.
            sentinel = reading.percentage in (0.0, 1.0, 100.0)
            charge = self._from_percentage(
                reading.percentage, reading.stamp_s, quiet=voltage is not None
            )
            if voltage is None or not (
                charge is None or (sentinel and abs(charge - voltage) > 2 * JUMP)
            ):
                return charge
        if voltage is not None:
            return voltage
        problem = (
            "the battery reports neither percentage nor voltage"
            if not math.isfinite(reading.voltage) or reading.voltage <= 0
            else f"the battery reports only a voltage, {reading.voltage:g} V; set "
            "battery.voltage_empty and battery.voltage_full so that it lies between them"
        )
        self._reason, self._faulty = problem, True
        return None

    def _from_voltage(self, voltage: float) -> float | None:
        """Charge 0 to 1; None if the voltage, or that of a full battery, is not known."""
        empty, full = self.config.voltage_empty, self.config.voltage_full
        if not 0 < empty < full or not empty / 2 <= voltage <= full * 1.5:
            return None
        return min(max((voltage - empty) / (full - empty), 0.0), 1.0)

    def _from_percentage(self, percentage: float, stamp_s: float, quiet: bool) -> float | None:
        """Charge 0 to 1; None, with the reason noted, if this reading does not tell."""
        if not 0 <= percentage <= 100:
            self._reason = f"battery percentage {percentage:g} is outside 0 to 1 and 0 to 100"
            self._faulty = not quiet
            return None
        # A charge by voltage does not say that percentages are measured.
        if percentage == 0 and (self._charge is None or self._full is None):
            if self._zero_since_s is None or stamp_s < self._zero_since_s:
                self._zero_since_s = stamp_s
            self._reason = "the battery reports 0 before its first measurement; waiting"
            if stamp_s - self._zero_since_s > START_S and not quiet:
                self._faulty = True
                self._reason = (
                    "the battery reports a charge of 0 only; if its driver measures a voltage, "
                    "set battery.voltage_empty and battery.voltage_full"
                )
            return None
        if percentage > 0 and not self._is_to_scale(percentage):
            self._reason = f"battery percentage {percentage:g} is unlike those before; waiting"
            return None
        return min(percentage / (self._full or 1.0), 1.0)

    def _is_to_scale(self, percentage: float) -> bool:
        """Whether a reading has the scale that is taken for the driver's.

        Drivers that keep to the definition exceed 1 by a few hundredths at most. One that has been
        in percent for some readings stays so, since its last percent looks like a full battery;
        otherwise some readings in a row change the scale.
        """
        full = 100.0 if percentage > 1.1 else 1.0
        self._full = self._full or full
        if full == self._full:
            self._agreeing, self._contrary = min(self._agreeing + 1, WITNESSES), 0
            return True
        if self._full == 100.0 and self._agreeing == WITNESSES:
            return True
        self._contrary += 1
        if self._contrary < WITNESSES:
            return False
        self._full, self._agreeing, self._contrary = full, WITNESSES, 0
        self._charge = self._last = None
        return True

    def _believes(self, charge: float) -> bool:
        """Whether a charge is near the last one, or a second reading has confirmed a jump."""
        expected = (self._last, self._doubted)
        if self._last is not None and all(e is None or abs(charge - e) > JUMP for e in expected):
            self._doubted = charge
            return False
        self._last, self._doubted = charge, None
        return True

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
