# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How well, and how fast, a model file recognises places at each sparsity.

python -m bench.retrieval models/mobilenetv2-gem.onnx --data ../shared/data
python -m bench.retrieval models/mobilenetv2-gem.onnx --data ../shared/data --thresholds

With --write the suggested score thresholds go into the model file.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.worlds import Mask, World, elsewhere_worlds, office_corridor
from vpr_ros.core.calibration import Calibration
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import VprError
from vpr_ros.evaluation.timing import network_ms

Array = npt.NDArray[np.float32]

THRESHOLD_STEP = 0.02


@dataclasses.dataclass(frozen=True)
class Tops:
    """The best match of each query of a world; arrays (Q,)."""

    score: Array
    margin: Array
    right: Mask
    revisit: Mask  # whether a right answer exists

    def recall_at_1(self) -> float:
        """Share of the revisits whose best match is right, percent."""
        return 100 * float(self.right[self.revisit].mean())

    def recall_at_full_precision(self, with_new_places: bool) -> float:
        """Share of the revisits that score above every wrong best match, percent.

        Queries without a right answer count as wrong matches if `with_new_places`.
        """
        wrong = ~self.right if with_new_places else ~self.right & self.revisit
        limit = self.score[wrong].max(initial=-1.0)
        return 100 * float((self.score[self.right] > limit).sum() / self.revisit.sum())

    def accepted(self, score: float, margin: float) -> Mask:
        """Which best matches reach both thresholds; none if the score's is NaN."""
        reached: Mask = (self.score >= score) & (self.margin >= np.nan_to_num(margin))
        return reached


def tops(world: World, queries: Array, candidates: Array) -> Tops:
    """Search each query of `world` among `candidates`; both (N, D) of unit length."""
    scores = np.where(world.searched, queries @ candidates.T, -1.0)
    rows = np.flatnonzero(world.searched.any(axis=1))
    best = scores[rows].argmax(axis=1)
    rival = world.searched[rows] & ~world.same_place[best]
    elsewhere = np.where(rival, scores[rows], 0.0).max(axis=1)  # the lead over nothing: the score
    score = scores[rows, best].astype(np.float32)
    revisit = (world.right & world.searched)[rows].any(axis=1)
    margin = (score - elsewhere).astype(np.float32)
    return Tops(score, margin, world.right[rows, best], revisit)


def describe(encoder: Encoder, world: World, sparsity: float) -> Array:
    """Descriptors (N, D) of all images of `world`."""
    return np.stack([encoder.encode(image, sparsity) for image in world.images])


def print_retrieval(encoder: Encoder, world: World, sparsities: list[float]) -> None:
    """The table of recall and time per sparsity."""
    print(f"{world.name}, {encoder.contract.name}, {encoder.threads} thread(s), percent\n")
    print("| sparsity | R@1 | R@100P | new places too | accepted |", end="")
    print(" R@1, map at 0 | accepted | ms |")
    print("|" + "---:|" * 8)
    dense = describe(encoder, world, 0.0)
    times = network_ms(encoder, world.images[0], sparsities)
    for sparsity, time_ms in zip(sparsities, times, strict=True):
        descriptors = describe(encoder, world, sparsity)
        same = tops(world, descriptors, descriptors)
        mixed = tops(world, descriptors, dense)
        print(
            f"| {sparsity:g} | {same.recall_at_1():.1f} "
            f"| {same.recall_at_full_precision(False):.1f} "
            f"| {same.recall_at_full_precision(True):.1f} "
            f"| {_recall(encoder, same, sparsity):.1f} | {mixed.recall_at_1():.1f} "
            f"| {_recall(encoder, mixed, sparsity):.1f} | {time_ms:.1f} |"
        )


def _recall(encoder: Encoder, found: Tops, sparsity: float) -> float:
    """Share of the revisits found right and accepted by the file's own thresholds, percent."""
    own = encoder.contract.calibration_at(sparsity)
    accepted = found.accepted(own.score_threshold, own.margin_threshold)
    return 100 * float((accepted & found.right).sum() / found.revisit.sum())


