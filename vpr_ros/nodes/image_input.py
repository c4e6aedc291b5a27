# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images from the camera: subscribe to what is published, keep the latest, decode it."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image

from vpr_ros.core import images
from vpr_ros.core.image_files import decode_compressed
from vpr_ros.core.value_range import ValueRange
from vpr_ros.nodes.guarded_node import GuardedNode
from vpr_ros.nodes.notices import silence, type_name

TOPICS = {"raw": ("image", Image), "compressed": ("image/compressed", CompressedImage)}
# After this long without images, switch to the other transport if that has a publisher.
PATIENCE_S = 3.0
# 8-bit encodings that every cv_bridge converts to bgr8, with their bytes per pixel. PyPI's port
# lacks bayer_grbg8 because of a typo, and none knows nv12; the core decodes those.
BRIDGED = {
    "bgr8": 3,
    "rgb8": 3,
    "bgra8": 4,
    "rgba8": 4,
    "mono8": 1,
    "bayer_rggb8": 1,
    "bayer_bggr8": 1,
    "bayer_gbrg8": 1,
}


class ImageInput:
    """Subscribes to `image` or `image/compressed`; best effort, which matches every publisher."""

    def __init__(
        self,
        node: GuardedNode,
        transport: str,
        callback: Callable[[Image | CompressedImage], None],
    ) -> None:
        """`transport` is raw, compressed, or auto: whichever is published, preferably raw."""
        self._node = node
        self._callback = callback
        self._subscription: Subscription | None = None
        self._clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._silent_since = self._tried_since = self._clock.now()
        self.transport = ""
        self.received = 0
        self._told: set[str] = set()  # transports that were said since the last image
        if transport == "auto":
            self._choose()
            node.create_timer(0.5, self._choose, clock=self._clock)
        else:
            self._subscribe(transport)

    @property
    def topic(self) -> str:
        """The topic subscribed to, or why there is none."""
        if not self.transport:
            return silence(self._node)
        return str(self._node.resolve_topic_name(TOPICS[self.transport][0]))

    @property
    def silent_s(self) -> float:
        """Time since the last image, or since the first subscription [s]."""
        return self._since(self._silent_since)

    def _since(self, then: Time) -> float:
        return float((self._clock.now() - then).nanoseconds * 1e-9)

    def _choose(self) -> None:
        published = [t for t, (topic, _) in TOPICS.items() if self._has_publisher(topic)]
        # A camera that publishes neither counts as silent all along, whichever is being tried.
        waited_s = min(self.silent_s, self._since(self._tried_since))
        if not self.transport:
            if published:
                self._subscribe(published[0])
        elif waited_s > PATIENCE_S and published and published != [self.transport]:
            self._subscribe(next(t for t in published if t != self.transport))

    def _has_publisher(self, topic: str) -> bool:
        found = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(topic))
        wanted = type_name(dict(TOPICS.values())[topic])
        return any(publisher.topic_type == wanted for publisher in found)

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
        if not self.transport:
            self._silent_since = self._clock.now()
        self.transport, self._tried_since = transport, self._clock.now()
        if transport not in self._told:  # a camera may rest for hours
            self._node.get_logger().info(f"Subscribed to {self.topic}")
        self._told.add(transport)

    def _receive(self, message: Image | CompressedImage) -> None:
        self._silent_since = self._clock.now()
        self.received += 1
        self._told.clear()
        self._callback(message)


class LatestImage:
    """A slot for one image instead of a queue, so that no backlog can form."""

    def __init__(self) -> None:
        self.dropped = 0  # replaced before they were taken
        self._image: Image | CompressedImage | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, image: Image | CompressedImage) -> None:
        """Replace the image that is still waiting, if any."""
        with self._changed:
            self.dropped += self._image is not None
            self._image = image
            self._changed.notify()

    def take(self) -> Image | CompressedImage | None:
        """Wait for an image and remove it; None once the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._image is not None or self._closed)
            image, self._image = self._image, None
            return None if self._closed else image

    def close(self) -> None:
        """Wake up whoever waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class ImageDecoder:
    """Decodes raw and compressed images to BGR (H, W, 3) uint8."""

    def __init__(self) -> None:
        """Use cv_bridge if a working one is installed; `status` says what decodes raw images."""
        self._bridge, self.status = _load_bridge()
        self.max_megapixels = images.MAX_MEGAPIXELS

    def decode(
        self, message: Image | CompressedImage, values: ValueRange | None = None
    ) -> images.Image:
        """Pixels of a message; raises ImageError if it cannot be decoded.

        `values` is the range of a camera's 16-bit images; without it, that of this image.
        """
        if isinstance(message, CompressedImage):
            return decode_compressed(message.data, message.format, values, self.max_megapixels)
        if self._bridge is not None and _is_plain(message):
            images.check_size(message.height, message.width, self.max_megapixels)
            pixels = self._bridge.imgmsg_to_cv2(message, "bgr8")
            return np.asarray(pixels, np.uint8)
        return images.decode_raw(
            message.data,
            height=message.height,
            width=message.width,
            encoding=message.encoding,
            step=message.step,
            is_bigendian=bool(message.is_bigendian),
            values=values,
            max_megapixels=self.max_megapixels,
        )


def _is_plain(message: Image) -> bool:
    """Whether cv_bridge decodes this correctly: a known encoding, no padding, the right length.

    PyPI's port ignores padding, its error for a message that is too short does not say so, and
    with NumPy 2 it fails at big-endian images, even of bytes.
    """
    row = message.width * BRIDGED.get(message.encoding, 0)
    return bool(
        row
        and message.height
        and not message.is_bigendian
        and message.step == row
        and len(message.data) == row * message.height
    )


def _load_bridge() -> tuple[Any, str]:
    try:
        module = importlib.import_module("cv_bridge")
        if int(np.__version__.split(".")[0]) >= 2 and _is_compiled():
            # Built against NumPy 1, it crashes: ros-perception/vision_opencv#535.
            return None, "cv_bridge from apt does not work with NumPy 2; using OpenCV directly"
        return module.CvBridge(), "cv_bridge"
    except Exception as error:  # a broken cv_bridge fails in many ways
        return None, f"cv_bridge is not usable ({error}); using OpenCV directly"


def _is_compiled() -> bool:
    path = importlib.import_module("cv_bridge.boost.cv_bridge_boost").__file__
    return bool(path) and not str(path).endswith(".py")
