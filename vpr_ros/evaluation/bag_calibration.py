# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr calibrate`: how sure is sure enough on a bag of one's own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from scipy.stats import beta

from vpr_ros.core.battery import UNMEASURED
from vpr_ros.core.calibration import Calibration, calibration_text
from vpr_ros.core.contract import Contract
from vpr_ros.core.encoder import open_encoder
from vpr_ros.core.errors import VprError
from vpr_ros.core.loop_confidence import PRECISIONS, required
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.evaluation.bag import choose_topics
from vpr_ros.evaluation.console import Progress, TextTable, say
from vpr_ros.evaluation.drive_folders import open_drive
from vpr_ros.evaluation.evaluated_drive import Drive, Outcome, evaluate_drive
from vpr_ros.evaluation.metrics import percent
from vpr_ros.evaluation.params import Settings, write_params
from vpr_ros.evaluation.replay import EncodedImage, EncoderReplay, Request, replay_database
from vpr_ros.evaluation.run_folder import latest, own_command, run_folder, write_json
from vpr_ros.evaluation.truth_source import TruthSource, find_truth, require_truth

ENDS = (0.0, 0.6)  # tried besides the sparsities that the battery sets
OPEN = -0.9999  # a threshold that everything reaches; -1 would mean the model's own
STEP = 0.02  # of score thresholds
LEVEL = 0.95  # of confidence


def lower_bound(right: int, total: int) -> float:
    """The least precision that `right` of `total` still allow, at 95 % confidence (one-sided).

    Clopper and Pearson (Biometrika 1934), for matches that are independent; those of neighbours
    are not.
    """
    return float(beta.ppf(1 - LEVEL, right, total - right + 1)) if right else 0.0


def needed(precision: float) -> int:
    """Right matches without a wrong one that promise this precision, at 95 % confidence."""
    if precision >= 1:
        return 0  # no number promises that nothing ever goes wrong
    return math.ceil(math.log(1 - LEVEL) / math.log(precision))


class CalibrationError(VprError):
    """The bag does not allow what was asked for."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One setting, replayed at every sparsity."""

    loop: LoopConfig
    drives: tuple[Drive, ...]  # one per sparsity

    @property
    def right(self) -> int:
        """Right closures."""
        return sum(drive.count(Outcome.RIGHT) for drive in self.drives)

    @property
    def wrong(self) -> int:
        """Wrong closures."""
        return sum(drive.count(Outcome.WRONG) for drive in self.drives)

    def reaches(self, precision: float) -> bool:
        """Whether so large a share of its closures is right; false without any."""
        return self.right > 0 and self.right >= (precision - 1e-9) * (self.right + self.wrong)


@dataclasses.dataclass(frozen=True)
class CalibrationResult:
    """What is in force before and after, and why it changed."""

    sparsities: tuple[float, ...]
    wanted: float  # precision
    before: Trial
    after: Trial
    changes: tuple[str, ...]  # in words; () if nothing changed

    @property
    def remark(self) -> str:
        """How much the bag can tell, in one sentence; empty if it is enough."""
        right, total = self.after.right, self.after.right + self.after.wrong
        if lower_bound(right, total) >= self.wanted:
            return ""
        more = needed(self.wanted)
        enough = f"{more} without a mistake are needed" if more else "no number is enough"
        return (
            f"Too few loops to promise {percent(self.wanted)}: {right} right of {total} closures "
            f"support {percent(lower_bound(right, total))} (95 % confidence); {enough}."
        )


@dataclasses.dataclass(frozen=True)
class _Drives:
    """The keyframes of a bag at every sparsity, ready to be replayed."""

    settings: Settings
    contract: Contract
    digest: str
    source: TruthSource
    encoded: dict[float, list[EncodedImage]]  # by sparsity

    def replay(self, loop: LoopConfig) -> Trial:
        config = self.settings.database
        found = []
        for keyframes in self.encoded.values():
            replay = replay_database(keyframes, loop, config)
            found.append(evaluate_drive(replay.answers, replay.descriptors, self.source, config))
        return Trial(loop, tuple(found))

    def gate(self, loop: LoopConfig, sparsity: float) -> Calibration:
        """The thresholds that hold at a sparsity, less the room for changed light."""
        name, digest = self.contract.name, self.digest
        own = self.contract.calibration_at(sparsity)
        found = loop.calibration_at(sparsity, own, name, digest)
        score = found.score_threshold
        if not loop.sets_score(name, digest):
            score = 2 * score - 1.0
        return dataclasses.replace(found, score_threshold=score)


