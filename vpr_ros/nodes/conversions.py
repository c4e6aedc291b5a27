# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages to core values and back."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Quaternion, Vector3
from geometry_msgs.msg import Pose as PoseMsg
from sensor_msgs.msg import BatteryState, CameraInfo, Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from vpr_msgs.msg import Calibration as CalibrationMsg
from vpr_msgs.msg import Candidate as CandidateMsg
from vpr_msgs.msg import Keyframe as KeyframeMsg
from vpr_msgs.msg import LocalFeatures as LocalFeaturesMsg
from vpr_msgs.msg import LoopClosure as LoopClosureMsg
from vpr_msgs.msg import Query as QueryMsg
from vpr_ros.core.battery import BatteryReading
from vpr_ros.core.calibration import Calibration
from vpr_ros.core.camera_model import CameraModel
from vpr_ros.core.errors import DescriptorError, KeyframeError
from vpr_ros.core.keyframe import (
    FEATURE_SIZES,
    MAX_FEATURES,
    MAX_TEXT,
    MAX_THUMBNAIL,
    NS_PER_S,
    Candidate,
    Keyframe,
    LocalFeatures,
    Place,
    Thumbnail,
)
from vpr_ros.core.map_data import MAX_DESCRIPTOR, check_keyframe
from vpr_ros.core.pose import Pose
from vpr_ros.mapping.relocalization import CameraConfig, camera_turn

if TYPE_CHECKING:  # the encoder node does without faiss, which the loop detector imports
    from vpr_ros.core.loop_detector import LoopClosure, Query

Array = npt.NDArray[Any]
MAX_MARKER_LINES = 2000  # RViz slows down far above


