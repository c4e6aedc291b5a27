# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From frames to keyframes: gate, encoder, gate again, local features.

The encoder node and the evaluation both run this class.
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
    """A camera frame before decoding; `decode` is only called if the gate lets the frame pass."""

    stamp_ns: int
    decode: Callable[[], Image]
    frame: str = ""
    pose: Pose | None = None
    pose_frame: str = ""
    camera_matrix: npt.NDArray[np.float64] | None = None  # (3, 3) [px]


class Frontend:
    """Makes keyframes of the frames worth keeping."""

    def __init__(
        self, encoder: Encoder, gate: KeyframeGate, extractor: FeatureExtractor, first_id: int = 0
    ) -> None:
        """The first keyframe gets `first_id`; only replace `encoder` between two frames."""
        self.encoder = encoder
        self.gate = gate
        self.extractor = extractor
        self.encode_s = 0.0  # preprocessing and network, for the last encoded frame
        self.encoded = 0
        self._next_id = first_id
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="features")

    def process(self, frame: Frame, sparsity: float) -> Keyframe | None:
        """The keyframe of a frame; None if the frame is not worth keeping.

        Raises ImageError from `frame.decode`, ConfigError on a bad sparsity and DescriptorError
        from the encoder; the frame is then ignored.
        """
        if not self.gate.wants(frame.stamp_ns, frame.pose):
            return None
        image = frame.decode()
        # With odometry the frame is certain to be a keyframe, so its features are extracted while
        # the network runs; without odometry the second gate comes first.
        certain = frame.pose is not None
        beside = self._beside.submit(self._extract, image, frame) if certain else None
        started = time.perf_counter()
        try:
            descriptor = self.encoder.encode(image, sparsity)
        finally:
            self.encode_s = time.perf_counter() - started
            if beside is not None:  # must not run on into the next frame
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
