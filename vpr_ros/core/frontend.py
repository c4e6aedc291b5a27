# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From frames to keyframes: gate, check of the view, encoder, gate again, local features.

The encoder node and the evaluation both run this class.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import numpy.typing as npt

from vpr_ros.core.camera_model import CameraModel
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import CameraError
from vpr_ros.core.feature_extractor import FeatureExtractor
from vpr_ros.core.gate import KeyframeGate
from vpr_ros.core.image_files import shrunk, thumbnail_of
from vpr_ros.core.images import Image
from vpr_ros.core.keyframe import NS_PER_S, Keyframe, LocalFeatures, Thumbnail
from vpr_ros.core.pose import Pose
from vpr_ros.core.view import ViewCheck, ViewConfig, ViewFault, read_mask, view_of

LOOK_AGAIN_S = 0.5  # after a view that showed no place, the next is looked at this much later


@dataclasses.dataclass(frozen=True)
class Frame:
    """A camera frame before decoding; `decode` is only called if the gate lets the frame pass."""

    stamp_ns: int
    decode: Callable[[], Image]
    frame: str = ""
    pose: Pose | None = None
    pose_frame: str = ""
    camera: CameraModel | None = None  # None: not calibrated


class Frontend:
    """Makes keyframes from the frames worth keeping."""

    def __init__(
        self,
        encoder: Encoder,
        gate: KeyframeGate,
        extractor: FeatureExtractor,
        view: ViewConfig | None = None,
        first_id: int = 0,
    ) -> None:
        """The first keyframe gets `first_id`; replace `encoder` only between two frames."""
        self.encoder = encoder
        self.gate = gate
        self.extractor = extractor
        self.encode_s = 0.0  # preprocessing and network, for the last encoded frame
        self.encoded = 0
        self.view_fault: ViewFault | None = None  # of the frame looked at last
        self.view_faults: Counter[ViewFault] = Counter()  # frames looked at
        self.camera_fault = ""  # why the last keyframe's camera could not be used
        self.view = view or ViewConfig()
        self.thumbnail = 0  # longer side [px]; 0: none
        self._faulty_ns = 0  # stamp of the last frame with a fault
        self._next_id = first_id
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="features")

    @property
    def view(self) -> ViewConfig:
        """How views are checked, and where the camera sees the robot; may be replaced."""
        return self._view

    @view.setter
    def view(self, config: ViewConfig) -> None:
        self._view = config
        self._mask = read_mask(config.mask)
        self._check = ViewCheck(config.check)
        self.view_fault = None

    def process(self, frame: Frame, sparsity: float) -> Keyframe | None:
        """The keyframe of a frame; None if the frame is not worth keeping or shows no place.

        Raises ImageError from `frame.decode`, ConfigError on a bad sparsity and DescriptorError
        from the encoder; the frame is then ignored.
        """
        encoder = self.encoder  # one and the same for all that the keyframe says
        wanted = self.gate.wants(frame.stamp_ns, frame.pose)
        if self.view_fault is None:
            if not wanted:
                return None
        elif abs(frame.stamp_ns - self._faulty_ns) < LOOK_AGAIN_S * NS_PER_S:
            return None
        # After a fault, frames are checked even if the robot stands still, to see when it ends.
        image = frame.decode()
        view = view_of(image, frame.stamp_ns, frame.pose, self._mask)
        self.view_fault = self._check.fault(view)
        if self.view_fault is not None:
            self.view_faults[self.view_fault] += 1
            self._faulty_ns = frame.stamp_ns
            return None
        if not wanted:
            return None
        # With odometry the frame is certain to be a keyframe, so its features are extracted while
        # the network runs; without odometry the second gate comes first.
        certain = frame.pose is not None
        beside = self._beside.submit(self._see, image, frame) if certain else None
        started = time.perf_counter()
        try:
            descriptor = encoder.encode(self._shown(image), sparsity)
        finally:
            self.encode_s = time.perf_counter() - started
            if beside is not None:  # must not run on into the next frame
                wait([beside])
        self.encoded += 1
        contract = encoder.contract
        if not self.gate.accepts(frame.stamp_ns, frame.pose, descriptor, contract.change):
            return None
        self._check.keep(view)
        features, thumbnail = beside.result() if beside else self._see(image, frame)
        keyframe = Keyframe(
            id=self._next_id,
            stamp_ns=frame.stamp_ns,
            model=contract.name,
            sparsity=sparsity,
            descriptor=descriptor,
            frame=frame.frame,
            pose=frame.pose,
            pose_frame=frame.pose_frame if frame.pose else "",
            features=features,
            calibration=contract.calibration_at(sparsity),
            model_digest=encoder.digest,
            provider=encoder.provider.partition(",")[0],  # the rest is its share and cosine
            thumbnail=thumbnail,
        )
        self._next_id += 1
        return keyframe

    def encode(self, image: Image, sparsity: float) -> npt.NDArray[np.float32]:
        """Unit descriptor (D,) of the surroundings that an image (H, W, 3) shows."""
        return self.encoder.encode(self._shown(image), sparsity)

    def _shown(self, image: Image) -> Image:
        return image if self._mask is None else self._mask.cropped(image)

    def _see(self, image: Image, frame: Frame) -> tuple[LocalFeatures | None, Thumbnail | None]:
        """Local features, and a thumbnail on which they lie where they were found."""
        features, thumbnail = self._extract(image, frame), None
        if self.thumbnail:
            picture = shrunk(image, self.thumbnail)
            if frame.camera and features and features.camera_matrix is not None:
                height, width = picture.shape[:2]
                picture = frame.camera.of_image(width, height).undistorted_image(picture)
            thumbnail = thumbnail_of(picture, image.shape[1])
        return features, thumbnail

    def _extract(self, image: Image, frame: Frame) -> LocalFeatures | None:
        shown = image if self._mask is None else self._mask.filled(image)
        features = self.extractor.extract(shown)
        if features is None:
            return None
        height, width = image.shape[:2]
        if self._mask is not None:
            features = self._mask.without_body(features, height, width)
        self.camera_fault = ""
        if frame.camera is None:
            return features
        try:
            return frame.camera.of_image(width, height).undistorted(features)
        except CameraError as error:  # costs the relative pose, not the keyframe
            self.camera_fault = str(error)
            return features
