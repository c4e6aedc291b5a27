# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets small enough to know everything about."""

import csv

import cv2
import numpy as np
import pytest


@pytest.fixture
def picture():
    """picture(number, height, width): BGR boxes, the same for the same number."""

    def draw(number, height=96, width=128):
        random = np.random.default_rng(number)
        image = np.full((height, width, 3), random.integers(40, 200, 3), np.uint8)
        for _ in range(40):
            x, y, size = (int(v) for v in random.integers(0, (width, height, 30)))
            colour = tuple(map(int, random.integers(0, 255, 3)))
            cv2.rectangle(image, (x, y), (x + size, y + size), colour, -1)
        return image

    return draw


@pytest.fixture
def write_set(tmp_path, picture):
    """write(table, columns, rows): a table and the pictures that its first column names."""

    def write(table, columns, rows, images=True):
        path = tmp_path / table
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(rows)
        for number, row in enumerate(rows if images else ()):
            image = path.parent / row[0]
            image.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(image), picture(number))
        return path

    return write


@pytest.fixture
def start(tmp_path, picture):
    """start(recipe, folder, teacher): a run on eight made places, from a fixed seed."""
    import torch

    from vpr_ros.training.initial_network import make_network
    from vpr_ros.training.loader import Share
    from vpr_ros.training.loop import Run
    from vpr_ros.training.places import PlaceSet
    from vpr_ros.training.validation import Validation

    shares = [Share(PlaceSet("boxes", [[picture(place)] * 2 for place in range(8)]))]

    def make(recipe, folder="run", teacher=None):
        torch.manual_seed(3)
        network = make_network(recipe, tmp_path)
        nothing = Validation([], tmp_path, recipe.run.height, recipe.run.width)
        return Run(network, recipe, shares, nothing, tmp_path / folder, teacher=teacher)

    return make
