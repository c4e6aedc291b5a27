# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Decide whether a keyframe closes a loop, and if not, say why.

Candidates are found by their descriptors, ranked by their similarity along the trail, and compared
by their local features. All evidence is combined into one probability, which decides.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import deque
from functools import partial

import numpy as np
import numpy.typing as npt

from vpr_ros.core.database import Database
from vpr_ros.core.descriptor_index import Vector
from vpr_ros.core.keyframe import Candidate, Keyframe, LocalFeatures, Place, run_of
from vpr_ros.core.loop_confidence import Evidence, probabilities, required
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.recency import MAX_RUNS
from vpr_ros.core.trail import ONE_VIEW_DEG, ORDER, Trail, in_order, sequence_score
from vpr_ros.core.verifier import (
    Verification,
    comparable,
    fixed_features,
    has_motion,
    verify,
)

FIRST_VERIFIED = 3  # candidates, of different places, after which verification may end
LEAST_SIGNIFICANCE = 2.0  # below it a candidate shares nothing with the view


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
    margin: float  # cosine, lead over the best match of another place; inf: there is none
    confidence: float  # calibrated probability of being right
    verification: Verification | None  # None: not verified


@dataclasses.dataclass(frozen=True)
class Query:
    """The answer to one keyframe."""

    place: Place  # of the keyframe
    candidates: tuple[Candidate, ...]  # best first
    reason: Reason
    message: str  # the reason in one sentence, with the numbers
    margin: float  # as in LoopClosure, of the best candidate; NaN: no candidate
    closure: LoopClosure | None = None
    rejected: Match | None = None  # the match that was not believed, if one was looked at


@dataclasses.dataclass(frozen=True)
class _Rejection:
    reason: Reason
    message: str
    match: Match | None = None


@dataclasses.dataclass(frozen=True)
class Match:
    """A candidate with its evidence."""

    candidate: Candidate
    evidence: Evidence

    @property
    def place(self) -> Place:
        """The keyframe of the map."""
        return self.candidate.place


@dataclasses.dataclass(frozen=True)
class _Step:
    """What was found for one keyframe."""

    place: Place  # of the keyframe
    best: Place | None  # of the search
    descriptor: Vector
    background: float  # see Database.background
    matches: list[Match] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class _Walk:
    """What is remembered of one run of an encoder, that is, of one camera."""

    trail: Trail = dataclasses.field(default_factory=Trail)
    steps: deque[_Step] = dataclasses.field(default_factory=lambda: deque[_Step](maxlen=ORDER))
    before: LocalFeatures | None = None  # of the last keyframe
    fixed: npt.NDArray[np.bool_] | None = None  # of the new one, see fixed_features

    def add(self, place: Place, keyframe: Keyframe, best: Place | None, background: float) -> None:
        self.trail.add(place, keyframe.descriptor)
        if self.steps and self.steps[-1].place.session != place.session:
            self.steps.clear()
        self.steps.append(_Step(place, best, keyframe.descriptor, background))
        self.fixed = None
        if place.features is not None:
            self.fixed = fixed_features(place.features, self.before)
            self.before = place.features


