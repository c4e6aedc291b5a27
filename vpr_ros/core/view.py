# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a camera frame shows a place at all, and which part of it shows the robot itself.

A covered lens, a frozen driver and the robot's own body look the same everywhere, so keyframes of
such views would close loops between any two places. The limits below were set on 5,000 real images
and on darker, brighter and blurred copies of them; see `test/core/test_view.py`.
"""

from __future__ import annotations

import dataclasses
import enum
import os
from collections import deque
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.images import Image
from vpr_ros.core.keyframe import NS_PER_S, LocalFeatures
from vpr_ros.core.pose import Pose
from vpr_ros.core.recency import session_has_ended

Grey = npt.NDArray[np.float32]
Visible = npt.NDArray[np.bool_]

COLUMNS = 80  # of the thumbnail that is examined; each cell is the mean of many pixels
BLACK = 16  # of 255, 99th percentile; a room at a quarter of its brightness reaches 18
SATURATED, OVEREXPOSED = 250, 0.97  # share of the pixels that are this bright
FLAT = 0.8  # grey levels from cell to cell, 98th percentile; the emptiest real wall has 1.65
NOISE = 3.0  # times the noise of a cell: 99 % of what white noise alone makes (Rayleigh)
EVEN = 4.0  # grey levels, standard deviation of the thumbnail; below it noise is no structure
ANOTHER = 2.0  # grey levels, mean change of the thumbnail: more than noise
TEXTURE = 4.0  # grey levels from cell to cell: an edge that can be recognised
UNCHANGED = 0.25  # relative change of an edge that noise and automatic exposure can explain
# Shares of pixels and of edges that are the same in two views. Between neighbouring keyframes of
# the real sequences at most 0.19 of the pixels and 0.49 of the edges are.
SAME_PIXELS, SAME_EDGES = 0.9, 0.8
MOVED_M, MOVED_DEG = 0.2, 10.0  # by odometry: the picture must have changed
REPEATED_S = 3.0  # without odometry: no camera repeats a picture bit for bit for so long
REMEMBERED = 8  # views; a driver that hangs may cycle through a ring of buffers
BODY_VIEWS = 3  # keyframes with the same edges, after which these are taken for the robot's


class ViewFault(enum.Enum):
    """Why a view shows no place."""

    BLACK = "the picture is black: is the lens covered, the light off, or the exposure too short?"
    OVEREXPOSED = "the picture is white: it is over-exposed"
    COVERED = "the picture has no structure: is the lens covered, or close to a blank surface?"
    FROZEN = "the picture stays the same: the camera is frozen, or the odometry is wrong"
    OWN_BODY = "only the robot's own body can be recognised: all edges move along with the robot"


@dataclasses.dataclass(frozen=True)
class ViewConfig(Config):
    """Which part of the picture shows the surroundings, and whether it is checked."""

    group: ClassVar[str] = "view"

    check: bool = param(
        True, "make no keyframes from images that are black, over-exposed, featureless or frozen"
    )
    mask: str = param(
        "",
        "where the camera sees the robot itself: a share of the image height, from the bottom, "
        "e.g. 0.25, or an image file that is black there and white elsewhere",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        read_mask(self.mask)


class Mask:
    """The part of a camera's picture that shows the surroundings."""

    def __init__(self, visible: Visible) -> None:
        """`visible` (H, W) may have any size; it is stretched over the picture."""
        self._given = visible.astype(np.uint8)
        # At the size of the last picture; one object, since two threads use it.
        self._stretched: tuple[npt.NDArray[np.uint8], tuple[slice, slice] | None] | None = None

    def visible(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """(height, width) 1 where the picture shows the surroundings, 0 where the robot is."""
        return self._at(height, width)[0]

    def _at(
        self, height: int, width: int
    ) -> tuple[npt.NDArray[np.uint8], tuple[slice, slice] | None]:
        """What is visible, and the box around it."""
        known = self._stretched
        if known is not None and known[0].shape == (height, width):
            return known
        stretched = cv2.resize(self._given, (width, height), interpolation=cv2.INTER_NEAREST)
        pixels = stretched.astype(np.uint8, copy=False)
        rows = np.flatnonzero(pixels.mean(axis=1) >= 0.5)
        columns = np.flatnonzero(pixels.mean(axis=0) >= 0.5)
        box = None
        if len(rows) and len(columns):
            box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        self._stretched = pixels, box
        return pixels, box

    def filled(self, image: Image) -> Image:
        """The image (H, W, 3) with the mean colour of the surroundings in place of the robot."""
        visible = self.visible(*image.shape[:2])
        filled = np.empty_like(image)
        filled[:] = np.round(cv2.mean(image, visible)[:3])
        return np.asarray(cv2.copyTo(image, visible, filled), np.uint8)

    def cropped(self, image: Image) -> Image:
        """The part of the image (H, W, 3) that shows the surroundings, for the network.

        Rows and columns at the border are cropped as long as the robot covers more than half of
        them; its remaining pixels are filled. Filling alone costs much: of 40 revisits with a
        quarter of the picture covered, mobilenetv2-gem retrieves 35 at 100 % precision and
        tat-vpr-s (version 1) 19; with cropping, both retrieve 40.
        """
        visible, box = self._at(*image.shape[:2])
        if box is None:
            return self.filled(image)
        return np.ascontiguousarray((image if visible[box].all() else self.filled(image))[box])

    def without_body(self, features: LocalFeatures, height: int, width: int) -> LocalFeatures:
        """The features of a picture (height, width) that are not on or next to the robot."""
        # An ORB descriptor covers a patch of 31 pixels of the reduced image.
        reach = int(np.ceil(31 / 2 * features.pixel_size))
        kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        free = cv2.erode(self.visible(height, width), kernel)
        x, y = features.keypoints.round().astype(int).T
        kept = free[y.clip(0, height - 1), x.clip(0, width - 1)] > 0
        return dataclasses.replace(
            features,
            keypoints=features.keypoints[kept],
            descriptors=features.descriptors[kept],
        )


def read_mask(text: str) -> Mask | None:
    """The mask that `view.mask` describes; None if it is empty. Raises ConfigError."""
    if not text:
        return None
    try:
        share = float(text)
    except ValueError:
        visible = _read_mask_file(Path(os.path.expanduser(text)))
    else:
        if not 0.0 < share <= 0.9:
            raise ConfigError(
                f"Parameter 'view.mask' is {text}; give a share of the height in (0, 0.9], or "
                "an image file."
            )
        visible = (np.arange(1000) < round(1000 * (1 - share)))[:, np.newaxis]
    if visible.mean() < 0.1:
        raise ConfigError(
            f"Parameter 'view.mask' is {text}, which leaves {visible.mean():.0%} of the picture; "
            "white marks the surroundings, black the robot."
        )
    return Mask(visible)


def _read_mask_file(path: Path) -> Visible:
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if os.path.isfile(path) else None
    if pixels is None:
        raise ConfigError(
            f"Parameter 'view.mask' is {path}, which is no image file; give one, or a share of "
            "the height such as 0.25."
        )
    visible: Visible = pixels > 127
    return visible


@dataclasses.dataclass(frozen=True)
class View:
    """What is stored of a frame to compare others with it."""

    stamp_ns: int
    pose: Pose | None
    pixels: Image  # (h, w, 3) taken from the frame as they are, about 80 a row
    thumbnail: Grey  # (h, COLUMNS) grey levels
    visible: Visible  # (h, COLUMNS) cells that show nothing of the robot, as far as is known
    noise: float  # grey levels from cell to cell that the noise of the pixels makes

    @property
    def edges(self) -> Grey:
        """(h - 1, COLUMNS - 1, 2) change to the next cell, right and down; 0 at masked cells."""
        t = self.thumbnail
        edges = np.stack([t[:-1, 1:] - t[:-1, :-1], t[1:, :-1] - t[:-1, :-1]], axis=-1)
        v = self.visible
        edges[~(v[:-1, :-1] & v[:-1, 1:] & v[1:, :-1])] = 0.0
        return edges


def view_of(image: Image, stamp_ns: int, pose: Pose | None, mask: Mask | None) -> View:
    """The view of a BGR image (H, W, 3)."""
    height, width = image.shape[:2]
    rows = max(8, round(COLUMNS * height / width))
    # Rounded to whole grey levels, a faint slope would look like steps.
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    thumbnail: Grey = cv2.resize(grey, (COLUMNS, rows), interpolation=cv2.INTER_AREA).astype(
        np.float32, copy=False
    )
    visible = np.ones((rows, COLUMNS), np.bool_)
    if mask is not None:
        share = mask.visible(height, width).astype(np.float32)
        visible = cv2.resize(share, (COLUMNS, rows), interpolation=cv2.INTER_AREA) > 0.999
    step = max(1, height // rows), max(1, width // COLUMNS)
    pixels = image[:: step[0], :: step[1]].copy()
    if mask is not None:
        pixels *= mask.visible(height, width)[:: step[0], :: step[1], np.newaxis]
    beside = image[:: step[0], 1 :: step[1], 1].astype(np.float32)
    difference = beside - image[:: step[0], :: step[1], 1][:, : beside.shape[1]]
    # Median of |difference| of normal noise is 0.954 sigma; a cell averages over its pixels.
    noise = float(np.median(np.abs(difference))) / 0.954 if difference.size else 0.0
    per_cell = max(1.0, height * width / (rows * COLUMNS))
    return View(stamp_ns, pose, pixels, thumbnail, visible, noise * float(np.sqrt(2 / per_cell)))


def single_fault(view: View) -> ViewFault | None:
    """The fault that is visible in a single picture; None if there is none."""
    shown = view.thumbnail[view.visible]
    if np.percentile(shown, 99) <= BLACK:
        return ViewFault.BLACK
    if np.mean(shown >= SATURATED) >= OVEREXPOSED:
        return ViewFault.OVEREXPOSED
    strength = float(np.percentile(np.linalg.norm(view.edges, axis=-1), 98))
    noisy = strength < FLAT + NOISE * view.noise and float(shown.std()) < EVEN
    return ViewFault.COVERED if strength < FLAT or noisy else None


class ViewCheck:
    """Checks every frame that might become a keyframe, and remembers the last keyframes."""

    def __init__(self, enabled: bool = True) -> None:
        """If not `enabled`, no fault is reported."""
        self.enabled = enabled
        self._kept: deque[View] = deque(maxlen=REMEMBERED)
        self._shown: View | None = None  # the first view of the picture that is being shown

    def fault(self, view: View) -> ViewFault | None:
        """Why this view cannot be trusted, or None."""
        if not self.enabled:
            return None
        if session_has_ended(view.stamp_ns, [kept.stamp_ns for kept in self._kept]):
            self._kept.clear()
        if found := single_fault(view):
            return found
        if self._repeats(view) or any(_contradicts(view, kept) for kept in self._kept):
            return ViewFault.FROZEN
        return ViewFault.OWN_BODY if self._shows_only_the_body(view) else None

    def keep(self, view: View) -> None:
        """Remember the view of a keyframe."""
        self._kept.append(view)

    def _repeats(self, view: View) -> bool:
        """Without odometry: whether the picture has been the same, bit for bit, for too long."""
        shown = self._shown
        if (
            shown is None
            or session_has_ended(view.stamp_ns, [shown.stamp_ns])
            or not np.array_equal(view.pixels, shown.pixels)
        ):
            self._shown = shown = view
        shown_for = view.stamp_ns - shown.stamp_ns
        return view.pose is None and shown_for >= REPEATED_S * NS_PER_S

    def _shows_only_the_body(self, view: View) -> bool:
        """Whether the last keyframes have the same edges although they are other views."""
        last = list(self._kept)[-BODY_VIEWS:]
        return len(last) == BODY_VIEWS and all(
            _is_another(view, kept) and _equal_edges(view, kept) >= SAME_EDGES for kept in last
        )


def _contradicts(view: View, kept: View) -> bool:
    """Whether odometry says that the camera has moved and the picture that it has not."""
    if not _has_moved(view, kept) or view.pixels.shape != kept.pixels.shape:
        return False
    # Black and white pixels are equal in any two pictures.
    telling = (view.pixels > 5) & (view.pixels < SATURATED)
    return (
        bool(telling.any())
        and float(np.mean((view.pixels == kept.pixels)[telling])) >= SAME_PIXELS
    )


def _has_moved(view: View, kept: View) -> bool:
    return (
        view.pose is not None
        and kept.pose is not None
        and (
            view.pose.distance_m(kept.pose) >= MOVED_M
            or view.pose.angle_deg(kept.pose) >= MOVED_DEG
        )
    )


def _is_another(view: View, kept: View) -> bool:
    """Whether the views differ: by odometry, or in brightness."""
    if view.thumbnail.shape != kept.thumbnail.shape:
        return False
    change = np.abs(view.thumbnail - kept.thumbnail)[view.visible].mean()
    return _has_moved(view, kept) or float(change) >= ANOTHER


def _equal_edges(view: View, kept: View) -> float:
    """The share of the view's edges that the other has too; 0 if there are too few edges."""
    edges, others = view.edges, kept.edges
    strength = np.linalg.norm(edges, axis=-1)
    found = strength >= TEXTURE
    if found.mean() < 0.01:
        return 0.0
    change = np.linalg.norm(edges - others, axis=-1)
    return float(np.mean((change <= UNCHANGED * strength + 1.0)[found]))
