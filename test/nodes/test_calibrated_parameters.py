# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Thresholds per sparsity as `vpr calibrate` writes them, in the real node."""

import dataclasses

import numpy as np
import pytest
import rclpy
from rclpy.context import Context

from tools.dds_domain import free_domain
from vpr_msgs.msg import Keyframe, LoopClosure, Query
from vpr_ros.core.calibration import (
    Calibration,
    CalibrationTable,
    calibration_text,
    read_calibrations,
)

# At full compute a match must be nearly equal, at 0.6 half is enough.
POINTS = (Calibration(0.0, 0.9), Calibration(0.6, 0.5))


def test_ros_reads_the_parameter_file_as_it_was_written(tmp_path):
    pytest.importorskip("yaml")
    from vpr_ros.evaluation.params import Settings, write_params

    settings = Settings()
    loop = dataclasses.replace(settings.loop, calibration=calibration_text(POINTS, "m"))
    file = tmp_path / "vpr.yaml"
    write_params(file, dataclasses.replace(settings, loop=loop), "calibrated")
    context, (domain, holder) = Context(), free_domain()
    arguments = ["--ros-args", "--params-file", str(file)]
    rclpy.init(context=context, args=arguments, domain_id=domain)
    try:
        node = rclpy.create_node(
            "database",
            namespace="vpr",
            context=context,
            automatically_declare_parameters_from_overrides=True,
        )
        text = node.get_parameter("loop.calibration").value
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
        holder.close()
    assert read_calibrations(text) == CalibrationTable("m", POINTS)


def test_the_sparsity_of_a_keyframe_chooses_its_threshold(robot):
    """The same view, 0.7 alike: refused at sparsity 0, a loop at 0.6."""
    robot.start(
        "database",
        loop__calibration=calibration_text(POINTS).replace("\n", ";"),
        loop__precision=0.9,
        loop__verified_candidates=0,
        database__exclude_recent_s=0.0,
    )
    queries = robot.listen(Query, "queries")
    closures = robot.listen(LoopClosure, "loop_closures")
    publisher = robot.publisher(Keyframe, "keyframes", 100)
    views = np.eye(20, dtype=np.float32)
    again = 0.7 * views[0] + np.sqrt(1 - 0.49) * views[19]
    for number in range(14):
        new = number >= 12
        message = Keyframe(id=1 + number, model="m", sparsity=0.6 if number == 13 else 0.0)
        message.header.stamp = robot.stamp()
        message.descriptor = (again if new else views[number]).tolist()
        publisher.publish(message)
    robot.wait(lambda: len(queries) == 14, "all answers")
    assert [q.reason for q in queries[12:]] == [Query.LOW_SCORE, Query.ACCEPTED]
    assert "below 0.900" in queries[12].message
    robot.wait(lambda: len(closures) == 1, "the closure")  # another topic: it may come later
    (closure,) = closures
    assert (closure.query_id, closure.match_id) == (14, 1)
    assert 0.7 < closure.confidence < 0.95  # of a score alone, without local features
    refused = robot.set("database", "loop.calibration", "0 high")
    assert not refused.successful and "has the row '0 high'" in refused.reason
    assert robot.set("database", "loop.calibration", "").successful


def test_thresholds_of_another_model_are_left_aside_and_that_is_said(robot):
    """0.7 alike: enough for the table, which is another model's, not for the model itself."""
    robot.start(
        "database",
        loop__calibration="model other; 0 0.5 0",
        database__exclude_recent_s=0.0,
    )
    queries = robot.listen(Query, "queries")
    publisher = robot.publisher(Keyframe, "keyframes", 100)
    views = np.eye(20, dtype=np.float32)
    again = 0.7 * views[0] + np.sqrt(1 - 0.49) * views[19]
    for number in range(13):
        message = Keyframe(id=1 + number, model="m")
        message.header.stamp = robot.stamp()
        message.calibration.score_threshold = 0.9  # less the room for changed light
        message.descriptor = (again if number == 12 else views[number]).tolist()
        publisher.publish(message)
    robot.wait(lambda: len(queries) == 13, "all answers")
    assert queries[-1].reason == Query.LOW_SCORE and "below 0.800" in queries[-1].message

    def said():
        return robot.status.get("database", {}).get("message", "")

    robot.wait(
        lambda: "is for model 'other' but the keyframes come from 'm'" in said(), "the warning"
    )
    assert robot.set("database", "loop.calibration", "model m; 0 0.5 0").successful
    message.id = 14
    publisher.publish(message)
    robot.wait(lambda: said().startswith("14 keyframes"), "the warning's end")
