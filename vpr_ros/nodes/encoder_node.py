# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Node `encoder`: camera images in, keyframes out; the battery or a person sets the sparsity."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from typing import ClassVar

from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import BatteryState, CompressedImage, Image

from vpr_msgs.msg import Keyframe
from vpr_msgs.srv import EncodeImage
from vpr_ros.core.battery import UNMEASURED, BatteryConfig, BatteryPolicy
from vpr_ros.core.config import Config, param
from vpr_ros.core.contract import Contract
from vpr_ros.core.errors import ImageError, VprError
from vpr_ros.core.feature_extractor import FeatureConfig, FeatureExtractor
from vpr_ros.core.frontend import Frame, Frontend
from vpr_ros.core.gate import GateConfig, KeyframeGate
from vpr_ros.core.images import ImageConfig
from vpr_ros.core.keyframe import MAX_TEXT, random_first_id
from vpr_ros.core.model_files import ModelConfig
from vpr_ros.core.value_range import ValueRange
from vpr_ros.core.view import ViewConfig, ViewFault
from vpr_ros.nodes import conversions
from vpr_ros.nodes.diagnostics import (
    ERROR,
    OK,
    THROTTLE_S,
    WARN,
    Diagnostics,
    Latency,
    Rate,
    Report,
    memory_mb,
)
from vpr_ros.nodes.guarded_node import GuardedNode
from vpr_ros.nodes.image_input import TOPICS, ImageDecoder, ImageInput, LatestImage
from vpr_ros.nodes.model_choice import ModelChoice
from vpr_ros.nodes.notices import Notices, TopicWatch
from vpr_ros.nodes.parameters import Configs, Parameters
from vpr_ros.nodes.robot_inputs import INPUTS, RobotInputs

BATTERY_SILENT_S = 60.0  # drivers send seldom
HANGS = (
    "Images arrive, but none was taken for 5 s: the model hangs, or is too slow here. If so with "
    "another provider than cpu, start the node again with cpu."
)
SILENT_S = 3.0  # without an image for this long, the diagnostics warn


@dataclasses.dataclass(frozen=True)
class EncoderConfig(ModelConfig):
    """The model, who sets its sparsity, and where its images come from."""

    sparsity_mode: str = param(
        "auto",
        "auto: the battery, if there is one, sets the sparsity; manual: the sparsity stays as it "
        "is. Setting sparsity while the node runs switches this to manual",
        choices=("auto", "manual"),
    )
    image_transport: str = param(
        "auto",
        "raw subscribes to image, compressed to image/compressed, and auto to whichever is "
        "published",
        choices=("auto", "raw", "compressed"),
        read_only=True,
    )