def run_calibrate(
    request: Request, sparsities: list[float], precision: float, output: Path
) -> CalibrationResult:
    """Calibrate, write `output`/<time>/{vpr.yaml,calibration.json}, print.

    Raises a VprError, with nothing left on the disk, if no setting reaches the precision.
    """
    console, command = Console(), own_command()
    if not 0.5 <= precision <= 1.0:
        raise CalibrationError(f"Precision {precision:g} is out of range; give one in [0.5, 1].")
    settings = request.settings
    encoder = open_encoder(settings.model)
    contract = encoder.contract
    usual = {min(s, contract.sparsity_max) for s in (*ENDS, *(contract.levels or UNMEASURED))}
    chosen = tuple(sorted(set(sparsities) or usual))
    for sparsity in chosen:
        encoder.check_sparsity(sparsity)
    with (
        run_folder(output) as folder,
        open_drive(request.bag) as bag,
        Progress(console) as progress,
    ):
        topics = choose_topics(bag, request.image, request.odometry)
        source = find_truth(bag, request.truth, request.rule, topics.odometry, request.truth_frame)
        require_truth(source)
        encoded = {}
        for sparsity in chosen:
            model = dataclasses.replace(settings.model, sparsity=sparsity)
            front = EncoderReplay(encoder, dataclasses.replace(settings, model=model))
            encoded[sparsity] = list(front.keyframes(bag, topics, progress))
        progress.begin("Trying settings")
        found = calibrate(_Drives(settings, contract, encoder.digest, source, encoded), precision)
        heading = [
            f"Calibrated on {request.bag}, model {settings.model.model}, by: {command}",
            "ros2 launch vpr_ros vpr.launch.py params_file:=<this file>",
            *(found.changes or ("Nothing was changed.",)),
            *([found.remark] if found.remark else []),
        ]
        launched = dataclasses.replace(settings, loop=found.after.loop)
        write_params(folder / "vpr.yaml", launched, "\n".join(heading))
        write_json(folder / "calibration.json", {"command": command, **_numbers(found)})
    results_table(found).print(console)
    say(console, f"Parameters for the launch file: {latest(output) / 'vpr.yaml'}")
    return found


def calibrate(drives: _Drives, precision: float) -> CalibrationResult:
    """What is in force, or the setting that closes most right loops at this precision.

    Every setting is judged by a replay, and what is in force stays unless another closes more
    right loops, or reaches the precision where it does not: nothing is lost on this bag.
    """
    loop = drives.settings.loop
    before = drives.replay(loop)
    if not any(drive.revisits for drive in before.drives):
        require_truth(before.drives[0].truth)
        raise CalibrationError("The bag has no loop, so nothing can be said. Drive a route twice.")
    lowest = dataclasses.replace(loop, score_threshold=OPEN)
    opened = drives.replay(dataclasses.replace(lowest, precision=min(PRECISIONS)))
    gated, reasons = _lower_gates(drives, opened)
    limit = _limit(opened, before, precision)
    tried = [before]
    for candidate in (loop, gated):
        for wanted in dict.fromkeys((loop.precision, limit)):
            setting = dataclasses.replace(candidate, precision=wanted)
            if setting != loop:
                tried.append(drives.replay(setting))
    good = [one for one in tried if one.reaches(precision)]
    if not good:
        best = max(tried, key=lambda one: one.right / max(one.right + one.wrong, 1))
        raise CalibrationError(
            f"No setting reaches {percent(precision)} on this bag; the best has {best.right} "
            f"right and {best.wrong} wrong closures."
        )
    after = max(good, key=lambda one: one.right)  # the first of equals: what is in force
    changes = []
    if after.loop.precision != loop.precision:
        changes.append(
            f"loop.precision: {loop.precision:g} -> {after.loop.precision:g}, since what was in "
            f"force closes {before.right} right and {before.wrong} wrong"
        )
    if after.loop.calibration != loop.calibration:
        changes += reasons
    return CalibrationResult(tuple(drives.encoded), precision, before, after, tuple(changes))


