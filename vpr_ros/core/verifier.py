# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Geometric verification: how strongly two views suggest that they show the same rigid scene.

Inlier counts depend on the image, the camera and the kind of feature. Instead, two values are
measured: how unlikely the agreement is by chance, and the share of the features that agree.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import cv2
import faiss
import numpy as np
import numpy.typing as npt

from vpr_ros.core.keyframe import LocalFeatures

faiss.omp_set_num_threads(1)  # see _correspondences

Points = npt.NDArray[np.float32]  # (N, 2)

RATIO = 0.8  # nearest over second nearest distance (Lowe, IJCV 2004, section 7.1)
FARTHEST_ORB = 64  # of 256 bits; ORB descriptors of unrelated points are farther apart
TOLERANCE = 1.5  # px of the scaled image
STILL = 1.0  # px of the scaled image; a correspondence that moves less shows no scene
NARROWEST = 2.0  # px of the scaled image; standard deviation across a line of points
TRIALS = 500  # of RANSAC at most; agreement that takes more would not be significant
FEWEST = 8  # correspondences, below which nothing is claimed
SHARP = 1.3  # sharpness of most images as taken
# How much less two views agree if one of them is softer, or overexposed, and how much more if both
# are soft: their features repeat, but are less exact. By likelihood, see docs/deciding.md.
SOFTER, CLIPPED, BOTH_SOFT = 1.1, 1.0, 1.3
# Where the images that this was measured on end: the softest pair, and the least to be expected.
SOFT, LEAST_EXPECTED = 0.9, 0.22


@dataclasses.dataclass(frozen=True)
class RelativePose:
    """Pose of the query camera in the match camera; the distance is unknown."""

    rotation: npt.NDArray[np.float64]  # (3, 3)
    direction: npt.NDArray[np.float64]  # (3,) unit length


@dataclasses.dataclass(frozen=True)
class Verification:
    """The result of geometric verification."""

    inliers: int = 0  # moving correspondences that fit one epipolar geometry
    correspondences: int = 0  # between features with clearly similar descriptors
    still: int = 0  # of these, those that are fixed to the camera and do not count
    significance: float = 0.0  # -log10 of the number of such agreements expected by chance
    density: float = 0.0  # inliers over the features in the region that they span, 0 to 1
    features: int = 0  # of the view that has fewer
    expected: float = 1.0  # significance and density relative to those of two sharp views
    T_match_query: RelativePose | None = None  # needs both camera matrices
    pairs: npt.NDArray[np.int64] = dataclasses.field(  # (inliers, 2) features of query and match
        default_factory=lambda: np.empty((0, 2), np.int64), compare=False, repr=False
    )

    @property
    def turn_deg(self) -> float:
        """Angle of the rotation between the views [deg]; 0 if it is unknown."""
        if self.T_match_query is None:
            return 0.0
        cosine = (np.trace(self.T_match_query.rotation) - 1) / 2
        return math.degrees(math.acos(min(max(float(cosine), -1.0), 1.0)))


@dataclasses.dataclass(frozen=True)
class _Model:
    inliers: npt.NDArray[np.bool_]  # (M,) of the correspondences
    sample: int  # correspondences that determine a model
    essential: npt.NDArray[np.float64] | None = None  # (3, 3)


def comparable(query: LocalFeatures | None, match: LocalFeatures | None) -> bool:
    """Whether both views have features of the same kind, even if none were found."""
    if query is None or match is None:
        return False
    return query.kind == match.kind or not len(query.keypoints) or not len(match.keypoints)


def has_motion(query: LocalFeatures, match: LocalFeatures) -> bool:
    """Whether the motion between two views can be estimated: both cameras are calibrated."""
    return query.camera_matrix is not None and match.camera_matrix is not None


def fixed_features(view: LocalFeatures, before: LocalFeatures | None) -> npt.NDArray[np.bool_]:
    """Which features (N,) of a view were at the same pixel in the previous view `before`.

    These may be fixed to the camera: the robot's own body, dirt on the lens, an overlay. Without a
    previous view to compare with, all are marked.
    """
    if before is None or view.pixel_size != before.pixel_size or view.kind != before.kind:
        return np.ones(len(view.keypoints), bool)
    fixed = np.zeros(len(view.keypoints), bool)
    pairs = _correspondences(view, before)
    fixed[pairs[_same_pixel(view, before, pairs), 0]] = True
    return fixed


