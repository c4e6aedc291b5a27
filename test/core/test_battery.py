# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Batteries as drivers really report them, and sparsity that neither flaps nor jumps."""

import math

import numpy as np
import pytest

from vpr_ros.core.battery import (
    UNMEASURED,
    BatteryConfig,
    BatteryPolicy,
    BatteryReading,
    PowerSupply,
)
from vpr_ros.core.errors import ConfigError

NAN = math.nan
MEDIUM, LOW = UNMEASURED
VOLTS = {"voltage_empty": 20.0, "voltage_full": 25.0}


def policy(**values):
    """Without low-pass unless asked: one reading, one answer."""
    return BatteryPolicy(BatteryConfig(**{"time_constant_s": 0.0, **values}))


def feed(policy, *percentages, start_s=100.0, step_s=1.0, **fields):
    """The decision after the last of these readings."""
    for i, percentage in enumerate(percentages):
        stamp_s = start_s + i * step_s
        decision = policy.update(BatteryReading(stamp_s, percentage, **fields))
    return decision


@pytest.mark.parametrize(
    ("percentages", "charge", "sparsity"),
    [
        ([1.0], 1.0, 0.0),
        ([0.51], 0.51, 0.0),
        ([0.49], 0.49, MEDIUM),
        ([0.19], 0.19, LOW),
        ([1.005], 1.0, 0.0),  # a rounding error is no percentage
        ([1.02, 0.97], 0.97, 0.0),
        ([100.0], 1.0, 0.0),
        ([45.0], 0.45, MEDIUM),
        ([19.0, 19.0, 19.0, 0.9], 0.009, LOW),  # once in percent, always
        ([0.9, 15.0, 15.0], 0.9, 0.0),
        ([0.9, 15.0, 15.0, 15.0], 0.15, LOW),  # 0.9 % was misread; the next ones put it right
        ([0.8, 50.0, 0.8, 0.79], 0.79, 0.0),  # one stray reading
        ([0.8, 50.0, 0.8, 50.0, 50.0, 0.78], 0.78, 0.0),
        ([50.0, 0.8, 0.8, 0.79], 0.79, 0.0),  # the stray one came first
        ([50.0, 49.0, 48.0, 0.8, 0.7, 0.6, 0.5], 0.005, LOW),  # really empty
        ([0.0, 0.0, 0.8], 0.8, 0.0),
        ([0.3, 0.0], 0.3, MEDIUM),
        ([0.3, 0.0, 0.0], 0.0, LOW),  # a second zero after real values is believed
        ([0.1, 0.0], 0.0, LOW),
        ([0.8, 0.1, 0.79], 0.79, 0.0),
        ([0.8, 0.1, 0.12], 0.12, LOW),  # another battery
    ],
)
def test_percentages(percentages, charge, sparsity):
    decision = feed(policy(), *percentages)
    assert decision.charge == pytest.approx(charge)
    assert decision.sparsity == sparsity


@pytest.mark.parametrize(
    ("config", "reading", "reason"),
    [
        ({}, BatteryReading(1, 0.0), "reports 0 before its first measurement"),
        ({}, BatteryReading(1, -1.0), "-1 is outside"),
        ({}, BatteryReading(1, 101.0), "101 is outside"),
        ({}, BatteryReading(1, NAN), "neither percentage nor voltage"),
        ({}, BatteryReading(1, math.inf), "neither percentage nor voltage"),
        (VOLTS, BatteryReading(1, NAN, voltage=0.0), "neither percentage nor voltage"),
        (VOLTS, BatteryReading(1, NAN, voltage=math.inf), "neither percentage nor voltage"),
        (
            {},
            BatteryReading(1, NAN, voltage=24.0),
            "set battery.voltage_empty and battery.voltage_full",
        ),
        (
            {"voltage_empty": 25.0, "voltage_full": 20.0},
            BatteryReading(1, NAN, voltage=24.0),
            "set battery.voltage_empty and battery.voltage_full",
        ),
        ({}, BatteryReading(1, 0.5, present=False), "no battery present"),
    ],
)
@pytest.mark.parametrize("before", [[], [0.45]], ids=["at boot", "later"])
def test_what_cannot_be_used_changes_nothing(config, reading, reason, before):
    followed = policy(**config)
    known = feed(followed, *before) if before else None
    decision = followed.update(reading)
    if before and reading.percentage == 0:
        assert decision.charge == 0.45 and followed.update(reading).charge == 0
        return
    assert reason in decision.reason
    assert decision.faulty == ("present" not in reason and "waiting" not in decision.reason)
    assert decision.sparsity == (known.sparsity if known else None)
    assert decision.charge == (known.charge if known else None)
    assert feed(followed, 0.15, 0.15).sparsity == LOW  # and it lives on


@pytest.mark.parametrize(
    ("volts", "charge"), [(25.0, 1.0), (22.0, 0.4), (20.5, 0.1), (19.0, 0.0), (30.0, 1.0)]
)
def test_voltage_stands_in_for_a_missing_percentage(volts, charge):
    assert feed(policy(**VOLTS), NAN, voltage=volts).charge == pytest.approx(charge)