def stamp_ns(stamp: Time) -> int:
    """Nanoseconds of a ROS time."""
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def to_time(nanoseconds: int) -> Time:
    """ROS time of nanoseconds."""
    return Time(sec=nanoseconds // NS_PER_S, nanosec=nanoseconds % NS_PER_S)


def to_pose(message: PoseMsg) -> Pose:
    """Core pose of a message."""
    p, q = message.position, message.orientation
    return Pose(p.x, p.y, p.z, q.x, q.y, q.z, q.w)


def from_pose(pose: Pose | None) -> PoseMsg:
    """Message of a core pose; a default message for None."""
    message = PoseMsg()
    if pose is not None:
        p, q = message.position, message.orientation
        p.x, p.y, p.z, q.x, q.y, q.z, q.w = pose.values
    return message


def to_camera(message: CameraInfo, rectified: bool) -> CameraModel | None:
    """Core camera of a message; None for an uncalibrated one, which sends zeros.

    Raises CameraError for values that mean nothing.
    """
    roi = message.roi
    return CameraModel.of(
        k=message.k,
        d=message.d,
        p=message.p,
        model=message.distortion_model,
        size=(message.width, message.height),
        binning=(message.binning_x, message.binning_y),
        roi=(roi.x_offset, roi.y_offset, roi.width, roi.height),
        rectified=rectified,
    )


def from_keyframe(keyframe: Keyframe) -> KeyframeMsg:
    """Message of a keyframe."""
    thumbnail = keyframe.thumbnail
    return KeyframeMsg(
        header=Header(stamp=to_time(keyframe.stamp_ns), frame_id=keyframe.frame),
        id=keyframe.id,
        model=keyframe.model,
        sparsity=float(keyframe.sparsity),
        descriptor=_floats(keyframe.descriptor),
        calibration=CalibrationMsg(score_threshold=keyframe.calibration.score_threshold),
        has_pose=keyframe.pose is not None,
        pose=from_pose(keyframe.pose),
        pose_frame=keyframe.pose_frame,
        features=_from_features(keyframe.features),
        model_digest=keyframe.model_digest,
        thumbnail=array("B", thumbnail.jpeg if thumbnail else b""),
        image_width=thumbnail.image_width if thumbnail else 0,
        provider=keyframe.provider,
    )


def to_keyframe(message: KeyframeMsg) -> Keyframe:
    """Core keyframe of a message; the database checks it.

    Raises KeyframeError, before memory is taken, for what a message can say but a keyframe cannot.
    """
    _check_keyframe(message)
    return Keyframe(
        id=message.id,
        stamp_ns=stamp_ns(message.header.stamp),
        model=message.model,
        sparsity=message.sparsity,
        descriptor=np.array(message.descriptor, np.float32),
        frame=message.header.frame_id,
        pose=to_pose(message.pose) if message.has_pose else None,
        pose_frame=message.pose_frame,
        features=_to_features(message.features),
        calibration=Calibration(message.sparsity, message.calibration.score_threshold),
        model_digest=message.model_digest,
        thumbnail=Thumbnail(bytes(message.thumbnail), message.image_width)
        if message.thumbnail
        else None,
        provider=message.provider,
    )


def checked_keyframe(message: KeyframeMsg) -> Keyframe:
    """As `to_keyframe`, for who has no database that checks it."""
    keyframe = to_keyframe(message)
    check_keyframe(keyframe)
    return keyframe


def _check_keyframe(message: KeyframeMsg) -> None:
    stamp, features = message.header.stamp, message.features
    if not message.id:
        raise KeyframeError("A keyframe with id 0 was refused, since 0 stands for none.")
    complaint = stamp_complaint(stamp)
    if len(message.descriptor) > MAX_DESCRIPTOR:
        complaint = f"its descriptor has {len(message.descriptor)} values"
    elif max(len(features.keypoints) / 2, len(features.descriptors) / 128) > MAX_FEATURES:
        complaint = f"it has {len(features.keypoints) / 2:g} local features"
    elif len(message.thumbnail) > MAX_THUMBNAIL:
        complaint = f"its thumbnail has {len(message.thumbnail)} bytes"
    if complaint:
        raise KeyframeError(
            f"Keyframe {message.id} was refused: {complaint}. Check what publishes it."
        )


def stamp_complaint(stamp: Time) -> str:
    """What is wrong with a stamp; "" for one that can be."""
    if stamp.sec >= 0 and stamp.nanosec < NS_PER_S:
        return ""
    return f"its stamp {stamp.sec} s {stamp.nanosec} ns is before 1970 or after 2038"


def check_closure(message: LoopClosureMsg) -> None:
    """Raise KeyframeError for a closure that no database can have found."""
    ids, q = (message.query_id, message.match_id), message.rotation
    complaint = stamp_complaint(message.header.stamp) or stamp_complaint(message.match_stamp)
    if not all(ids) or ids[0] == ids[1]:
        complaint = "these are not two keyframes"
    elif not 0.0 <= message.confidence <= 1.0:
        complaint = f"its confidence is {message.confidence:g}"
    elif message.has_relative_pose and not Pose(0.0, 0.0, 0.0, q.x, q.y, q.z, q.w).is_valid:
        complaint = "its rotation is not valid"
    elif max(len(message.header.frame_id), len(message.match_robot)) > MAX_TEXT:
        complaint = f"a name has more than {MAX_TEXT} characters"
    if complaint:
        raise KeyframeError(
            f"The closure of keyframes {ids[0]} and {ids[1]} was refused: {complaint}. Check what "
            "publishes it."
        )


def from_candidate(candidate: Candidate) -> CandidateMsg:
    """Message of a candidate."""
    place = candidate.place
    return CandidateMsg(
        id=place.id,
        stamp=to_time(place.stamp_ns),
        score=candidate.score,
        has_pose=place.pose is not None,
        pose=from_pose(place.pose),
        pose_frame=place.pose_frame,
    )


def from_query(query: Query, header: Header, keyframes: int) -> QueryMsg:
    """Message of an answered query."""
    return QueryMsg(
        header=header,
        query_id=query.place.id,
        reason=int(query.reason),
        message=query.message,
        candidates=[from_candidate(c) for c in query.candidates],
        keyframes=keyframes,
    )


def from_closure(closure: LoopClosure, query_id: int, header: Header) -> LoopClosureMsg:
    """Message of a loop closure."""
    message = LoopClosureMsg(
        header=header,
        query_id=query_id,
        match_id=closure.match.id,
        match_stamp=to_time(closure.match.stamp_ns),
        score=closure.score,
        margin=closure.margin,
        confidence=closure.confidence,
    )
    if closure.verification is not None:
        message.verification = LoopClosureMsg.VERIFIED
        message.inliers = closure.verification.inliers
        relative = closure.verification.T_match_query
        if relative is not None:
            message.has_relative_pose = True
            message.rotation = _quaternion(relative.rotation)
            x, y, z = map(float, relative.direction)
            message.direction = Vector3(x=x, y=y, z=z)
    return message


def from_image(picture: Array, header: Header) -> Image:
    """Message of a BGR picture (H, W, 3)."""
    height, width = picture.shape[:2]
    message = Image(header=header, height=height, width=width, encoding="bgr8", step=3 * width)
    message.data = array("B", np.ascontiguousarray(picture).tobytes())
    return message


def turn_of(message: LoopClosureMsg, camera: CameraConfig) -> Pose | None:
    """The robot's turn from the match to the query of a closure; None if it is not known."""
    q = message.rotation
    turn = Pose(0.0, 0.0, 0.0, q.x, q.y, q.z, q.w)
    return camera_turn(turn, camera) if message.has_relative_pose and turn.is_valid else None


def to_reading(message: BatteryState, now_s: float) -> BatteryReading:
    """Core reading of a battery message received at `now_s`; many drivers set no stamp."""
    return BatteryReading(
        stamp_s=now_s,
        percentage=message.percentage,
        voltage=message.voltage,
        status=message.power_supply_status,
        present=message.present,
    )


class LoopMarkers:
    """Loop closures for RViz: a line from each query to its match, if odometry connects them.

    Only closures of the query's session have lines: in another one odometry began elsewhere.
    """

    def __init__(self, known: Callable[[int], Place | None]) -> None:
        """`known` gives the place of an id as it is now: loading a map renumbers sessions."""
        self._lines: deque[tuple[Point, Point]] = deque(maxlen=MAX_MARKER_LINES)
        self._known = known
        self._last: Place | None = None  # the last query with a pose

    def add(self, query: Place, match: Place) -> bool:
        """Add a loop closure; returns whether the lines have changed."""
        changed = query.is_connected(match)
        if query.pose is not None:
            last, self._last = self._last, query
            if last is not None and not (self._known(last.id) or last).is_connected(query):
                changed = changed or bool(self._lines)
                self._lines.clear()
        if query.is_connected(match):
            first, second = (Point(x=p.x, y=p.y, z=p.z) for p in (query.pose, match.pose) if p)
            self._lines.append((first, second))
        return changed

    def message(self, stamp: Time) -> Marker:
        """All lines as one marker."""
        action = Marker.ADD if self._lines else Marker.DELETE
        marker = Marker(ns="loop_closures", type=Marker.LINE_LIST, action=action)
        marker.header.frame_id = self._last.pose_frame if self._last else ""
        marker.header.stamp = stamp
        marker.pose.orientation.w = 1.0
        marker.scale.x = 0.05  # m
        marker.color.g = marker.color.a = 1.0
        marker.points = [point for line in self._lines for point in line]
        return marker


def _floats(values: Array) -> array[float]:
    """An array in the form that messages take without checking every value."""
    result = array("f")
    result.frombytes(np.ascontiguousarray(values, np.float32).tobytes())
    return result


def _from_features(features: LocalFeatures | None) -> LocalFeaturesMsg:
    message = LocalFeaturesMsg(extracted=features is not None)
    if features is not None:
        message.keypoints = _floats(features.keypoints)
        message.descriptors = array("B", features.descriptors.tobytes())
        message.pixel_size = features.pixel_size
        message.sharpness, message.clipped = features.sharpness, features.clipped
        if features.camera_matrix is not None:
            message.camera_matrix = features.camera_matrix.reshape(9)
    return message


def _to_features(message: LocalFeaturesMsg) -> LocalFeatures | None:
    keypoints = np.array(message.keypoints, np.float32)
    descriptors = np.array(message.descriptors, np.uint8)
    count = len(keypoints) // 2
    size = len(descriptors) // count if count else FEATURE_SIZES["sift"]
    if (
        len(keypoints) != 2 * count
        or size not in FEATURE_SIZES.values()
        or len(descriptors) != count * size
    ):
        raise DescriptorError(
            f"Local features have {len(keypoints) / 2:g} keypoints but {len(descriptors)} bytes "
            "of descriptors; send two values and 128 (SIFT) or 32 (ORB) bytes per keypoint."
        )
    if not message.extracted and not count:
        return None
    matrix = np.array(message.camera_matrix, np.float64).reshape(3, 3)
    return LocalFeatures(
        keypoints=keypoints.reshape(-1, 2),
        descriptors=descriptors.reshape(count, size),
        pixel_size=message.pixel_size,
        camera_matrix=matrix if matrix[0, 0] > 0 else None,
        sharpness=message.sharpness,
        clipped=message.clipped,
    )


def _quaternion(rotation: Array) -> Quaternion:
    """Unit quaternion of a rotation matrix (3, 3)."""
    x, y, z = map(float, cv2.Rodrigues(rotation)[0][:, 0])
    angle = math.sqrt(x * x + y * y + z * z)
    scale = math.sin(angle / 2) / angle if angle > 1e-12 else 0.5
    return Quaternion(x=x * scale, y=y * scale, z=z * scale, w=math.cos(angle / 2))
