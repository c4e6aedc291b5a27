# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The picture of an answer: query next to match, with lines between agreeing features."""

from __future__ import annotations

import contextlib
import textwrap

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import ImageError
from vpr_ros.core.image_files import THUMBNAIL_MEGAPIXELS, decode_compressed
from vpr_ros.core.images import Image
from vpr_ros.core.keyframe import Place, Thumbnail
from vpr_ros.core.verifier import Verification

PANEL = 320  # px, longer side of a view
GAP = 4  # px between the views
MOST_LINES = 60  # more hide what they join
FONT, FONT_SIZE, LINE_HEIGHT, LINE_CHARACTERS = cv2.FONT_HERSHEY_SIMPLEX, 0.38, 16, 98
GREEN, RED = (60, 200, 60), (60, 60, 230)  # BGR
NO_VIEW = np.full((PANEL * 3 // 4, PANEL, 3), 60, np.uint8)
cv2.putText(NO_VIEW, "no thumbnail", (110, 124), FONT, 0.5, (255, 255, 255), 1, cv2.LINE_AA)


def closure_picture(
    query: Place, match: Place, verification: Verification | None, text: str, accepted: bool
) -> Image:
    """A BGR picture (H, W, 3): the query's thumbnail on the left, the match's on the right.

    At most MOST_LINES of the verification's pairs are joined by lines. A view without a thumbnail
    is grey and has no lines. The text is at the top, in green if the answer was `accepted`.
    """
    views = [_view(place) for place in (query, match)]
    height = max(view.shape[0] for view in views)
    lines = textwrap.wrap(text, LINE_CHARACTERS)[:3]
    top = LINE_HEIGHT * len(lines) + 6
    picture = np.zeros((top + height, 2 * PANEL + GAP, 3), np.uint8)
    colour = GREEN if accepted else RED
    for row, line in enumerate(lines):
        origin = (4, LINE_HEIGHT * (row + 1) - 3)
        cv2.putText(picture, line, origin, FONT, FONT_SIZE, colour, 1, cv2.LINE_AA)
    points = []
    for side, (place, view) in enumerate(zip((query, match), views, strict=True)):
        left = side * (PANEL + GAP) + (PANEL - view.shape[1]) // 2
        picture[top : top + view.shape[0], left : left + view.shape[1]] = view
        if verification is not None and view is not NO_VIEW and place.features:
            assert place.thumbnail is not None
            step = -(-len(verification.pairs) // MOST_LINES) or 1
            seen = place.features.keypoints[verification.pairs[::step, side]]
            points.append(_on_view(seen, place.thumbnail, view) + np.array([left, top]))
    for ends in zip(*points, strict=True) if len(points) == 2 else ():
        a, b = (np.rint(end).astype(int).tolist() for end in ends)
        cv2.line(picture, a, b, colour, 1, cv2.LINE_AA)
        for end in (a, b):
            cv2.circle(picture, end, 2, colour, -1, cv2.LINE_AA)
    return picture


def _view(place: Place) -> Image:
    """The thumbnail, scaled to the panel; a grey one that says so if there is none."""
    if place.thumbnail is not None:
        with contextlib.suppress(ImageError):  # its header was checked, its content was not
            found = decode_compressed(place.thumbnail.jpeg, "", None, THUMBNAIL_MEGAPIXELS)
            scale = PANEL / max(found.shape[:2])
            return np.asarray(cv2.resize(found, None, fx=scale, fy=scale), np.uint8)
    return NO_VIEW


def _on_view(
    keypoints: npt.NDArray[np.float32], thumbnail: Thumbnail, view: Image
) -> npt.NDArray[np.float64]:
    """Where keypoints (K, 2) are on the view [px]; those outside at its edge."""
    height, width = view.shape[:2]
    points = (keypoints.astype(np.float64) + 0.5) * width / thumbnail.image_width - 0.5
    return np.asarray(points.clip(0, (width - 1, height - 1)), np.float64)
