# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How the picture of a flat scene changes when the camera moves."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

FIELD_OF_VIEW_DEG = 70.0  # across; phones and robot cameras have 60 to 90

Matrix = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Movement:
    """From one camera to the other; x right, y down, z ahead. The scene is one plane."""

    shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    distance_m: float = 5.0  # of the plane
    slant_deg: float = (
        0.0  # of the plane, about the vertical axis; walls are seldom faced squarely
    )
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    zoom: float = 1.0


def homography(source: tuple[int, int], target: tuple[int, int], move: Movement) -> Matrix:
    """Pixels of a picture of `source` (height, width) to those of the next, of `target`, (3, 3).

    H = K' (R - t n^T / d) K^-1 (Hartley and Zisserman, Multiple View Geometry, eq. 13.2). The
    next picture shows the same field of view over its whole size, divided by `zoom`.
    """
    height, width = source
    focal = width / 2 / math.tan(math.radians(FIELD_OF_VIEW_DEG / 2))
    camera = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    turn = _about(2, move.roll_deg) @ _about(0, move.pitch_deg) @ _about(1, move.yaw_deg)
    slant = math.radians(move.slant_deg)
    normal = np.array([math.sin(slant), 0.0, math.cos(slant)])
    shift = turn @ np.array(move.shift_m)
    plane: Matrix = turn - np.outer(shift, normal) / move.distance_m
    zoomed = camera @ np.diag([move.zoom, move.zoom, 1.0])
    resize = np.diag([target[1] / width, target[0] / height, 1.0])
    found: Matrix = resize @ zoomed @ plane @ np.linalg.inv(camera)
    return found


def _about(axis: int, degrees: float) -> Matrix:
    """Rotation matrix (3, 3) about one axis."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = c
    matrix[first, second], matrix[second, first] = -s, s
    return matrix