@pytest.mark.parametrize(
    ("percentage", "volts", "charge"),
    [
        (0.0, 24.0, 0.8),  # a driver that measures no charge
        (1.0, 20.5, 0.1),
        (100.0, 20.5, 0.1),
        (-1.0, 24.0, 0.8),
        (1.0, 24.0, 1.0),  # no contradiction
        (0.3, 24.5, 0.3),
    ],
)
def test_a_percentage_that_is_none_gives_way_to_the_voltage(percentage, volts, charge):
    decision = feed(policy(**VOLTS), *[percentage] * 3, voltage=volts)
    assert decision.charge == pytest.approx(charge) and not decision.faulty


def test_no_charge_beside_the_voltage_of_three_cells():
    three = policy(voltage_empty=9.0, voltage_full=12.6)
    assert feed(three, *[0.0] * 3, voltage=10.3).charge == pytest.approx(1.3 / 3.6)


@pytest.mark.parametrize("volts", [6553.5, 2.4])
def test_a_voltage_that_is_none_is_not_used(volts):
    decision = feed(policy(**VOLTS), NAN, voltage=volts)
    assert decision.faulty and f"only a voltage, {volts:g} V" in decision.reason


def test_a_charge_that_is_never_measured_is_said():
    followed = policy()
    assert not feed(followed, *[0.0] * 9, voltage=10.3).faulty
    decision = feed(followed, 0.0, start_s=111.0, voltage=10.3)
    assert decision.faulty and "reports a charge of 0 only" in decision.reason
    assert decision.sparsity is None
    assert not feed(followed, 0.5).faulty


def test_a_battery_never_marked_present_can_be_trusted():
    assert feed(policy(trust_present=False), 0.1, present=False).sparsity == LOW


@pytest.mark.parametrize("status", [PowerSupply.CHARGING, PowerSupply.FULL])
def test_charging_lifts_the_sparsity_at_once_and_unplugging_restores_it(status):
    followed = policy()
    assert feed(followed, 0.1).sparsity == LOW
    charging = feed(followed, 0.1, status=status)
    assert charging.sparsity == 0.0 and "charging (10%)" in charging.reason
    assert feed(followed, 0.1, status=PowerSupply.DISCHARGING).sparsity == LOW


def test_sag_under_load_is_filtered_but_a_drained_battery_is_not():
    followed = policy(time_constant_s=10.0)
    feed(followed, *[0.6] * 5)
    assert feed(followed, 0.3, 0.3, start_s=105.0).sparsity == 0.0
    feed(followed, *[0.6] * 20, start_s=107.0)
    drained = feed(followed, *[0.3] * 60, start_s=127.0)
    assert drained.sparsity == MEDIUM and drained.charge == pytest.approx(0.3, abs=0.01)


def test_the_low_pass_is_of_first_order():
    followed = policy(time_constant_s=10.0)
    feed(followed, 0.8, start_s=0.0)
    assert feed(followed, 0.6, start_s=5.0).charge == pytest.approx(0.6 + 0.2 * math.exp(-0.5))


def test_a_misread_scale_does_not_linger_in_the_filter():
    assert feed(policy(time_constant_s=60.0), 0.9, 15.0, 15.0, 15.0).charge == pytest.approx(0.15)


def test_a_clock_that_jumps_back_does_not_freeze_the_filter():
    followed = policy(time_constant_s=10.0)
    feed(followed, 0.5, start_s=1e9)
    assert feed(followed, 0.3, start_s=5.0).charge == pytest.approx(0.3)
    assert feed(followed, 0.5, start_s=15.0).charge == pytest.approx(0.5 - 0.2 * math.exp(-1))


@pytest.mark.parametrize("limit", [0.5, 0.2])
@pytest.mark.parametrize("seed", range(5))
def test_noise_around_a_limit_switches_at_most_once(limit, seed):
    noise = np.random.default_rng(seed).uniform(-0.024, 0.024, 500)  # within the hysteresis
    for drift in (0.0, -0.02, 0.02):
        followed = policy()
        feed(followed, limit + 0.2)
        levels = [feed(followed, p).sparsity for p in limit + drift + noise]
        assert np.count_nonzero(np.diff(levels)) <= 1


def test_the_way_back_up_needs_the_hysteresis():
    levels = [0.0, MEDIUM, MEDIUM, 0.0, LOW, LOW, MEDIUM, 0.0]
    charges = [0.51, 0.49, 0.54, 0.56, 0.1, 0.24, 0.26, 0.9]
    followed = policy()
    assert [feed(followed, c, c).sparsity for c in charges] == levels


def test_new_settings_hold_at_once():
    followed = policy()
    assert followed.decision.sparsity is None
    feed(followed, 0.4)
    followed.config = BatteryConfig(sparsity_medium=0.3)
    assert followed.decision.sparsity == 0.3


def test_the_models_own_levels_hold_unless_a_robot_has_others():
    followed = policy(sparsity_low=0.7)
    feed(followed, 0.4)
    followed.levels = (0.35, 0.5)  # learned after the first reading
    assert followed.decision.sparsity == 0.35
    assert feed(followed, 0.1, 0.1).sparsity == 0.7
    assert feed(policy(sparsity_medium=0.0), 0.4).sparsity == 0.0


def test_limits_the_wrong_way_round_are_refused():
    with pytest.raises(
        ConfigError, match=r"charge_low' is 0.6, above battery.charge_medium \(0.5\)"
    ):
        BatteryConfig(charge_low=0.6)
