# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A training run that can be stopped at any time and continues where it was."""

from __future__ import annotations

import csv
import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

from vpr_ros.core.errors import ModelError
from vpr_ros.networks.checkpoint import save_checkpoint, why_unreadable
from vpr_ros.training.fitted_head import fit_last_layer, last_layer, with_fitted_head
from vpr_ros.training.fused_rounding import fuse_rounding
from vpr_ros.training.loader import Share
from vpr_ros.training.optimiser import rate_groups, set_rates
from vpr_ros.training.recipe import Recipe, StagePlan
from vpr_ros.training.stages import make_stage
from vpr_ros.training.stages.stage import Setting, Stage
from vpr_ros.training.teacher import Teacher
from vpr_ros.training.validation import Validation, budgets_of

STATE = "state.pt"
BEST, LAST = "best.pt", "last.pt"
SAVE_MINUTES = 3.0
COLUMNS = (
    "minutes", "stage", "step", "loss", "mined", "rate", "measure", "value", "sparsity", "cosine",
)  # fmt: skip


@dataclasses.dataclass
class RunState:
    """Everything that is needed to continue."""

    stage: int = 0  # number of the stage
    step: int = 0  # batches of that stage, dealt to all processes
    minutes: float = 0.0  # trained so far
    best: float = float("-inf")  # highest mean of the validation's measures
    network: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    optimiser: dict[str, Any] | None = None  # None at a stage's start
    extra: dict[str, Tensor] | None = None  # of the stage; None at its start

    def save(self, path: Path) -> None:
        """Write all; the file appears whole or not at all."""
        temporary = path.with_name(path.name + ".part")
        torch.save(vars(self), temporary)
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> RunState:
        """What `save` wrote; a fresh state if there is no file."""
        if not path.is_file():
            return cls()
        try:
            return cls(**torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch.load raises many types for a broken file
            raise ModelError(
                f"{path} is not the state of a run ({why_unreadable(error)}). Remove it to start "
                "over."
            ) from None


class Run:
    """One run of a recipe in one folder: checkpoints, log, curves.

    `state.pt` holds what is needed to continue. `best.pt`, a checkpoint that `vpr export` reads,
    is the network with the highest mean of the validation's measures so far; `last.pt` is the one
    at the last validation, or where one would have been if there is nothing to validate on.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        shares: list[Share],
        validation: Validation,
        folder: Path,
        say: Callable[[str], None] = print,
        teacher: nn.Module | None = None,
    ) -> None:
        if recipe.run.threads:
            torch.set_num_threads(recipe.run.threads)
        torch.set_float32_matmul_precision("high")  # of what mixed precision leaves in float32
        for plan in recipe.stages:
            last_layer(network, plan)  # refused now, not after hours
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ModelError(f"Cannot make {folder} ({error}). Give another --output.") from None
        self.accelerator = Accelerator(
            mixed_precision=recipe.run.precision, cpu=not torch.cuda.is_available()
        )
        device = self.accelerator.device
        if recipe.run.fused:
            fuse_rounding(network)
        self._main = self.accelerator.is_main_process
        self.network = network.to(device)
        self._recipe, self._folder, self._validation = recipe, folder, validation
        self._say = say if self._main else lambda text: None
        self._setting = Setting(
            self.network, Teacher(teacher, device) if teacher is not None else None, shares,
            recipe, folder, self.accelerator, self._say,
        )  # fmt: skip
        self.log = folder / "log.csv"
        if self._main and not self.log.is_file():
            self.log.write_text(",".join(COLUMNS) + "\n")
        self._state = RunState.load(folder / STATE)
        if self._state.network:
            self._resume(self.network, self._state.network)
            at = f"stage {self._state.stage + 1}, step {self._state.step}"
            self._say(f"Continuing at {at} ({folder / STATE}).")

    def train(self, stop_after_minutes: float = float("inf")) -> bool:
        """Train until the recipe is done (True) or the time is up (False)."""
        end = time.monotonic() + 60 * stop_after_minutes
        state = self._state
        while state.stage < len(self._recipe.stages):
            if not self._train_stage(self._recipe.stages[state.stage], end):
                return False
            state.stage, state.step, state.optimiser, state.extra = state.stage + 1, 0, None, None
            self._save(None, None)
        return True

    def _resume(self, part: Any, state: dict[str, Any]) -> None:
        """Load what was saved of a network or an optimiser."""
        try:
            part.load_state_dict(state)
        except (KeyError, RuntimeError, ValueError):
            raise ModelError(
                f"{self._folder / STATE} does not fit the recipe, which has changed since. "
                "Restore the recipe, remove the file to start over, or give another --output."
            ) from None

    def _train_stage(self, plan: StagePlan, end: float) -> bool:
        """Train what is left of a stage; whether it was finished before the time `end`."""
        torch.manual_seed(plan.batch.seed)
        state = self._state
        earlier = self._recipe.stages[: state.stage]
        fresh = state.step == 0 and not any(other.config.fit for other in earlier)
        setting = with_fitted_head(self._setting, plan, fresh)
        stage = make_stage(setting, plan)
        if stage.extra is not None and state.extra is not None:
            self._resume(stage.extra, state.extra)
        stage.module.to(self.accelerator.device)
        if state.step == 0:
            stage.begin()
        extra = list(stage.extra.parameters()) if stage.extra is not None else []
        optimiser = torch.optim.AdamW(
            rate_groups(self.network, extra, plan), weight_decay=plan.config.weight_decay
        )
        if state.optimiser is not None:
            self._resume(optimiser, state.optimiser)
        stage.module, optimiser, loader = self.accelerator.prepare(
            stage.module, optimiser, stage.loader
        )
        clock = saved = validated = time.monotonic()
        while state.step < plan.batches:
            stage.sampler.step = state.step
            for inputs, labels in loader:
                self._learn(stage, plan, optimiser, inputs, labels)
                now = time.monotonic()
                state.minutes += (now - clock) / 60
                clock = now
                over = self._agreed(now > end)
                done = state.step >= plan.batches
                if done:
                    fit_last_layer(setting, plan)
                    stage.finish()
                if over or done or now - validated > 60 * self._recipe.run.validate_minutes:
                    self._validate(stage, plan)
                    clock = validated = time.monotonic()
                if over or done or now - saved > 60 * SAVE_MINUTES:
                    self._save(stage, optimiser)
                    saved = now
                if over or done:
                    return done
            state.step = next_epoch(state.step, plan.batch.batches)
        return True

    def _learn(
        self, stage: Stage, plan: StagePlan, optimiser: Any, inputs: Tensor, labels: Tensor
    ) -> None:
        """One step of the optimiser."""
        state = self._state
        rate = set_rates(optimiser, plan.rate_factor(state.step))
        # So that dropout in a run that was stopped is that of one that was not.
        torch.manual_seed(plan.batch.seed * 10**9 + state.step + self.accelerator.process_index)
        lesson = stage.learn(inputs, labels, state.step)
        value = lesson.loss.item()
        if not torch.isfinite(lesson.loss):
            raise ModelError(
                f"The loss of step {state.step} is {value}. Lower the learning rates; "
                f"{self._folder / STATE} holds the last good state."
            )
        optimiser.zero_grad()
        self.accelerator.backward(lesson.loss)
        if plan.config.clip:
            self.accelerator.clip_grad_norm_(stage.module.parameters(), plan.config.clip)
        optimiser.step()
        state.step += self.accelerator.num_processes
        self._write(plan, loss=round(value, 5), rate=rate, **lesson.notes)

    def _validate(self, stage: Stage, plan: StagePlan) -> None:
        if not self._main:
            return
        self.network.eval()
        found = self._validation.measure(
            stage.describe, self.accelerator.device, budgets_of(self.network)
        )
        for name, value in found.items():
            self._write(plan, measure=name, value=round(value, 2))
        trained = sum(p.numel() for p in self.network.parameters() if p.requires_grad)
        notes = {**self._recipe.notes, "validation": found, "minutes": self._state.minutes,
                 "trainable": trained}  # fmt: skip
        save_checkpoint(self._folder / LAST, self.network, notes)
        if found:
            mean = sum(found.values()) / len(found)
            words = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
            self._say(
                f"{self._state.minutes:.0f} min, {plan.config.name} step {self._state.step}: "
                f"{words}; mean {mean:.1f}"
            )
            if stage.judged and mean > self._state.best:
                self._state.best = mean
                save_checkpoint(self._folder / BEST, self.network, notes)
        draw_curves(self.log, self._folder / "curves.png")

    def _write(self, plan: StagePlan, **values: object) -> None:
        """One row of the log; a step leaves `measure` empty, a validation fills it."""
        if not self._main:
            return
        row = {"minutes": round(self._state.minutes, 2), "stage": plan.config.name}
        with self.log.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow({**row, "step": self._state.step, **values})

    def _save(self, stage: Stage | None, optimiser: Any) -> None:
        if not self._main:
            return
        state = self._state
        state.network = self.network.state_dict()
        state.optimiser = None if optimiser is None else optimiser.state_dict()
        extra = None if stage is None else stage.extra
        state.extra = None if extra is None else extra.state_dict()
        state.save(self._folder / STATE)

    def _agreed(self, yes: bool) -> bool:
        """The main process's answer, for all: if one stopped alone, the others would wait."""
        if self.accelerator.num_processes == 1:
            return yes
        found = torch.tensor([int(yes)], device=self.accelerator.device)
        return bool(broadcast(found).item())


def next_epoch(step: int, batches: int) -> int:
    """The first batch of the epoch after that of `step`; at an epoch's start `step` itself.

    All processes are dealt the same number of batches; what is left of an epoch is dropped.
    """
    return -(-step // batches) * batches


def draw_curves(log: Path, picture: Path) -> None:
    """Draw loss and recalls over minutes of training as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [(float(r["minutes"]), float(r["loss"])) for r in rows if r["loss"]]
    measures = sorted({r["measure"] for r in rows if r["measure"]})
    figure, axes = pyplot.subplots(
        2 if measures else 1, 1, sharex=True, squeeze=False, figsize=(8, 6), layout="constrained"
    )
    above, last = axes[0, 0], axes[-1, 0]
    above.plot(*zip(*steps, strict=True), linewidth=0.8)
    above.set_ylabel("loss")
    above.grid(alpha=0.3)
    last.set_xlabel("training, min")
    for name in measures:
        points = [(float(r["minutes"]), float(r["value"])) for r in rows if r["measure"] == name]
        dashed = "--" if name.endswith("R@100P") else "-"
        last.plot(*zip(*points, strict=True), dashed, marker=".", label=name)
    if measures:
        last.set_ylabel("validation, %")
        last.grid(alpha=0.3)
        last.legend(fontsize="x-small", ncols=2)
    figure.savefig(picture, dpi=120)
    pyplot.close(figure)
