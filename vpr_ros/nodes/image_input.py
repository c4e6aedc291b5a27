# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The camera: raw or compressed, as asked for or as found."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

TOPICS = {"raw": ("image", Image), "compressed": ("image/compressed", CompressedImage)}
# A publisher that stays silent this long loses to the other transport, if that has one.
PATIENCE_S = 3.0


class ImageInput:
    """Subscribes to `image` or `image/compressed`, best effort, which matches every publisher."""

    def __init__(
        self, node: Node, transport: str, callback: Callable[[Image | CompressedImage], None]
    ) -> None:
        """`transport` is raw, compressed, or auto: whatever is published, raw first."""
        self._node = node
        self._callback = callback
        self._subscription: Subscription | None = None
        self._clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._silent_since = self._clock.now()
        self.transport = ""
        self.received = 0
        if transport == "auto":
            self._choose()
            node.create_timer(0.5, self._choose, clock=self._clock)
        else:
            self._subscribe(transport)

    @property
    def topic(self) -> str:
        """What is listened to, in words."""
        if not self.transport:
            name = self._node.resolve_topic_name("image")
            return f"nothing: neither {name} nor {name}/compressed has a publisher"
        return str(self._node.resolve_topic_name(TOPICS[self.transport][0]))

    @property
    def silent_s(self) -> float:
        """Time since the last image, or since the subscription [s]."""
        return float((self._clock.now() - self._silent_since).nanoseconds * 1e-9)

    def _choose(self) -> None:
        published = [t for t, (topic, _) in TOPICS.items() if self._has_publisher(topic)]
        if not self.transport:
            if published:
                self._subscribe(published[0])
        elif self.silent_s > PATIENCE_S and published and published != [self.transport]:
            self._subscribe(next(t for t in published if t != self.transport))

    def _has_publisher(self, topic: str) -> bool:
        return bool(self._node.count_publishers(self._node.resolve_topic_name(topic)))

    def _subscribe(self, transport: str) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        topic, kind = TOPICS[transport]
        self._subscription = self._node.create_subscription(
            kind,
            topic,
            self._receive,
            qos_profile_sensor_data,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self.transport = transport
        self._silent_since = self._clock.now()
        self._node.get_logger().info(f"Listening to {self.topic}")

    def _receive(self, message: Image | CompressedImage) -> None:
        self._silent_since = self._clock.now()
        self.received += 1
        self._callback(message)
