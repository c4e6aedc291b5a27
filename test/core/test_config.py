# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A bad parameter is refused with its name, its value and the range."""

import dataclasses
import math

import pytest

from vpr_ros.core.battery import BatteryConfig
from vpr_ros.core.config import Config, Doc, param
from vpr_ros.core.database import DatabaseConfig
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.feature_extractor import FeatureConfig
from vpr_ros.core.gate import GateConfig
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.model_files import ModelConfig


@dataclasses.dataclass(frozen=True)
class Example(Config):
    """One parameter of each kind."""

    size: int = param(3, "a size", minimum=1, maximum=9)
    speed: float = param(0.5, "a speed", unit="m/s", minimum=0.0)
    mode: str = param("auto", "a mode", choices=("auto", "manual"))
    on: bool = param(True, "a switch", read_only=True)
    free: float = param(0.0, "anything")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sise": 3}, "Unknown parameter 'sise'. Known: free, mode, on, size, speed."),
        ({"size": 0}, "'size' is 0, out of range; give a value in [1, 9]."),
        ({"size": 10}, "'size' is 10"),
        ({"size": 3.0}, "'size' is 3.0 (float); give a value of type int"),
        ({"size": True}, "'size' is True (bool)"),
        ({"size": "3"}, "'size' is '3' (str)"),
        ({"speed": -0.1}, "'speed' is -0.1, out of range; give a value in [0, inf] m/s."),
        ({"speed": math.nan}, "'speed' is nan"),
        ({"speed": None}, "'speed' is None"),
        ({"free": math.nan}, "'free' is nan, out of range; give a value in (-inf, inf)."),
        ({"mode": "Auto"}, "'mode' is 'Auto'; give one of auto, manual."),
        ({"on": 1}, "'on' is 1 (int)"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ConfigError) as caught:
        Example.from_dict(values)
    assert message in str(caught.value)


def test_good_values_are_taken():
    values = {"size": 9, "speed": 2, "mode": "manual", "on": False}
    assert Example.from_dict(values) == Example(9, 2.0, "manual", False)
    assert Example.from_dict({}) == Example()


def test_the_documentation_travels_with_the_field():
    rows = {name: (default, doc) for name, default, doc in Example.fields()}
    assert rows["speed"] == (0.5, Doc("a speed", "m/s", 0.0, None))
    assert rows["on"][1].read_only and rows["free"][1].range_text == ""


@pytest.mark.parametrize(
    "group", [BatteryConfig, DatabaseConfig, FeatureConfig, GateConfig, LoopConfig]
)
def test_every_default_lies_in_its_range_and_is_explained(group):
    group()
    assert all(doc.text for _, _, doc in group.fields())


def test_a_text_of_any_length_is_refused():
    with pytest.raises(ConfigError, match="'model' has 50000000 characters; give at most 10000"):
        ModelConfig(model="x" * 50_000_000)
