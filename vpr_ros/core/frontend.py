# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From frames to keyframes: gate, encoder, gate, features, in this order.

The encoder node and the evaluation both run this object.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import numpy.typing as npt

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.gate import KeyframeGate
from vpr_ros.core.images import Image
from vpr_ros.core.keyframe import Keyframe, LocalFeatures
from vpr_ros.core.pose import Pose
from vpr_ros.core.verifier import FeatureExtractor


@dataclasses.dataclass(frozen=True)
class Frame:
    """A camera frame before decoding: `decode` is called only if the gate lets it pass."""

    stamp_ns: int
    decode: Callable[[], Image]
    frame: str = ""
    pose: Pose | None = None
    pose_frame: str = ""
    camera_matrix: npt.NDArray[np.float64] | None = None  # (3, 3) [px]


class Frontend:
    """Turns the frames worth keeping into keyframes."""

    def __init__(
        self, encoder: Encoder, gate: KeyframeGate, extractor: FeatureExtractor, first_id: int = 0
    ) -> None:
        """The first keyframe gets `first_id`; `encoder` may be replaced between frames."""
        self.encoder = encoder
        self.gate = gate
        self.extractor = extractor
        self.encode_s = 0.0  # of the last frame encoded: preprocessing and network
        self.encoded = 0
        self._next_id = first_id
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="features")

    def process(self, frame: Frame, sparsity: float) -> Keyframe | None:
        """The keyframe of a frame, or None if it is not worth one.

        Raises ImageError from `frame.decode`, ConfigError on a bad sparsity, DescriptorError
        from the encoder; the frame then has no effect.
        """
        if not self.gate.wants(frame.stamp_ns, frame.pose):
            return None
        image = frame.decode()
        # With odometry the frame is already known to be a keyframe, so its features are sought
        # while the network runs; without it they wait for the second gate.
        certain = frame.pose is not None
        beside = self._beside.submit(self._extract, image, frame) if certain else None
        started = time.perf_counter()
        try:
            descriptor = self.encoder.encode(image, sparsity)
        finally:
            self.encode_s = time.perf_counter() - started
            if beside is not None:  # never left to run beside the next frame
                wait([beside])
        self.encoded += 1
        contract = self.encoder.contract
        if not self.gate.accepts(frame.stamp_ns, frame.pose, descriptor, contract.change):
            return None
        keyframe = Keyframe(
            id=self._next_id,
            stamp_ns=frame.stamp_ns,
            model=contract.name,
            sparsity=sparsity,
            descriptor=descriptor,
            frame=frame.frame,
            pose=frame.pose,
            pose_frame=frame.pose_frame if frame.pose else "",
            features=beside.result() if beside else self._extract(image, frame),
            calibration=contract.calibration_at(sparsity),
        )
        self._next_id += 1
        return keyframe

    def _extract(self, image: Image, frame: Frame) -> LocalFeatures | None:
        return self.extractor.extract(image, frame.camera_matrix)
