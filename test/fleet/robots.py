# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keyframes of a fleet's robots, and a store in memory that can be out of reach."""

import dataclasses

import cv2
import numpy as np

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.errors import FleetError
from vpr_ros.core.keyframe import Keyframe, LocalFeatures, Thumbnail
from vpr_ros.core.pose import Pose
from vpr_ros.fleet.fleet import FleetKeyframe, Found, Health

RUN = 5 << 23  # the first id of a run of an encoder
JPEG = cv2.imencode(".jpg", np.full((24, 32, 3), 77, np.uint8))[1].tobytes()


def features(count, seed=0):
    random = np.random.default_rng(seed)
    return LocalFeatures(
        random.uniform(0, 640, (count, 2)).astype(np.float32),
        random.integers(0, 256, (count, 128), np.uint8),
        2.5,
        np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]),
    )


def item(number, robot="red", size=16, run=RUN, links=(), **changes):
    """A keyframe of a robot; equal numbers look alike."""
    descriptor = np.random.default_rng(number).standard_normal(size).astype(np.float32)
    keyframe = Keyframe(
        id=run + number,
        stamp_ns=1_000 + number,
        model="m",
        sparsity=0.5,
        descriptor=descriptor / np.linalg.norm(descriptor),
        frame="camera",
        pose=Pose(1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 1.0),
        pose_frame="odom",
        features=features(20, number),
        model_digest="ab" * 16,
        thumbnail=Thumbnail(JPEG, 640),
        provider="CPUExecutionProvider",
    )
    return FleetKeyframe(robot, "office", dataclasses.replace(keyframe, **changes), links)


def view(number, aside_px=0.0, **fields):
    """A keyframe at a place, from a step aside: nearer corners move more."""
    there = features(150, number)
    depths = np.random.default_rng(number).uniform(0.1, 1.0, (150, 1))
    moved = (there.keypoints + aside_px * depths * [[1.0, 0.3]]).astype(np.float32)
    moved_features = dataclasses.replace(there, keypoints=moved)
    calibration = Calibration(0.5, 0.5)
    return item(number, features=moved_features, calibration=calibration, **fields)


class MemoryFleet:
    """A Fleet in a dict."""

    def __init__(self):
        self.items = {}
        self.down = ""  # why it is out of reach

    def _of(self, where):
        if self.down:
            raise FleetError(self.down)
        for item in sorted(self.items.values(), key=lambda i: i.keyframe.id):
            e = item.entry
            if (
                where.map in ("", e.map)
                and where.robot in ("", e.robot)
                and where.model in ("", e.model)
                and e.session not in where.without_sessions
                and (where.since_ns is None or e.stamp_ns >= where.since_ns)
            ):
                yield item

    def put(self, keyframes):
        if self.down:
            raise FleetError(self.down)
        taken = []
        for item in keyframes:
            old = self.items.setdefault(item.keyframe.id, item)
            if (old.robot, old.keyframe.stamp_ns) != (item.robot, item.keyframe.stamp_ns):
                taken.append(item.keyframe.id)
            else:
                self.items[item.keyframe.id] = item
        return taken

    def find(self, descriptors, count, where):
        items = list(self._of(where))
        return [
            sorted(
                (Found(i.entry, float(i.keyframe.descriptor @ d)) for i in items),
                key=lambda f: -f.score,
            )[:count]
            for d in descriptors
        ]

    def get(self, ids):
        return [self.items[id] for id in sorted(ids) if id in self.items]

    def count(self, where):
        return sum(1 for _ in self._of(where))

    def health(self):
        return Health(not self.down, self.down)

    def close(self):
        pass