def _limit(opened: Trial, before: Trial, precision: float) -> float:
    """The value of loop.precision to try beside the one in force.

    It is raised if the closures in force are wrong too often. It is lowered only where there are
    enough closures to promise the precision, since a short bag without mistakes proves little,
    and no further than right ones come in.
    """
    found = [
        (verdict.answer.confidence, verdict.outcome is Outcome.RIGHT)
        for drive in opened.drives
        for verdict in (*drive.of(Outcome.RIGHT), *drive.of(Outcome.WRONG))
    ]
    in_force = before.loop.precision

    def counts(value: float) -> tuple[int, int]:
        accepted = [right for confidence, right in found if confidence >= required(value)]
        return sum(accepted), len(accepted)

    def enough(value: float, promised: bool) -> bool:
        right, total = counts(value)
        share = lower_bound(right, total) if promised else right / max(total, 1)
        return right > 0 and share >= precision - 1e-9

    if before.reaches(precision):
        lower = [p for p in PRECISIONS if p < in_force and enough(p, promised=True)]
        return max(lower, key=lambda p: (counts(p)[0], p), default=in_force)
    higher = [p for p in PRECISIONS if p > in_force and enough(p, promised=False)]
    return min(higher, default=max(PRECISIONS))


def _lower_gates(drives: _Drives, opened: Trial) -> tuple[LoopConfig, list[str]]:
    """The setting whose score thresholds let every right closure through, and why."""
    points, reasons = [], []
    for sparsity, drive in zip(drives.encoded, opened.drives, strict=True):
        now = drives.gate(drives.settings.loop, sparsity)
        scores = [verdict.answer.score for verdict in drive.of(Outcome.RIGHT)]
        lowest = math.floor(min(scores) / STEP) * STEP if scores else math.nan
        if scores and not lowest >= now.score_threshold:  # also if there is none
            below = sum(not score >= now.score_threshold for score in scores)
            had = f"{now.score_threshold:.2f}" if now.score_threshold > -1 else "none"
            reasons.append(
                f"score threshold at sparsity {sparsity:g}: {had} -> {lowest:.2f}, since {below} "
                "right closures score less"
            )
            now = dataclasses.replace(now, score_threshold=round(lowest, 6))
        if not math.isnan(now.score_threshold):
            points.append(now)
    if not reasons:
        return drives.settings.loop, reasons
    table = calibration_text(points, drives.contract.name, drives.digest)
    return dataclasses.replace(
        drives.settings.loop, score_threshold=-1.0, calibration=table
    ), reasons


def results_table(found: CalibrationResult) -> TextTable:
    """One row per sparsity, before and after; what changed and why below."""
    rows = []
    for number, sparsity in enumerate(found.sparsities):
        before, after = found.before.drives[number], found.after.drives[number]
        rows.append((f"{sparsity:g}", str(after.revisits), *_counts(before), *_counts(after)))
    right, wrong = found.after.right, found.after.wrong
    names = ("sparsity", "revisits", "in force\nright", "\nwrong", "calibrated\nright", "\nwrong")
    notes = (
        *(found.changes or ("Nothing was changed: no other setting closes more right loops at "
                            f"{percent(found.wanted)}.",)),
        f"Precision of the {right + wrong} closures: at least "
        f"{percent(lower_bound(right, right + wrong))} (95 % confidence, as if each were of a "
        "place of its own).",
        *([found.remark] if found.remark else []),
    )  # fmt: skip
    return TextTable(f"Calibrated for {found.wanted:.1%} precision", names, tuple(rows), notes)


def _counts(drive: Drive) -> tuple[str, str]:
    return str(drive.count(Outcome.RIGHT)), str(drive.count(Outcome.WRONG))


def _numbers(found: CalibrationResult) -> dict[str, object]:
    """For calibration.json."""

    def of(trial: Trial) -> dict[str, object]:
        values: Sequence[Drive] = trial.drives
        return {
            "loop": dataclasses.asdict(trial.loop),
            "right": [drive.count(Outcome.RIGHT) for drive in values],
            "wrong": [drive.count(Outcome.WRONG) for drive in values],
        }

    return {
        "wanted_precision": found.wanted,
        "sparsities": found.sparsities,
        "revisits": [drive.revisits for drive in found.after.drives],
        "before": of(found.before),
        "after": of(found.after),
        "changes": found.changes,
        "remark": found.remark,
    }