class LoopDetector:
    """Adds keyframes to a database and decides which of them close a loop."""

    def __init__(self, config: LoopConfig, database: Database) -> None:
        """`config` may be replaced at any time."""
        self.config = config
        self.database = database
        self._walks: dict[int, _Walk] = {}  # by run of an encoder, the one heard last comes last
        self._walk = _Walk()  # of the query in work
        self._around: dict[int, set[int]] = {}  # of the query in work: PlaceGraph.around by place

    def reset(self) -> None:
        """Forget recent keyframes, because a loaded map has changed their places."""
        self._walks.clear()

    def process(self, keyframe: Keyframe) -> Query:
        """Answer a keyframe and store it; a bad one raises DescriptorError or KeyframeError."""
        self.database.check(keyframe)
        self._around.clear()
        run = run_of(keyframe.id)
        search = partial(
            self.database.search_older, keyframe.descriptor, keyframe.stamp_ns, run=run
        )
        candidates = tuple(search(self.config.candidates))
        rival = self._rival(candidates)
        if candidates and rival is None:  # all are of one place: look beyond it
            rival = next(iter(search(1, without=self._around[candidates[0].place.sequence])), None)
        background = self.database.background(keyframe.descriptor, keyframe.stamp_ns, run)
        place = self.database.add(keyframe)
        self._walk = self._walks.pop(run, _Walk())
        self._walks[run] = self._walk
        if len(self._walks) > MAX_RUNS:
            del self._walks[next(iter(self._walks))]
        self._walk.add(place, keyframe, candidates[0].place if candidates else None, background)
        self._walk.trail.shrink(self.database)
        margin = math.nan
        if candidates:
            margin = candidates[0].score - rival.score if rival else math.inf
        verdict = self._judge(keyframe, place, candidates, rival)
        if isinstance(verdict, _Rejection):
            return Query(
                place, candidates, verdict.reason, verdict.message, margin, None, verdict.match
            )
        self._accept(place, verdict.match)
        message = (
            f"loop with keyframe {verdict.match.id} at score {verdict.score:.3f}"
            f"{_seen(verdict.verification)}, confidence {verdict.confidence:.3f}"
        )
        return Query(place, candidates, Reason.ACCEPTED, message, margin, verdict)

    def _accept(self, place: Place, match: Place) -> None:
        """Join the new keyframe with its match, and with the same place as seen on other laps.

        With one link a keyframe the laps would form a chain, and distant ones be rivals.
        """
        views = [
            m.place
            for m in self._walk.steps[-1].matches
            if probabilities([m.evidence.log_odds])[0]
            >= required(self.config.precision, m.evidence.seen)
            and self._same_place(match, m.place)
        ]
        for view in (match, *views):
            self.database.graph.link(place, view)
        self._walk.trail.pin(place, match)

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
        zero = self.config.calibration_at(
            keyframe.sparsity, keyframe.calibration, keyframe.model, keyframe.model_digest
        ).score_threshold
        if math.isnan(zero):
            return _Rejection(
                Reason.LOW_SCORE,
                f"model '{keyframe.model}' has no thresholds; run `vpr adopt`"
                if self.config.verified_candidates
                else "the score alone decides by the threshold of this node only; set "
                "loop.score_threshold, or loop.calibration as `vpr calibrate` finds it",
            )
        # The model's own was measured on images as taken: a change of light takes more room.
        lowest = (
            zero
            if self.config.sets_score(keyframe.model, keyframe.model_digest)
            else 2 * zero - 1.0
        )
        if best.score < lowest:
            return _Rejection(
                Reason.LOW_SCORE, "best score {} is below {}".format(*_apart(best.score, lowest))
            )
        others = () if rival is None or rival in candidates else (rival,)
        considered = [c for c in (*candidates, *others) if c.score >= lowest]
        matches = self._places(self._matches(place, considered, zero))
        if self.config.verified_candidates and not matches[0].evidence.seen:
            return _Rejection(
                Reason.GEOMETRY,
                f"keyframe {matches[0].place.id} at score {matches[0].candidate.score:.3f} has no "
                "local features to compare; set features.count of the encoder, or "
                "loop.verified_candidates to 0 to decide by the score alone",
            )
        chances = probabilities([m.evidence.log_odds for m in matches])
        needed = required(self.config.precision, matches[0].evidence.seen)
        if chances[0] < needed:
            return self._rejection(matches, chances, needed)
        matches[0] = match = self._best_view(place, matches[0], considered)
        verification = match.evidence.verification
        seen, known = place.features, match.place.features
        if verification is not None and seen and known and has_motion(seen, known):
            verification = verify(seen, known, self._walk.fixed, motion=True)
            if verification.turn_deg > ONE_VIEW_DEG:
                turned, most = _apart(verification.turn_deg, ONE_VIEW_DEG, 0)
                return _Rejection(
                    Reason.GEOMETRY,
                    f"the view is turned by {turned} degrees against keyframe {match.place.id}, "
                    f"more than {most}",
                    match,
                )
            if verification.T_match_query is not None:
                drift = self._walk.trail.drift(place, match.place, verification.turn_deg)
                matches[0] = dataclasses.replace(
                    match, evidence=dataclasses.replace(match.evidence, drift=drift)
                )
                chances = probabilities([m.evidence.log_odds for m in matches])
                if chances[0] < needed:
                    return self._rejection(matches, chances, needed)
        found = match.candidate
        # Of another place than the match, which need not be the most similar one.
        over = rival if rival and not self._same_place(rival.place, found.place) else best
        lead = math.inf if rival is None else found.score - over.score
        return LoopClosure(found.place, found.score, lead, chances[0], verification)

    def _matches(self, place: Place, candidates: list[Candidate], zero: float) -> list[Match]:
        """The evidence for each of the candidates that are most similar along the trail.

        If those of the first few places share nothing with the view, the others are spared.
        `zero` is the cosine from which on similarity speaks for a match.
        """
        along = self._walk.trail.scores(place, candidates, self.database)
        order = self._by_place(candidates, sorted(range(len(along)), key=lambda i: -along[i]))
        count = self.config.verified_candidates
        matches: list[Match] = []
        for i in order[: count or None]:
            if len(matches) == FIRST_VERIFIED and all(_nothing_shared(m) for m in matches):
                break
            score = (along[i] - zero) / max(1.0 - zero, 1e-6)
            matches.append(self._match(place, candidates[i], score))
        self._walk.steps[-1].matches.extend(matches)
        return matches

    def _match(self, place: Place, candidate: Candidate, score: float) -> Match:
        match = candidate.place
        verification = self._compared(place, match) if self.config.verified_candidates else None
        drift, order, sequence = self._walk.trail.drift(place, match), None, 0.0
        before = list(self._walk.steps)[-2::-1]
        if drift is None and verification is not None and before:
            order = in_order([s.best for s in before], match, len(self.database))
            if verification.significance > 0:  # a sequence alone proves nothing
                seen = [(s.place, s.descriptor, s.background) for s in before]
                sequence = sequence_score(seen, match, self.database)
        return Match(candidate, Evidence(score, drift, verification, order, sequence))

    def _compared(self, place: Place, match: Place) -> Verification | None:
        """How well two views agree; None if one has no local features."""
        if not comparable(place.features, match.features):
            return None
        assert place.features is not None and match.features is not None
        return verify(place.features, match.features, self._walk.fixed)

    def _best_view(self, place: Place, best: Match, candidates: list[Candidate]) -> Match:
        """Of the views of a place that is found, the one that agrees best.

        The most similar view need not share most points.
        """
        if best.evidence.verification is None:
            return best
        tried = {m.place.sequence for m in self._walk.steps[-1].matches}
        views = [
            c
            for c in candidates
            if c.place.sequence not in tried and self._same_place(best.place, c.place)
        ]
        count = self.config.verified_candidates
        more = [self._match(place, view, best.evidence.score) for view in views[:count]]
        return max(best, *more, key=lambda m: m.evidence.sharp.log_odds) if more else best

    def _by_place(self, candidates: list[Candidate], order: list[int]) -> list[int]:
        """An order of candidates, but the best of each of the first few places before all."""
        first: list[int] = []
        for i in order:
            place = candidates[i].place
            if not any(self._same_place(candidates[k].place, place) for k in first):
                first.append(i)
            if len(first) == FIRST_VERIFIED:
                break
        return first + [i for i in order if i not in first]

    def _places(self, matches: list[Match]) -> list[Match]:
        """The best match of each place, best first."""
        found: list[Match] = []
        for match in sorted(matches, key=lambda m: -m.evidence.sharp.log_odds):
            if not any(self._same_place(m.place, match.place) for m in found):
                found.append(match)
        return sorted(found, key=lambda m: -m.evidence.log_odds)

    def _rejection(self, matches: list[Match], chances: list[float], needed: float) -> _Rejection:
        """Why the best match is not believed: the first reason without which it would be."""
        best = matches[0]
        id, evidence = best.place.id, best.evidence
        doubt = "confidence {}, {} is needed".format(*_apart(chances[0], needed))
        if len(matches) > 1 and probabilities([evidence.log_odds])[0] >= needed:
            return _Rejection(
                Reason.AMBIGUOUS,
                f"keyframe {id} leads keyframe {matches[1].place.id} of another place by too "
                f"little ({chances[0]:.3f} to {chances[1]:.3f}, {needed:.3f} is needed)",
                best,
            )
        surely = dataclasses.replace(evidence, drift=None)
        if evidence.drift is not None and probabilities([surely.log_odds])[0] >= needed:
            return _Rejection(
                Reason.INCONSISTENT,
                f"with keyframe {id} odometry would be off by {evidence.drift:.0%} of the way, or "
                f"of a half turn; {doubt}",
                best,
            )
        if evidence.verification is not None:
            seen = evidence.verification
            return _Rejection(
                Reason.GEOMETRY,
                f"{seen.inliers} of {seen.correspondences - seen.still} moving correspondences "
                f"agree with keyframe {id}; {doubt}",
                best,
            )
        return _Rejection(
            Reason.LOW_SCORE,
            f"keyframe {id} at score {best.candidate.score:.3f} has no local features to compare; "
            f"{doubt}",
        )

    def _rival(self, candidates: tuple[Candidate, ...]) -> Candidate | None:
        """The best candidate of another place; None if all are of one place."""
        others = (c for c in candidates if not self._same_place(candidates[0].place, c.place))
        return next(others, None)

    def _same_place(self, a: Place, b: Place) -> bool:
        if a.sequence not in self._around:
            reach = self.config.place_keyframes
            self._around[a.sequence] = self.database.graph.around(a, reach)
        return b.sequence in self._around[a.sequence]


def _apart(first: float, second: float, digits: int = 3) -> tuple[str, str]:
    """Both numbers with so many decimals, or as many as it takes to tell them apart."""
    texts = f"{first:.{digits}f}", f"{second:.{digits}f}"
    tells = texts[0] != texts[1] or first == second or digits > 15
    return texts if tells else _apart(first, second, digits + 1)


def _nothing_shared(match: Match) -> bool:
    verification = match.evidence.verification
    return verification is not None and verification.significance < LEAST_SIGNIFICANCE


def _seen(verification: Verification | None) -> str:
    return "" if verification is None else f", {verification.inliers} inliers"
