# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The policy: is this place one we have seen, and if not, why not?

Four gates, the cheap first and the expensive last: score, margin, temporal, geometric.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import deque
from typing import ClassVar

from vpr_ros.core.calibration import Calibration, interpolated, read_calibrations
from vpr_ros.core.config import Config, param
from vpr_ros.core.database import Database
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.keyframe import Candidate, Keyframe, Place
from vpr_ros.core.verifier import RelativePose, Verification, verify


@dataclasses.dataclass(frozen=True)
class LoopConfig(Config):
    """When a match becomes a loop closure."""

    group: ClassVar[str] = "loop"

    score_threshold: float = param(
        -1.0,
        "lowest cosine of a closure, at any sparsity; -1: as in calibration",
        minimum=-1.0,
        maximum=1.0,
    )
    margin_threshold: float = param(
        -1.0,
        "lowest lead in cosine over the best match of another place; -1: as in calibration",
        minimum=-1.0,
        maximum=2.0,
    )
    calibration: str = param(
        "",
        "thresholds per sparsity as `vpr calibrate` finds them, linear between: rows of sparsity, "
        "score, margin, confidence slope and offset, parted by ; or line, before them 'model "
        "NAME'; empty, or of another model: the model's own",
    )
    candidates: int = param(
        20, "places returned by a search and published", minimum=1, maximum=1000
    )
    place_keyframes: int = param(
        5,
        "keyframes at most this far apart count as one place (margin and temporal gate)",
        minimum=0,
        maximum=1000,
    )
    temporal_window: int = param(
        3,
        "the temporal gate looks at this many last keyframes, the new one included; 1: off",
        minimum=1,
        maximum=100,
    )
    temporal_matches: int = param(
        2,
        "so many of them must match the same place; 1: off",
        minimum=1,
        maximum=100,
    )
    min_inliers: int = param(
        45,
        "geometric gate: correspondences that one camera motion must explain; 0: off",
        minimum=0,
        maximum=5000,
    )
    verified_candidates: int = param(
        3,
        "geometric gate: keyframes of the matched place to try, the most similar first",
        minimum=1,
        maximum=1000,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        read_calibrations(self.calibration)
        if self.temporal_matches > self.temporal_window:
            raise ConfigError(
                f"Parameter 'loop.temporal_matches' is {self.temporal_matches}, more than "
                f"loop.temporal_window ({self.temporal_window}), so no loop would ever close."
            )

    def calibrated_for_another(self, model: str) -> str:
        """The name of the model that `calibration` is of, if it is another than this; else ''."""
        named = read_calibrations(self.calibration).model
        return named if named != model else ""

    def calibration_at(self, sparsity: float, own: Calibration, model: str) -> Calibration:
        """What holds at a sparsity of a model: the user's values, where there are none its own.

        The probability belongs to a model's scores, whatever the thresholds are.
        """
        points = read_calibrations(self.calibration).points
        if self.calibrated_for_another(model):
            points = ()
        found = interpolated(points, sparsity) if points else own
        return dataclasses.replace(
            found,
            score_threshold=_chosen(self.score_threshold, found.score_threshold),
            margin_threshold=_chosen(self.margin_threshold, found.margin_threshold),
        )


def _lead(candidates: tuple[Candidate, ...], rival: Candidate | None) -> float:
    """Of the best candidate over its rival: see Query.margin."""
    if not candidates:
        return math.nan
    return math.inf if rival is None else candidates[0].score - rival.score


def _chosen(parameter: float, calibrated: float) -> float:
    """The user's threshold, or the calibrated one where the user set none."""
    return calibrated if parameter == -1.0 else parameter


class Reason(enum.IntEnum):
    """Why a query closed a loop or not (vpr_msgs/Query.reason)."""

    ACCEPTED = 0
    NO_OLDER_PLACES = 1
    LOW_SCORE = 2
    AMBIGUOUS = 3
    INCONSISTENT = 4
    GEOMETRY = 5


@dataclasses.dataclass(frozen=True)
class LoopClosure:
    """An accepted match."""

    match: Place
    score: float  # cosine
    margin: float  # cosine, lead of the place's best view over the best match of another place
    confidence: float  # calibrated probability that the place is right, NaN if uncalibrated
    verification: Verification | None  # None: not verified


@dataclasses.dataclass(frozen=True)
class Query:
    """What the database answered to one keyframe."""

    place: Place  # of the keyframe that asked
    candidates: tuple[Candidate, ...]  # best first
    reason: Reason
    message: str  # the reason in one sentence, with the numbers
    margin: float  # cosine, over the best candidate of another place; inf: none, NaN: no candidate
    closure: LoopClosure | None = None


@dataclasses.dataclass(frozen=True)
class _Rejection:
    reason: Reason
    message: str


class LoopDetector:
    """Feeds keyframes into a database and decides which of them close a loop."""

    def __init__(self, config: LoopConfig, database: Database) -> None:
        """`config` may be replaced at any time."""
        self.config = config
        self.database = database
        self._history: deque[Query] = deque(maxlen=100)

    def reset(self) -> None:
        """Forget the last queries; their places have changed (a map was loaded)."""
        self._history.clear()

    def process(self, keyframe: Keyframe) -> Query:
        """Search, decide, remember. Raises DescriptorError, without effect, on a bad keyframe."""
        self.database.check(keyframe)
        candidates = tuple(
            self.database.search_older(
                keyframe.descriptor, keyframe.stamp_ns, self.config.candidates
            )
        )
        place = self.database.add(keyframe)
        rival = self._rival(candidates)
        verdict = self._judge(keyframe, place, candidates, rival)
        margin = _lead(candidates, rival)
        if isinstance(verdict, LoopClosure):
            self.database.graph.link(place, verdict.match)
            message = f"closed with keyframe {verdict.match.id} at score {verdict.score:.3f}"
            query = Query(place, candidates, Reason.ACCEPTED, message, margin, verdict)
        else:
            query = Query(place, candidates, verdict.reason, verdict.message, margin)
        self._history.append(query)
        return query

    def _judge(
        self,
        keyframe: Keyframe,
        place: Place,
        candidates: tuple[Candidate, ...],
        rival: Candidate | None,
    ) -> LoopClosure | _Rejection:
        if not candidates:
            return _Rejection(Reason.NO_OLDER_PLACES, "no keyframe is old enough to be a loop")
        best = candidates[0]
        thresholds = self.config.calibration_at(
            keyframe.sparsity, keyframe.calibration, keyframe.model
        )

        wanted = thresholds.score_threshold
        if math.isnan(wanted):
            return _Rejection(
                Reason.LOW_SCORE,
                f"model '{keyframe.model}' has no calibrated score threshold; set score_threshold",
            )
        if best.score < wanted:
            return _Rejection(
                Reason.LOW_SCORE, f"best score {best.score:.3f} is below {wanted:.3f}"
            )

        # Without a rival among the candidates the lead is at least that over the last of them.
        margin = best.score - (rival or candidates[-1]).score
        lead = thresholds.margin_threshold
        if rival is not None and margin < lead:  # false where no margin was calibrated
            return _Rejection(
                Reason.AMBIGUOUS,
                f"keyframe {best.place.id} leads keyframe {rival.place.id} of another place by "
                f"{margin:.3f}, less than {lead:.3f}",
            )

        support = self._support(place, best.place, wanted)
        if support < self.config.temporal_matches:
            return _Rejection(
                Reason.INCONSISTENT,
                f"{support} of the last {self.config.temporal_window} keyframes match this place, "
                f"{self.config.temporal_matches} are needed",
            )

        views = [
            c for c in candidates if c.score >= wanted and self._same_place(c.place, best.place)
        ]
        match, verification = self._verified(place, views[: self.config.verified_candidates])
        if verification is not None and verification.inliers < self.config.min_inliers:
            return _Rejection(
                Reason.GEOMETRY,
                f"{verification.inliers} correspondences agree with keyframe {match.place.id}, "
                f"{self.config.min_inliers} are needed",
            )
        return LoopClosure(
            match.place, match.score, margin, thresholds.confidence(best.score), verification
        )

    def _rival(self, candidates: tuple[Candidate, ...]) -> Candidate | None:
        """The best candidate of another place than the best; None if all are of one place."""
        others = (c for c in candidates if not self._same_place(c.place, candidates[0].place))
        return next(others, None)

    def _support(self, place: Place, match: Place, wanted: float) -> int:
        """How many of the last keyframes, this one included, found the matched place."""
        before = self.config.temporal_window - 1
        recent = [
            query
            for query in (list(self._history)[-before:] if before else [])
            if query.place.session == place.session
        ]
        return 1 + sum(
            any(
                c.score >= wanted and self._same_place(c.place, match)
                for c in query.candidates[:3]
            )
            for query in recent
        )

    def _verified(
        self, place: Place, views: list[Candidate]
    ) -> tuple[Candidate, Verification | None]:
        """The first of a place's views, best first, that geometry confirms, else the one nearest
        to it; views[0] and None if nothing can be verified.

        The most similar keyframe need not be the one that shares most points with the query.
        """
        found: tuple[Candidate, Verification | None] = views[0], None
        most = -1
        for view in views:
            verification = self._verify(place, view.place)
            if verification is not None and verification.inliers > most:
                found, most = (view, verification), verification.inliers
            if most >= self.config.min_inliers:
                break
        return found

    def _verify(self, place: Place, match: Place) -> Verification | None:
        if self.config.min_inliers == 0 or place.features is None or match.features is None:
            return None
        return verify(place.features, match.features)

    def _same_place(self, a: Place, b: Place) -> bool:
        return self.database.graph.same_place(a, b, self.config.place_keyframes)


__all__ = [
    "LoopClosure",
    "LoopConfig",
    "LoopDetector",
    "Query",
    "Reason",
    "RelativePose",
]