def print_thresholds(
    encoder: Encoder, worlds: list[World], sparsities: list[float]
) -> list[Calibration]:
    """Scores and margins of right and wrong best matches, and what thresholds do with them.

    The first world has right answers, the others have none. Returns the suggested thresholds,
    none of which is above one of a lower sparsity.
    """
    suggestions: list[Calibration] = []
    dense = describe(encoder, worlds[0], 0.0)
    for sparsity in sparsities:
        found = []
        for world in worlds:
            descriptors = describe(encoder, world, sparsity)
            found.append(tops(world, descriptors, descriptors))
        mixed = tops(worlds[0], describe(encoder, worlds[0], sparsity), dense)
        print(f"\nsparsity {sparsity:g}\n")
        _print_distributions([world.name for world in worlds], found)
        calibration = encoder.contract.calibration_at(sparsity)
        margin = np.nan_to_num(calibration.margin_threshold)
        print(f"\nbest matches accepted, percent, margin >= {margin:.3f}\n")
        others = " | ".join(world.name for world in worlds[1:])
        print(f"| score >= | {worlds[0].name}, right | wrong, of those accepted | {others} |")
        print("|:---|" + "---:|" * (len(worlds) + 1))
        suggested = _suggested(found[0], mixed)
        for threshold in np.linspace(suggested, 1.0, 12)[:-1]:
            _print_accepted(f"{threshold:.3f}", found, threshold, margin)
        _print_accepted(f"{suggested:.3f}, suggested", found, suggested, margin)
        chosen = calibration.score_threshold
        if not np.isnan(chosen):
            _print_accepted(f"{chosen:.3f}, in the file", found, chosen, margin)
        lowest = min([suggested, *(point.score_threshold for point in suggestions)])
        suggestions.append(Calibration(sparsity, lowest, 0.0))
    return suggestions


def _print_distributions(names: list[str], found: list[Tops]) -> None:
    quantiles = (0.1, 0.5, 0.9, 1.0)
    groups = [(f"{names[0]}, right", found[0], found[0].right)]
    groups += [(f"{names[0]}, wrong", found[0], ~found[0].right)]
    groups += [(name, top, ~top.right) for name, top in zip(names[1:], found[1:], strict=True)]
    print(
        "| best matches | n | score 10 % | 50 % | 90 % | max | margin 10 % | 50 % | 90 % | max |"
    )
    print("|:---|" + "---:|" * (1 + 2 * len(quantiles)))
    for label, top, chosen in groups:
        values = [np.quantile(v[chosen], q) for v in (top.score, top.margin) for q in quantiles]
        print(f"| {label} | {chosen.sum()} | {' | '.join(f'{v:.3f}' for v in values)} |")


def _print_accepted(label: str, found: list[Tops], threshold: float, margin: float) -> None:
    accepted = [top.accepted(threshold, margin) for top in found]
    revisits, first = found[0], accepted[0]
    recall = (first & revisits.right).sum() / revisits.revisit.sum()
    wrong = (first & ~revisits.right).sum() / max(first.sum(), 1)
    shares = [recall, wrong, *(a.mean() for a in accepted[1:])]
    print(f"| {label} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |")


def _suggested(*found: Tops) -> float:
    """The highest multiple of `THRESHOLD_STEP` that every right best match reaches.

    The score gate is the first and coarsest: what it lets through, the temporal and geometric
    gates still have to believe.
    """
    lowest = min(float(top.score[top.right].min()) for top in found)
    return float(np.floor(lowest / THRESHOLD_STEP) * THRESHOLD_STEP)


def main() -> int:
    """Print the tables; 0 unless an input is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sparsities", type=float, nargs="+")
    parser.add_argument(
        "--thresholds", action="store_true", help="scores of right and wrong matches instead"
    )
    parser.add_argument("--write", action="store_true", help="suggested ones into the file")
    options = parser.parse_args()
    try:
        encoder = Encoder(options.model, options.threads)
        limit = encoder.contract.sparsity_max
        steps = [s for s in (0.0, 0.2, 0.4, 0.6) if s < limit or s == 0.0]
        sparsities = options.sparsities or sorted({*steps, limit})
        corridor = office_corridor(options.data)
        if options.thresholds or options.write:
            worlds = [corridor, *elsewhere_worlds(options.data)]
            suggestions = print_thresholds(encoder, worlds, sparsities)
            if options.write:
                from vpr_ros.export.write import write_calibration  # needs onnx

                write_calibration(options.model, suggestions)
        else:
            print_retrieval(encoder, corridor, sparsities)
    except VprError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
