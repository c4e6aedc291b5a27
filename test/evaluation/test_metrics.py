# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers as words and as JSON."""

import json
import math

import pytest

from vpr_ros.evaluation.metrics import percent, summary
from vpr_ros.evaluation.run_folder import without_nan


def test_shares_are_rounded_down():
    assert percent(0.9999) == "99.9 %"
    assert percent(1.0) == "100.0 %"
    assert percent(0.29) == "29.0 %"
    assert percent(None) == percent(math.nan) == "not defined"


@pytest.mark.parametrize(
    ("closures", "right", "wrong", "revisits", "missing", "told"),
    [
        (142, 142, 0, 144, None, "142 of 144 revisits found, none wrong."),
        (1, 0, 1, 1, None, "0 of 1 revisit found, 1 closure wrong."),
        (9, 5, 2, 6, None, "5 of 6 revisits found, 2 closures wrong; 2 closures not judged."),
        (0, 0, 0, 3, None, "0 of 3 revisits found, nothing was closed."),
        (0, 0, 0, 0, None, "This drive never returns to a place, so there was nothing to find; "
                           "nothing was closed."),
        (3, 0, 3, 0, None, "This drive never returns to a place, so there was nothing to find; "
                           "3 closures wrong."),
        (1, 0, 0, 0, "why", "1 loop closure found; without ground truth, how many are right is "
                            "not known."),
        (0, 0, 0, 0, "why", "No loop closure found; without ground truth, whether there was one "
                            "is not known."),
    ],
)  # fmt: skip
def test_a_drive_in_one_sentence(closures, right, wrong, revisits, missing, told):
    numbers = {"closures": closures, "right_closures": right, "wrong_closures": wrong,
               "revisits": revisits, "truth_missing": missing}  # fmt: skip
    assert summary(numbers) == told


def test_what_is_not_a_number_becomes_null_at_any_depth():
    numbers = {"a": math.nan, "b": [1.5, {"c": math.nan}], "d": "text"}
    assert json.dumps(without_nan(numbers)) == '{"a": null, "b": [1.5, {"c": null}], "d": "text"}'
