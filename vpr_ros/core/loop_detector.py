# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Decide whether a keyframe closes a loop, and if not, say why.

Four gates, from cheap to expensive: score, margin, temporal, geometric.
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
from vpr_ros.core.verifier import Verification, verify


@dataclasses.dataclass(frozen=True)
class LoopConfig(Config):
    """When a match becomes a loop closure."""

    group: ClassVar[str] = "loop"

    score_threshold: float = param(
        -1.0,
        "minimum cosine of a match, at every sparsity; -1: as calibrated",
        minimum=-1.0,
        maximum=1.0,
    )
    margin_threshold: float = param(
        -1.0,
        "minimum lead in cosine over the best match of another place; -1: as calibrated",
        minimum=-1.0,
        maximum=2.0,
    )
    calibration: str = param(
        "",
        "thresholds per sparsity from `vpr calibrate`, interpolated linearly: rows of sparsity, "
        "score, margin, confidence slope and offset, separated by ';' or newline; optional first "
        "row 'model NAME'. If empty or of another model, the model file's own are used",
    )
    candidates: int = param(
        20, "number of candidates searched for and published", minimum=1, maximum=1000
    )
    place_keyframes: int = param(
        5,
        "keyframes at most this many apart count as one place (margin and temporal gates)",
        minimum=0,
        maximum=1000,
    )
    temporal_window: int = param(
        3,
        "number of recent keyframes in the temporal gate, including the new one; 1: off",
        minimum=1,
        maximum=100,
    )
    temporal_matches: int = param(
        2,
        "minimum number of recent keyframes that must match the same place; 1: off",
        minimum=1,
        maximum=100,
    )
    min_inliers: int = param(
        45,
        "geometric gate: minimum number of correspondences that fit one camera motion; 0: off",
        minimum=0,
        maximum=5000,
    )
    verified_candidates: int = param(
        3,
        "geometric gate: maximum number of keyframes of the matched place to try",
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

    def calibrated_for_another(self, model: str, digest: str = "") -> str:
        """The model that `calibration` is for, if it names another one than this; otherwise ""."""
        return read_calibrations(self.calibration).of_another(model, digest)

    def calibration_at(
        self, sparsity: float, own: Calibration, model: str, digest: str = ""
    ) -> Calibration:
        """The thresholds at a sparsity: the user's if there are any, otherwise the model's `own`.

        The confidence is always the calibrated one, since it describes the model's scores.
        """
        points = read_calibrations(self.calibration).points
        if self.calibrated_for_another(model, digest):
            points = ()
        found = interpolated(points, sparsity) if points else own
        return dataclasses.replace(
            found,
            score_threshold=_chosen(self.score_threshold, found.score_threshold),
            margin_threshold=_chosen(self.margin_threshold, found.margin_threshold),
        )


def _lead(candidates: tuple[Candidate, ...], rival: Candidate | None) -> float:
    """Lead of the best candidate over its rival: see Query.margin."""
    if not candidates:
        return math.nan
    return math.inf if rival is None else candidates[0].score - rival.score


def _chosen(parameter: float, calibrated: float) -> float:
    """The user's threshold, or the calibrated one if the user set none."""
    return calibrated if parameter == -1.0 else parameter


class Reason(enum.IntEnum):
    """Why a query did or did not close a loop (vpr_msgs/Query.reason)."""

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
    margin: float  # cosine, lead of the best match over the best match of another place
    confidence: float  # calibrated probability of being right; NaN if uncalibrated
    verification: Verification | None  # None: not verified


@dataclasses.dataclass(frozen=True)
class Query:
    """The answer to one keyframe."""

    place: Place  # of the keyframe
    candidates: tuple[Candidate, ...]  # best first
    reason: Reason
    message: str  # the reason in one sentence, with the numbers
    margin: float  # as in LoopClosure; inf: no candidate of another place; NaN: no candidate
    closure: LoopClosure | None = None


@dataclasses.dataclass(frozen=True)
class _Rejection:
    reason: Reason
    message: str


class LoopDetector:
    """Adds keyframes to a database and decides which of them close a loop."""

    def __init__(self, config: LoopConfig, database: Database) -> None:
        """`config` may be replaced at any time."""
        self.config = config
        self.database = database
        self._history: deque[Query] = deque(maxlen=100)

    def reset(self) -> None:
        """Forget recent queries, because their places have changed: a map was loaded."""
        self._history.clear()

    def process(self, keyframe: Keyframe) -> Query:
        """Search, decide, remember; a bad keyframe raises DescriptorError and is ignored."""
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
            message = f"loop with keyframe {verdict.match.id} at score {verdict.score:.3f}"
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
            keyframe.sparsity, keyframe.calibration, keyframe.model, keyframe.model_digest
        )

        wanted = thresholds.score_threshold
        if math.isnan(wanted):
            return _Rejection(
                Reason.LOW_SCORE,
                f"model '{keyframe.model}' is not calibrated; set loop.score_threshold",
            )
        if best.score < wanted:
            return _Rejection(
                Reason.LOW_SCORE, f"best score {best.score:.3f} is below {wanted:.3f}"
            )

        # Without a rival, the lead is at least the one over the last candidate.
        margin = best.score - (rival or candidates[-1]).score
        lead = thresholds.margin_threshold
        if rival is not None and margin < lead:  # false if the margin is not calibrated
            return _Rejection(
                Reason.AMBIGUOUS,
                f"keyframe {best.place.id} leads keyframe {rival.place.id} of another place by "
                f"{margin:.3f}, less than {lead:.3f}",
            )

        support = self._support(place, best.place, wanted)
        if support < self.config.temporal_matches:
            return _Rejection(
                Reason.INCONSISTENT,
                f"{support} of the last {self.config.temporal_window} keyframes match this place; "
                f"{self.config.temporal_matches} are needed",
            )

        views = [
            c for c in candidates if c.score >= wanted and self._same_place(c.place, best.place)
        ]
        match, verification = self._verified(place, views[: self.config.verified_candidates])
        if verification is not None and verification.inliers < self.config.min_inliers:
            return _Rejection(
                Reason.GEOMETRY,
                f"{verification.inliers} correspondences agree with keyframe {match.place.id}; "
                f"{self.config.min_inliers} are needed",
            )
        return LoopClosure(
            match.place, match.score, margin, thresholds.confidence(best.score), verification
        )

    def _rival(self, candidates: tuple[Candidate, ...]) -> Candidate | None:
        """The best candidate of another place; None if all are of one place."""
        others = (c for c in candidates if not self._same_place(c.place, candidates[0].place))
        return next(others, None)

    def _support(self, place: Place, match: Place, wanted: float) -> int:
        """How many of the recent keyframes, including this one, match the same place."""
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
        """The first view that geometry confirms, otherwise the one with the most inliers.

        `views` are of one place, best first; if none can be verified, the first one and None. The
        most similar view need not share the most points with the query.
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