def verify(
    query: LocalFeatures,
    match: LocalFeatures,
    fixed: npt.NDArray[np.bool_] | None = None,
    motion: bool = False,
) -> Verification:
    """How well two views agree; with `motion` also the relative pose, if it can be estimated.

    RANSAC (OpenCV's USAC, with a confidence of 0.999) estimates the essential matrix if both
    camera matrices are known and `motion` is set, otherwise the fundamental matrix.
    Correspondences at the same pixel in both images are left out if the query's feature is `fixed`
    (N,) to the camera; None: any may be fixed.
    """
    pairs = _correspondences(query, match)
    points_query, points_match = query.keypoints[pairs[:, 0]], match.keypoints[pairs[:, 1]]
    moving = ~_same_pixel(query, match, pairs)
    if fixed is not None:
        moving |= ~fixed[pairs[:, 0]]
    pixel_size = max(query.pixel_size, match.pixel_size)
    considered = pairs[moving]
    points_query, points_match = points_query[moving], points_match[moving]
    none = Verification(
        correspondences=len(pairs),
        still=len(pairs) - len(points_query),
        features=min(len(query.keypoints), len(match.keypoints)),
        expected=_expected(query, match),
    )
    if len(points_query) < FEWEST:
        return none
    try:
        model = _fit(query, match, points_query, points_match, motion)
    except cv2.error:  # USAC asserts if no model fits any of its samples
        return none
    count = int(model.inliers.sum())
    none = dataclasses.replace(none, inliers=count, pairs=considered[model.inliers])
    if count < FEWEST:
        return none
    points_query, points_match = points_query[model.inliers], points_match[model.inliers]
    if _on_a_line(points_query, pixel_size) or _on_a_line(points_match, pixel_size):
        return none
    return dataclasses.replace(
        none,
        significance=_significance(
            len(model.inliers), count, model.sample, TOLERANCE * pixel_size, match.keypoints
        ),
        density=count
        / max(
            20,  # so that a small cluster is not taken for a dense region
            count,
            min(_spanned(query.keypoints, points_query), _spanned(match.keypoints, points_match)),
        ),
        T_match_query=_motion(query, match, points_query, points_match, model) if motion else None,
    )


def _expected(query: LocalFeatures, match: LocalFeatures) -> float:
    """How much views in this condition agree, relative to two sharp ones; 1 if it is unknown."""
    soft, sharp = sorted((query.sharpness, match.sharpness))
    if not soft > 0:
        return 1.0
    less = SOFTER * math.log(sharp / soft) + CLIPPED * abs(query.clipped - match.clipped)
    more = BOTH_SOFT * max(0.0, math.log(SHARP / max(sharp, SOFT)))
    return max(math.exp(more - less), LEAST_EXPECTED)


