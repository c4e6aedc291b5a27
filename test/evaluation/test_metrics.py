# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers as words and as JSON."""

import json
import math

from vpr_ros.evaluation.metrics import percent
from vpr_ros.evaluation.run_folder import without_nan


def test_shares_are_rounded_down():
    assert percent(0.9999) == "99.9 %"
    assert percent(1.0) == "100.0 %"
    assert percent(0.29) == "29.0 %"
    assert percent(None) == percent(math.nan) == "not defined"


def test_what_is_not_a_number_becomes_null_at_any_depth():
    numbers = {"a": math.nan, "b": [1.5, {"c": math.nan}], "d": "text"}
    assert json.dumps(without_nan(numbers)) == '{"a": null, "b": [1.5, {"c": null}], "d": "text"}'