class EncoderNode(GuardedNode):
    """Receives in the executor's thread and encodes in one of its own, always the latest image."""

    PARAMETERS: ClassVar[tuple[type[Config], ...]] = (
        EncoderConfig,
        ImageConfig,
        GateConfig,
        ViewConfig,
        FeatureConfig,
        BatteryConfig,
    )

    def __init__(self) -> None:
        """Load the model and subscribe; without a usable model the node waits for one."""
        super().__init__("encoder")
        self._battery = BatteryPolicy(BatteryConfig())
        self._battery_heard_s = math.inf  # monotonic
        self._battery_is_setting = False
        self._model = ModelChoice(self.get_logger().info)
        self._frontend: Frontend | None = None
        self._no_model = ""  # why there is no front end
        self._sparsity, self._sparsity_mode = 0.0, ""  # in force
        self._encoding = threading.Lock()  # held for a whole frame, so that nothing changes in it
        self._view_fault: ViewFault | None = None  # logged last
        self._view_told_s = -math.inf  # when a fault was, monotonic
        self._decoder = ImageDecoder()
        self._values = ValueRange()
        self._config = Parameters(
            self,
            self.PARAMETERS,
            extend=self._switch_to_manual,
            check=self._check,
            apply=self._apply,
            always=("model", "view.mask"),  # the file may be another one
        )
        self._apply(self._config.configs)

        self.get_logger().info(f"Raw images are decoded by {self._decoder.status}")
        self._images = LatestImage()
        self._rate, self._keyframe_rate, self._latency = Rate(), Rate(), Latency()

        overridable = QoSOverridingOptions.with_default_policies()
        self._publisher = self.create_publisher(
            Keyframe, "keyframes", 50, qos_overriding_options=overridable
        )
        transport = self._config[EncoderConfig].image_transport
        self._input = ImageInput(self, transport, self._images.put)
        self._notices = Notices(self)
        self._robot = RobotInputs(self, self._notices, self._input)
        self.create_subscription(
            BatteryState,
            "battery_state",
            self._on_battery,
            qos_profile_sensor_data,
            qos_overriding_options=overridable,
        )
        kinds = dict(TOPICS.values()) | INPUTS | {"battery_state": BatteryState}
        TopicWatch(self, self._notices, kinds)
        self.create_service(EncodeImage, "encode_image", self._encode_image)
        Diagnostics(self, self._report)
        self._worker = threading.Thread(target=self._work, name="encode", daemon=True)
        self._worker.start()

    def destroy_node(self) -> None:
        """Finish the current frame, then stop."""
        self._images.close()
        self._worker.join(timeout=3.0)
        super().destroy_node()

    # Parameters

    def _check(self, configs: Configs) -> None:
        """Refuse a model that does not load and a sparsity at which it cannot run."""
        config = configs[EncoderConfig]
        if self._frontend is None and not self._model.is_set:
            return  # nothing runs that could be checked
        encoder = self._model.load(config)
        if not self._battery_decides(config):
            encoder.check_sparsity(config.sparsity)

    def _apply(self, configs: Configs) -> None:
        """Run with these parameters; without a usable model, wait for one."""
        config, gate, view, features = (
            configs[EncoderConfig],
            configs[GateConfig],
            configs[ViewConfig],
            configs[FeatureConfig],
        )
        self._battery.config = configs[BatteryConfig]
        self._decoder.max_megapixels = configs[ImageConfig].max_megapixels
        if self._frontend is None and not self._model.is_set:
            return
        try:
            self._check(configs)
            encoder = self._model.load(config)
        except VprError as error:
            self.problems.add(error)
            self._no_model = str(error)
            self._model.give_up()
            return
        self._model.use(encoder, config.model)
        frontend = self._frontend or Frontend(
            encoder, KeyframeGate(gate), FeatureExtractor(features), view, random_first_id()
        )
        new_model = self._frontend is None or frontend.encoder is not encoder
        with self._encoding:
            frontend.gate.config = gate
            frontend.thumbnail = configs[ImageConfig].thumbnail
            if frontend.view is not view:
                frontend.view = view
            if frontend.extractor.config != features:
                frontend.extractor = FeatureExtractor(features)
            if new_model:
                frontend.encoder = encoder
                frontend.gate.reset()
            self._sparsity = min(config.sparsity, encoder.contract.sparsity_max)
            self._frontend = frontend
        if new_model:
            self._describe_model(encoder.contract, encoder.threads)
            if encoder.remark:
                self.get_logger().warning(encoder.remark)
        if config.sparsity_mode != self._sparsity_mode:
            self._sparsity_mode = config.sparsity_mode
            self.get_logger().info(
                "Sparsity follows the battery, if there is one"
                if config.sparsity_mode == "auto"
                else f"Sparsity stays at {config.sparsity:g} until sparsity_mode is set to auto"
            )
        self._follow_battery()

    def _describe_model(self, contract: Contract, threads: int) -> None:
        """Take over the model's battery levels and the range of its sparsity."""
        self._battery.levels = contract.levels or UNMEASURED
        descriptor = self.describe_parameter("sparsity")
        descriptor.floating_point_range[0].to_value = contract.sparsity_max
        allowed = Parameter("sparsity", value=self._sparsity).to_parameter_msg().value
        self.set_descriptor("sparsity", descriptor, allowed)
        self.get_logger().info(
            f"Model '{contract.name}' version {contract.version}: {contract.descriptor_size} "
            f"values, sparsity 0 to {contract.sparsity_max:g}, {threads} thread(s)"
        )

    # Sparsity: the battery sets it until a person does

    def _switch_to_manual(self, changes: list[Parameter]) -> list[Parameter]:
        """What changes along: a sparsity that does not come from the battery is to stay."""
        names = {change.name for change in changes}
        # What a node without a model needs may be another sparsity.
        again = {"model"} if self._frontend is None and "sparsity" in names else set()
        self._model.begin(names | again)
        if "sparsity" not in names or "sparsity_mode" in names or self._battery_is_setting:
            return []
        return [Parameter("sparsity_mode", value="manual")]

    def _battery_decides(self, config: EncoderConfig) -> bool:
        return config.sparsity_mode == "auto" and self._battery.decision.sparsity is not None

    def _on_battery(self, message: BatteryState) -> None:
        now_s = self.get_clock().now().nanoseconds * 1e-9
        decision = self._battery.update(conversions.to_reading(message, now_s))
        followed = self._config[EncoderConfig].sparsity_mode == "auto"
        complaint = decision.reason if decision.faulty and followed else ""
        self._notices.say("battery", complaint, BATTERY_SILENT_S)
        self._battery_heard_s = time.monotonic()
        self._follow_battery()

    def _follow_battery(self) -> None:
        """Set the parameter `sparsity` to what the battery asks for, if the battery decides."""
        config, decision = self._config[EncoderConfig], self._battery.decision
        if self._frontend is None or config.sparsity_mode == "manual" or decision.sparsity is None:
            return
        wanted = min(decision.sparsity, self._frontend.encoder.contract.sparsity_max)
        if wanted == config.sparsity:
            return
        # Parameters are only set in the executor's thread, so the flag covers this call alone.
        self._battery_is_setting = True
        try:
            (result,) = self.set_parameters([Parameter("sparsity", value=wanted)])
        finally:
            self._battery_is_setting = False
        if result.successful:
            self.get_logger().info(f"Sparsity is now {wanted:g}: {decision.reason}")
        else:
            self.problems.add(f"The battery could not set the sparsity: {result.reason}")

    # Work

    def _work(self) -> None:
        while (image := self._images.take()) is not None:
            self._rate.tick()
            # No image may end the thread that encodes the next one.
            with self.problems.caught(), self._encoding:
                self._process(image)

    def _process(self, image: Image | CompressedImage) -> None:
        if self._frontend is None:
            return
        frame = self._to_frame(image)
        keyframe = self._frontend.process(frame, self._sparsity)
        self._tell_view_fault(self._frontend.view_fault)
        fault = self._frontend.camera_fault
        self._notices.say("camera", f"No relative poses: {fault}" if fault else "")
        if keyframe is not None:
            self._publisher.publish(conversions.from_keyframe(keyframe))
            self._keyframe_rate.tick()
            self._latency.add_since(frame.stamp_ns, self.get_clock().now().nanoseconds)

    def _tell_view_fault(self, fault: ViewFault | None) -> None:
        """Log when a view ceases to show a place, and when it shows one again.

        Seldom: a camera that alternates its exposure does both with every second image.
        """
        now_s = time.monotonic()
        if fault is self._view_fault or (fault and now_s - self._view_told_s < THROTTLE_S):
            return
        self._view_fault = fault
        if fault is None:
            self.get_logger().info("The camera shows the surroundings again")
        else:
            self._view_told_s = now_s
            self.get_logger().warning(f"No keyframes are made: {fault.value}")

    def _to_frame(self, image: Image | CompressedImage) -> Frame:
        stamp = conversions.stamp_ns(image.header.stamp)
        if stamp <= 0:
            raise ImageError(
                "The image has no stamp, so the pose and time it belongs to are unknown. "
                "Have the camera driver set header.stamp."
            )
        return Frame(
            stamp_ns=stamp,
            decode=lambda: self._decoder.decode(image, self._values),
            frame=image.header.frame_id[:MAX_TEXT],
            pose=self._robot.pose_at(stamp),
            pose_frame=self._robot.poses.frame,
            camera=self._robot.camera,
        )

    def _encode_image(
        self, request: EncodeImage.Request, response: EncodeImage.Response
    ) -> EncodeImage.Response:
        """Encode an image that is not one of the camera's frames."""
        try:
            if self._frontend is None:
                raise VprError(f"The encoder has no model: {self._no_model}")
            encoder = self._frontend.encoder
            compressed = len(request.compressed_image.data) > 0
            image = self._decoder.decode(request.compressed_image if compressed else request.image)
            response.descriptor = self._frontend.encode(image, self._sparsity)
        except VprError as error:
            response.message = str(error)
            return response
        response.success, response.model = True, encoder.contract.name
        response.sparsity, response.model_digest = self._sparsity, encoder.digest
        return response

    # Diagnostics

    def _silence(self) -> str:
        """Why there are no images; empty while there are."""
        silent_s, topic = self._input.silent_s, self._input.topic
        if self._input.transport and silent_s <= SILENT_S:
            return ""
        if wrong := self._notices.about("image"):
            return f"no images: {wrong}"
        return f"no image for {silent_s:.0f} s{' on' if self._input.transport else ':'} {topic}"

    def _report(self) -> Report:
        frontend, config = self._frontend, self._config[EncoderConfig]
        decision, silence = self._battery.decision, self._silence()
        battery, silent_s = decision.reason, time.monotonic() - self._battery_heard_s
        if silent_s > BATTERY_SILENT_S:
            battery += f", but silent for {silent_s:.0f} s"
        if not silence or self._input.silent_s > SILENT_S:
            self._notices.say("silence", "" if self._notices.about("image") else silence)
        if frontend is None:
            level, summary = ERROR, self._no_model
        elif silence:
            level, summary = WARN, silence
        elif self._input.received and not self._rate.per_second():
            level, summary = WARN, HANGS
        elif self.problems.current:
            level, summary = WARN, self.problems.current
        elif frontend.view_fault is not None:
            level, summary = WARN, frontend.view_fault.value
        elif self._notices.current:
            level, summary = WARN, self._notices.current
        else:
            set_by = battery if config.sparsity_mode == "auto" else "set by hand"
            level = OK
            summary = f"encoding {self._input.topic} at sparsity {config.sparsity:g} ({set_by})"
        p50, p95 = self._latency.percentiles_ms()
        fault = frontend.view_fault if frontend else None
        faults = frontend.view_faults if frontend else {}
        refused = {f"refused_{kind.name.lower()}": faults.get(kind, 0) for kind in ViewFault}
        return (
            level,
            summary,
            {
                "model": frontend.encoder.contract.name if frontend else "none",
                "model_digest": frontend.encoder.digest if frontend else "none",
                "view": fault.name.lower() if fault else "ok",
                **refused,
                "operators": frontend.encoder.operators if frontend else "none",
                "provider": frontend.encoder.provider if frontend else "none",
                "sparsity": config.sparsity,
                "sparsity_mode": config.sparsity_mode,
                "battery": battery,
                "charge": math.nan if decision.charge is None else decision.charge,
                "images": self._input.received,
                "image_rate_hz": self._rate.per_second(),
                "keyframe_rate_hz": self._keyframe_rate.per_second(),
                "keyframes": self._keyframe_rate.total,
                "encoded": frontend.encoded if frontend else 0,
                "encode_ms": frontend.encode_s * 1e3 if frontend else math.nan,
                "latency_p50_ms": p50,
                "latency_p95_ms": p95,
                "dropped_images": self._images.dropped,
                "odometry": "yes" if self._robot.poses.frame else "no",
                "memory_mb": memory_mb(),
                "cpu_s": time.process_time(),
            },
        )
