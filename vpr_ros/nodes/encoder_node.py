# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Node `encoder`: camera images in, keyframes out."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import ClassVar

from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from vpr_msgs.msg import Keyframe
from vpr_msgs.srv import EncodeImage
from vpr_ros.core.config import Config, param
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ImageError, VprError
from vpr_ros.core.frontend import Frame, Frontend
from vpr_ros.core.gate import GateConfig, KeyframeGate
from vpr_ros.core.model_files import ModelConfig, find_model
from vpr_ros.core.pose import PoseBuffer
from vpr_ros.core.verifier import FeatureConfig, FeatureExtractor
from vpr_ros.nodes import conversions
from vpr_ros.nodes.diagnostics import ERROR, OK, WARN, Complaints, Diagnostics, Report, memory_mb
from vpr_ros.nodes.image_decoder import ImageDecoder
from vpr_ros.nodes.image_input import ImageInput
from vpr_ros.nodes.newest import Newest
from vpr_ros.nodes.parameters import Parameters
from vpr_ros.nodes.run import run
from vpr_ros.nodes.statistics import Latency, Rate


@dataclasses.dataclass(frozen=True)
class EncoderConfig(ModelConfig):
    """The model, and where its images come from."""

    image_transport: str = param(
        "auto",
        "raw listens to image, compressed to image/compressed, auto to what is published",
        choices=("auto", "raw", "compressed"),
        read_only=True,
    )


