# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The constants of vpr_ros/core/loop_confidence.py, fitted and printed.

python -m bench.fit_confidence tat-vpr-s mobilenetv2-gem --data ../shared/data --cache results/fit

Every set is driven through a LoopDetector, which notes the evidence for each match it compares.
The weights maximise the likelihood of the right places and of "none of them", each but the
constant restricted to its plausible sign; the limits are the probabilities from which on the
wanted share of the best matches is right. Every set counts the same. What was seen is kept in the
cache folder; remove it when features or models have changed.
"""

from __future__ import annotations

import argparse
import dataclasses
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import minimize

from bench.closure_sets import ClosureSet, View, ie_tower
from bench.confidence_sets import BUILDINGS, building_drive, keyframes, render
from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import VprError
from vpr_ros.core.feature_extractor import FeatureConfig, FeatureExtractor
from vpr_ros.core.images import Image
from vpr_ros.core.keyframe import Candidate, Keyframe, LocalFeatures, Place
from vpr_ros.core.loop_confidence import (
    PRECISIONS,
    WITH_FEATURES,
    WITHOUT_FEATURES,
    Evidence,
    terms,
)
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopDetector, Match
from vpr_ros.core.model_files import find_model
from vpr_ros.core.verifier import Verification
from vpr_ros.evaluation.image_changes import AS_TAKEN, CHANGES, Change

SMALL = Change(
    "small",
    "160 px wide",
    lambda image: np.asarray(
        cv2.resize(
            image,
            (160, round(160 * image.shape[0] / image.shape[1])),
            interpolation=cv2.INTER_AREA,
        ),
        np.uint8,
    ),
)
ASKED = (AS_TAKEN, *(change for change in CHANGES if change.name != "turned"))
# Degrees per metre; where corridors are identical, more leaves nothing to tell them by. None of
# the buildings is driven without odometry: their corridors look alike so that it is needed.
DRIFTS = {
    False: (0.0, 0.5, 1.0),
    True: (0.0, 0.2, 0.5),
}
NEGATIVE = ("drift", "disorder")  # what speaks against a match
SET_WEIGHT = 300.0  # queries that each set counts as; RIDGE is to be seen against it
RIDGE = 0.1

Verified = dict[tuple[int, int, bytes], Verification | None]  # drift changes no picture


@dataclasses.dataclass(frozen=True)
class Question:
    """One keyframe of a set: P matches, and which of them are right or show one place."""

    evidence: list[Evidence]
    right: np.ndarray  # (P,)
    same: np.ndarray  # (P, P)


class Collector(LoopDetector):
    """Notes the evidence instead of deciding; the truth says which closures were accepted."""

    def __init__(self, database: Database, right: np.ndarray, verified: Verified) -> None:
        """`right` (Q, M + Q) as in ClosureSet."""
        super().__init__(LoopConfig(), database)
        self.questions: list[Question] = []
        self.row = 0
        self._right, self._verified = right, verified

    def _matches(self, place: Place, candidates: list[Candidate], zero: float) -> list[Match]:
        found = super()._matches(place, candidates, zero)
        right = np.array([self._right[self.row, m.place.id] for m in found])
        same = np.array([[self._same_place(a.place, b.place) for b in found] for a in found])
        self.questions.append(Question([m.evidence for m in found], right, same))
        for match, is_right in zip(found, right, strict=True):
            if is_right:
                self.database.graph.link(place, match.place)
        if right.any():
            self._walk.trail.pin(place, found[int(right.argmax())].place)
        return found

    def _accept(self, place: Place, match: Place) -> None:
        pass

    def _compared(self, place: Place, match: Place) -> Verification | None:
        fixed = self._walk.fixed
        key = id(place.features), id(match.features), b"" if fixed is None else fixed.tobytes()
        if key not in self._verified:
            self._verified[key] = super()._compared(place, match)
        return self._verified[key]


class Pictures:
    """What an encoder and a feature extractor make of pictures, kept in a file for each set."""

    def __init__(self, folder: Path, model: str) -> None:
        self._folder, self._model = folder, model
        self._encoder = Encoder(find_model(model))
        self._extractor = FeatureExtractor(FeatureConfig())
        self._seen: dict[tuple[str, str], tuple[np.ndarray, LocalFeatures | None]] = {}
        self.verified: Verified = {}

    def see(self, name: str, images: list[Path], change: Change) -> None:
        """Encode the pictures of a set after a change, unless that was done before."""
        path = self._folder / f"{name}-{change.name}-{self._model}.pickle".replace(" ", "_")
        if not path.exists():
            made = {(image.name, change.name): self._make(image, change) for image in images}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(made))
        for (image, changed), values in pickle.loads(path.read_bytes()).items():
            self._seen[f"{name}/{image}", changed] = values

    def _make(self, path: Path, change: Change) -> tuple[np.ndarray, LocalFeatures | None]:
        image = cv2.imread(str(path))
        if image is None:
            raise VprError(f"Image {path} cannot be read. Give the folder of the sets.")
        pixels: Image = change.apply(np.asarray(image, np.uint8))
        return self._encoder.encode(pixels), self._extractor.extract(pixels)

    def keyframe(self, name: str, view: View, change: Change, number: int) -> Keyframe:
        """A view of a set that was seen."""
        seen = self._seen[f"{name}/{view.image.name}", change.name]
        return view.keyframe(number, self._encoder.contract, *seen)


def questions(
    pictures: Pictures, name: str, case: ClosureSet, known: Change, asked: Change
) -> list[Question]:
    """What is found for each query of a set whose map and queries were changed."""
    database = Database(DatabaseConfig())
    for number, view in enumerate(case.map):
        database.add(pictures.keyframe(name, view, known, number))
    found: list[Question] = []
    detector = Collector(database, case.right, pictures.verified)
    for row, view in enumerate(case.queries):
        if not case.walk:
            detector = Collector(database, case.right, pictures.verified)
        detector.row = row
        detector.process(pictures.keyframe(name, view, asked, len(case.map) + row))
        found += detector.questions
        detector.questions.clear()
    return found


def sets(pictures: Pictures, data: Path, folder: Path) -> Iterator[tuple[str, list[Question]]]:
    """All sets, by name."""
    floors = next(ie_tower(data, mapped=True, test=False))
    walk = next(ie_tower(data, mapped=True, test=False, walk=True))
    everything = [view.image for view in (*walk.map, *walk.queries)]
    pictures.see("tower", everything, AS_TAKEN)
    pictures.see("tower", everything, SMALL)
    for change in ASKED[1:]:
        pictures.see("tower", [view.image for view in floors.queries], change)
    for mapped in (True, False):
        where = "tower" if mapped else "tower, unmapped floor"
        single = list(ie_tower(data, mapped, test=False))
        walks = list(ie_tower(data, mapped, test=False, walk=True))
        for change in ASKED:
            found = [q for c in single for q in questions(pictures, "tower", c, AS_TAKEN, change)]
            yield f"{where}, {change.name}", found
        for change in (AS_TAKEN, SMALL):
            found = [q for c in walks for q in questions(pictures, "tower", c, change, change)]
            yield f"{where}, walk, {change.name}", found
    poses = keyframes()
    for name, identical in BUILDINGS.items():
        path = folder / name.replace(" ", "_")
        render(path, name, poses)
        pictures.see(name, [path / f"{i:04}.png" for i in range(len(poses))], AS_TAKEN)
        for drift in DRIFTS[identical]:
            case = building_drive(path, name, poses, drift)
            yield case.name, questions(pictures, name, case, AS_TAKEN, AS_TAKEN)


@dataclasses.dataclass(frozen=True)
class Problem:
    """N questions as arrays; those with fewer than P matches are filled up."""

    values: np.ndarray  # (N, P, W) terms
    sharp: np.ndarray  # (N, P, W) those between sharp images, by which views are compared
    there: np.ndarray  # (N, P) false where filled up
    right: np.ndarray  # (N, P)
    same: np.ndarray  # (N, P, P)
    weight: np.ndarray  # (N,)

    @classmethod
    def of(cls, asked: list[list[Question]], names: list[str]) -> Problem:
        """The questions of several sets, which count the same."""
        every = [q for members in asked for q in members]
        count, most = len(every), max(len(q.evidence) for q in every)
        values, sharp = np.zeros((2, count, most, len(names)))
        there, right = np.zeros((2, count, most), bool)
        same = np.zeros((count, most, most), bool)
        for row, question in enumerate(every):
            size = len(question.evidence)
            for evidence, into in (
                (question.evidence, values),
                ([e.sharp for e in question.evidence], sharp),
            ):
                found = [terms(one) for one in evidence]
                into[row, :size] = [[term[name] for name in names] for term in found]
            there[row, :size], right[row, :size] = True, question.right
            same[row, :size, :size] = question.same
        weight = [SET_WEIGHT / len(members) for members in asked for _ in members]
        return cls(values, sharp, there, right, same, np.array(weight))

    def chances(self, weights: np.ndarray) -> np.ndarray:
        """The probability (N, P) of each place, at its best match; 0 for its other matches."""
        odds = np.where(self.there, self.values @ weights, -np.inf)
        views = np.where(self.there, self.sharp @ weights, -np.inf)
        order = np.argsort(-views, axis=1, kind="stable")
        best = np.zeros_like(self.there)
        rows = np.arange(len(odds))
        for column in order.T:
            best[rows, column] = ~(best & self.same[rows, column]).any(axis=1)
        odds = np.where(best & self.there, odds, -np.inf)
        top = np.maximum(0.0, odds.max(axis=1))[:, None]
        shares = np.exp(odds - top)
        found: np.ndarray = shares / (np.exp(-top) + shares.sum(axis=1, keepdims=True))
        return found


def likelihood(weights: np.ndarray, problem: Problem) -> tuple[float, np.ndarray]:
    """Negative logarithm of the penalised likelihood, and its gradient (W,)."""
    chances = problem.chances(weights)
    hit = np.where(problem.right, chances, 0.0)
    possible = (hit > 0).any(axis=1)
    sure = np.maximum(np.where(possible, hit.sum(axis=1), 1 - chances.sum(axis=1)), 1e-12)
    aim = np.where(possible[:, None], hit / sure[:, None], 0.0)
    loss = -float(problem.weight @ np.log(sure)) + RIDGE * float((weights[1:] ** 2).sum())
    gradient = np.einsum("n,np,npw->w", problem.weight, chances - aim, problem.values)
    gradient[1:] += 2 * RIDGE * weights[1:]
    return loss, gradient


def fit(problem: Problem, names: list[str]) -> np.ndarray:
    """The weights (W,), "one" first."""
    bounds = [(None, 0.0) if n in NEGATIVE else (0.0, None) for n in names]
    bounds[0] = (None, None)
    start = np.zeros(len(names))
    found = minimize(likelihood, start, (problem,), "L-BFGS-B", jac=True, bounds=bounds)
    weights: np.ndarray = found.x
    return weights


def limits(chances: np.ndarray, right: np.ndarray, weight: np.ndarray) -> list[float]:
    """The probability from which on each of PRECISIONS holds."""
    order = np.argsort(-chances)
    share = np.cumsum((weight * right)[order]) / np.cumsum(weight[order])
    found = []
    for precision in PRECISIONS:
        reached = np.flatnonzero(share >= precision)
        found.append(float(chances[order[reached[-1]]]) if len(reached) else 1.0)
    return found


def fitted(asked: dict[str, list[Question]], names: list[str]) -> tuple[np.ndarray, list[float]]:
    """Weights and limits; prints what each set would close, right and wrong."""
    problem = Problem.of(list(asked.values()), names)
    weights = fit(problem, names)
    chances = problem.chances(weights)
    best = chances.argmax(axis=1)
    right = np.take_along_axis(problem.right, best[:, None], 1)[:, 0]
    sure = chances.max(axis=1)
    found = limits(sure, right, problem.weight)
    wanted = LoopConfig().precision
    closed = sure >= np.interp(wanted, PRECISIONS, found)
    print(f"# set: compared, of these possible, right, wrong at a precision of {wanted:g}")
    at = 0
    for name, members in asked.items():
        part = slice(at, at + len(members))
        at += len(members)
        possible = problem.right[part].any(axis=1).sum()
        hits, misses = (closed & right)[part].sum(), (closed & ~right)[part].sum()
        print(f"# {name}: {len(members)}, {possible}, {hits}, {misses}")
    return weights, found


def main() -> int:
    """Print the constants as they stand in the module; 0 unless an input is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="names or paths of models")
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--cache", type=Path, required=True, help="folder for what was seen")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        asked = {
            f"{name}, {model}": found
            for model in options.models
            for name, found in sets(Pictures(options.cache, model), options.data, options.cache)
        }
    except VprError as error:
        print(error, file=sys.stderr)
        return 1
    blind = {
        name: [
            dataclasses.replace(
                q, evidence=[dataclasses.replace(e, verification=None) for e in q.evidence]
            )
            for q in members
        ]
        for name, members in asked.items()
    }
    for kind, cases, names in (
        ("WITH_FEATURES", asked, WITH_FEATURES),
        ("WITHOUT_FEATURES", blind, WITHOUT_FEATURES),
    ):
        weights, found = fitted(cases, list(names))
        rows = (f'    "{n}": {w:.3f},' for n, w in zip(names, weights, strict=True))
        print("\n".join((f"{kind} = {{", *rows, "}")))
        print(f"LIMITS_{kind} =", tuple(round(limit, 3) for limit in found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