def _same_pixel(
    query: LocalFeatures, match: LocalFeatures, pairs: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Which correspondences (M, 2) do not move between two images of one size."""
    if query.pixel_size != match.pixel_size:  # else they come from different cameras
        return np.zeros(len(pairs), bool)
    moved = np.abs(query.keypoints[pairs[:, 0]] - match.keypoints[pairs[:, 1]])
    same: npt.NDArray[np.bool_] = moved.max(axis=1, initial=0) < STILL * query.pixel_size
    return same


def _correspondences(query: LocalFeatures, match: LocalFeatures) -> npt.NDArray[np.int64]:
    """Indices (M, 2) of mutually nearest features whose second nearest is clearly farther."""
    if min(len(query.keypoints), len(match.keypoints)) < 2 or query.kind != match.kind:
        return np.empty((0, 2), np.int64)
    # Squared, in four times the bits of ORB. By FAISS, which keeps to one thread: those of
    # NumPy's OpenBLAS spin for milliseconds after a product, 20 times the CPU time (two cores).
    distances: npt.NDArray[np.float32] = faiss.pairwise_distances(_vectors(query), _vectors(match))
    rows = np.arange(len(distances))
    nearest = distances.argmin(axis=1)
    first = distances[rows, nearest]
    mutual = first == distances.min(axis=0)[nearest]
    distances[rows, nearest] = np.inf
    ratio = first / np.maximum(distances.min(axis=1), 1e-9)  # of squares; ORB's are of bits
    if query.kind == "orb":
        good = (ratio < RATIO) & (first <= 4 * FARTHEST_ORB)
    else:
        good = ratio < RATIO**2
    rows = rows[good & mutual]
    _, once = np.unique(nearest[rows], return_index=True)  # equal descriptors are as near
    rows = rows[np.sort(once)]
    return np.stack([rows, nearest[rows]], axis=1)


@functools.lru_cache(maxsize=2)  # a query is compared with several matches
def _vectors(features: LocalFeatures) -> npt.NDArray[np.float32]:
    """Descriptors (N, S) whose squared distances can be compared; -1 and 1 for each bit of ORB."""
    if features.kind == "orb":
        return 2 * np.unpackbits(features.descriptors, axis=1).astype(np.float32) - 1
    values = features.descriptors.astype(np.float32)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    return values


def _fit(
    query: LocalFeatures,
    match: LocalFeatures,
    points_query: Points,
    points_match: Points,
    motion: bool,
) -> _Model:
    """The epipolar geometry with the most inliers."""
    nothing = np.zeros(len(points_query), bool)
    tolerance_px = TOLERANCE * max(query.pixel_size, match.pixel_size)
    if not motion or query.camera_matrix is None or match.camera_matrix is None:
        _, mask = cv2.findFundamentalMat(
            points_query, points_match, cv2.USAC_FAST, tolerance_px, 0.999, TRIALS
        )
        return _Model(nothing if mask is None else mask.ravel().astype(bool), 7)
    essential, mask = cv2.findEssentialMat(
        _normalised(points_query, query.camera_matrix),
        _normalised(points_match, match.camera_matrix),
        np.eye(3),
        cv2.USAC_FAST,
        0.999,
        tolerance_px / match.camera_matrix[0, 0],
        TRIALS,
    )
    if essential is None or essential.shape != (3, 3) or mask is None:
        return _Model(nothing, 5)
    return _Model(mask.ravel().astype(bool), 5, np.asarray(essential, np.float64))


def _significance(
    correspondences: int, inliers: int, sample: int, tolerance_px: float, keypoints: Points
) -> float:
    """-log10 of the number of models with so many inliers expected among random points.

    A contrario, after Moisan and Stival, IJCV 2004: a random point lies within the tolerance of
    an epipolar line with the probability p of the strip's share of the area, so a model through
    `sample` of the correspondences has k inliers by chance with C(M, k) C(k, sample) p^(k-sample).
    """
    if inliers <= sample:
        return 0.0
    width, height = np.ptp(keypoints, axis=0) + tolerance_px
    strip = min(1.0, 2 * tolerance_px * math.hypot(width, height) / (width * height))
    expected = (
        math.log(correspondences - sample)
        + _log_choose(correspondences, inliers)
        + _log_choose(inliers, sample)
        + (inliers - sample) * math.log(strip)
    )
    return max(0.0, -expected / math.log(10))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _spanned(keypoints: Points, inliers: Points) -> int:
    """How many of the keypoints lie in the convex hull of the inliers."""
    hull = cv2.convexHull(inliers)[:, 0]  # (V, 2) clockwise on the screen
    edge = np.roll(hull, -1, axis=0) - hull
    offset = keypoints[:, None] - hull  # (N, V, 2)
    side = edge[:, 0] * offset[..., 1] - edge[:, 1] * offset[..., 0]
    tolerance = 1e-3 * np.abs(edge).max(initial=1.0) ** 2
    inside = (side >= -tolerance).all(axis=1) | (side <= tolerance).all(axis=1)
    return int(inside.sum())


def _on_a_line(points: Points, pixel_size: float) -> bool:
    """Whether points lie on a line, so that nearly any epipolar geometry fits them."""
    offset = (points - points.mean(axis=0)).astype(np.float64)
    (xx, xy), (_, yy) = (offset.T @ offset / len(points)).tolist()
    across = (xx + yy - math.hypot(xx - yy, 2 * xy)) / 2  # variance, the smaller eigenvalue
    return bool(across < (NARROWEST * pixel_size) ** 2)


def _motion(
    query: LocalFeatures,
    match: LocalFeatures,
    points_query: Points,
    points_match: Points,
    model: _Model,
) -> RelativePose | None:
    if model.essential is None or query.camera_matrix is None or match.camera_matrix is None:
        return None
    moved = np.linalg.norm(points_query - points_match, axis=1)
    if np.median(moved) < STILL * match.pixel_size:  # the camera has not moved at all
        return None
    _, rotation, direction, _ = cv2.recoverPose(
        model.essential,
        _normalised(points_query, query.camera_matrix),
        _normalised(points_match, match.camera_matrix),
        np.eye(3),
    )
    return RelativePose(np.asarray(rotation, np.float64), np.asarray(direction, np.float64)[:, 0])


def _normalised(points: Points, camera_matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Pixels (M, 2) projected to the image plane at distance 1."""
    focal = camera_matrix[[0, 1], [0, 1]]
    centre = camera_matrix[[0, 1], [2, 2]]
    rays: npt.NDArray[np.float64] = (points.astype(np.float64) - centre) / focal
    return rays