class EncoderNode(Node):
    """Receives in the executor's thread, encodes in its own: the newest frame wins."""

    PARAMETERS: ClassVar[dict[str, type[Config]]] = {
        "": EncoderConfig,
        "gate": GateConfig,
        "features": FeatureConfig,
    }

    def __init__(self) -> None:
        """Declare, load the model, listen. A model that fails to load leaves the node waiting."""
        super().__init__("encoder")
        self._complaints = Complaints(self)
        self._loaded: Encoder | None = None
        self._frontend: Frontend | None = None
        self._config = Parameters(
            self,
            self.PARAMETERS,
            check=self._check,
            apply=self._apply,
        )
        # Unique over restarts and rising with time, so that maps of several runs can be joined.
        self._first_id = int(time.time()) * 1_000_000
        self._apply(self._config.groups)

        self._decoder = ImageDecoder()
        self.get_logger().info(f"Raw images are decoded by {self._decoder.status}")
        self._poses = PoseBuffer()
        self._pose_frame = ""
        self._camera_matrix = None
        self._frames: Newest[Image | CompressedImage] = Newest()
        self._rate, self._keyframe_rate, self._latency = Rate(), Rate(), Latency()

        overridable = QoSOverridingOptions.with_default_policies()
        self._publisher = self.create_publisher(
            Keyframe, "keyframes", 50, qos_overriding_options=overridable
        )
        self._input = ImageInput(self, self._config[""].image_transport, self._frames.put)
        for kind, topic, callback in (
            (Odometry, "odom", self._on_odometry),
            (CameraInfo, "camera_info", self._on_camera_info),
        ):
            self.create_subscription(
                kind, topic, callback, qos_profile_sensor_data, qos_overriding_options=overridable
            )
        self.create_service(EncodeImage, "encode_image", self._encode_image)
        Diagnostics(self, self._report)
        self._worker = threading.Thread(target=self._work, name="encode", daemon=True)
        self._worker.start()

    def destroy_node(self) -> None:
        """Stop encoding, then stop."""
        self._frames.close()
        self._worker.join(timeout=5.0)
        super().destroy_node()

    # Parameters

    def _check(self, groups: dict[str, Config]) -> None:
        """Refuse a model that does not load and a sparsity that the model does not have."""
        config = groups[""]
        assert isinstance(config, EncoderConfig)
        self._load(config).check_sparsity(config.sparsity)

    def _load(self, config: EncoderConfig) -> Encoder:
        """The encoder of a config; the last one stays loaded."""
        path = find_model(config.model)
        if self._loaded is None or self._loaded.path != path:
            self._loaded = Encoder(path, config.threads)
            self.get_logger().info(f"Model {path.name} runs on {self._loaded.operators}")
        return self._loaded

    def _apply(self, groups: dict[str, Config]) -> None:
        """Run with the current parameters; without a usable model, wait for one."""
        config, gate, features = groups[""], groups["gate"], groups["features"]
        assert isinstance(config, EncoderConfig)
        assert isinstance(gate, GateConfig) and isinstance(features, FeatureConfig)
        try:
            encoder = self._load(config)
            encoder.check_sparsity(config.sparsity)
        except VprError as error:
            self._complaints.add(error)
            self._frontend = None
            return
        frontend = self._frontend
        other_model = frontend is None or frontend.encoder is not encoder
        if frontend is None:
            self._frontend = Frontend(
                encoder, KeyframeGate(gate), FeatureExtractor(features), self._first_id
            )
        else:
            frontend.gate.config = gate
            if frontend.extractor.config != features:
                frontend.extractor = FeatureExtractor(features)
            if other_model:
                frontend.encoder = encoder
                frontend.gate.reset()
        if other_model:
            self._narrow_sparsity(encoder)

    def _narrow_sparsity(self, encoder: Encoder) -> None:
        """Show the model's own range and levels in the parameter's description."""
        contract = encoder.contract
        descriptor = self.describe_parameter("sparsity")
        descriptor.floating_point_range[0].to_value = contract.sparsity_max
        descriptor.additional_constraints = conversions.levels_text(contract.levels)
        self.set_descriptor("sparsity", descriptor)
        self.get_logger().info(
            f"Model '{contract.name}' version {contract.version}: {contract.descriptor_size} "
            f"values, sparsity 0 to {contract.sparsity_max:g}, {encoder.threads} thread(s)"
        )

    # Inputs

    def _on_odometry(self, message: Odometry) -> None:
        stamp = conversions.stamp_ns(message.header.stamp)
        self._poses.add(stamp, conversions.to_pose(message.pose.pose))
        self._pose_frame = message.header.frame_id

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_matrix = conversions.camera_matrix(message)

    # Work

    def _work(self) -> None:
        while (message := self._frames.take()) is not None:
            self._rate.tick()
            if self._frontend is None:
                continue
            try:
                self._process(message, self._frontend)
            except Exception as error:  # no frame may end the thread that encodes the next
                self._complaints.add(error)

    def _process(self, message: Image | CompressedImage, frontend: Frontend) -> None:
        frame = self._to_frame(message)
        keyframe = frontend.process(frame, self._config[""].sparsity)
        if keyframe is not None:
            self._publisher.publish(conversions.from_keyframe(keyframe))
            self._keyframe_rate.tick()
            self._latency.add(self.get_clock().now().nanoseconds - frame.stamp_ns)

    def _to_frame(self, message: Image | CompressedImage) -> Frame:
        stamp = conversions.stamp_ns(message.header.stamp)
        if stamp == 0:
            raise ImageError(
                "Image has no stamp, so neither its pose nor its place in time is known. "
                "Let the camera driver set header.stamp."
            )
        return Frame(
            stamp_ns=stamp,
            decode=lambda: self._decoder.decode(message),
            frame=message.header.frame_id,
            pose=self._poses.at(stamp),
            pose_frame=self._pose_frame,
            camera_matrix=self._camera_matrix,
        )

    def _encode_image(
        self, request: EncodeImage.Request, response: EncodeImage.Response
    ) -> EncodeImage.Response:
        """Encode an image that is no frame of the camera."""
        frontend, sparsity = self._frontend, self._config[""].sparsity
        try:
            if frontend is None:
                raise VprError(f"The encoder has no model: {self._complaints.last}")
            compressed = len(request.compressed_image.data) > 0
            image = self._decoder.decode(request.compressed_image if compressed else request.image)
            values = frontend.encoder.encode(image, sparsity)
        except VprError as error:
            response.message = str(error)
            return response
        response.success, response.model = True, frontend.encoder.contract.name
        response.sparsity, response.descriptor = sparsity, values
        return response

    # Diagnostics

    def _report(self) -> Report:
        frontend = self._frontend
        level, summary = OK, f"encoding images from {self._input.topic}"
        if frontend is None:
            level, summary = ERROR, self._complaints.last
        elif not self._input.transport or self._input.silent_s > 3.0:
            level, summary = (
                WARN,
                f"no image for {self._input.silent_s:.0f} s; {self._input.topic}",
            )
        p50, p95 = self._latency.percentiles_ms()
        return (
            level,
            summary,
            {
                "model": frontend.encoder.contract.name if frontend else "none",
                "operators": frontend.encoder.operators if frontend else "none",
                "sparsity": self._config[""].sparsity,
                "images": self._input.received,
                "image_rate_hz": self._rate.per_second(),
                "keyframe_rate_hz": self._keyframe_rate.per_second(),
                "keyframes": self._keyframe_rate.total,
                "encoded": frontend.encoded if frontend else 0,
                "encode_ms": frontend.encode_s * 1e3 if frontend else float("nan"),
                "latency_p50_ms": p50,
                "latency_p95_ms": p95,
                "dropped_images": self._frames.dropped,
                "odometry": "yes" if self._pose_frame else "no",
                "memory_mb": memory_mb(),
                "cpu_s": time.process_time(),
                "problems": self._complaints.count,
                "last_problem": self._complaints.last,
            },
        )


def main() -> None:
    """Run the node."""
    run(EncoderNode)
