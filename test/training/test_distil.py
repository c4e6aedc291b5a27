# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A ternary student learns from a frozen teacher, and one map serves all its sparsities."""

import csv
import dataclasses
from unittest import mock

import numpy as np
import pytest
import torch
from students import (
    ALIKE,
    ALL_BLOCKS,
    DISTIL,
    FEW,
    SIDE,
    TINY,
    TUNE,
    changed,
    column,
    cut_off,
    recipe_of,
    teacher_of,
    weights,
)
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.export.export_checkpoint import export_checkpoint
from vpr_ros.networks.checkpoint import save_checkpoint
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.training.initial_network import make_network
from vpr_ros.training.loop import BEST
from vpr_ros.training.recipe import RunConfig, SparsityConfig, StagePlan, TeacherConfig
from vpr_ros.training.stages import make_stage
from vpr_ros.training.teacher import load_teacher
from vpr_ros.training.validation import ALL_BUDGETS, Validation


@pytest.fixture(scope="module")
def images():
    """Eight made places, as network inputs (8, 3, SIDE, SIDE)."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.randn(8, 3, 4, 4, generator=random)
    return F.interpolate(coarse, (SIDE, SIDE), mode="bilinear")


@pytest.mark.parametrize("dim", [64, 48])  # 48: through a projection
def test_student_comes_nearer_and_the_teacher_stays(start, dim):
    teacher = teacher_of(dim)
    taught = weights(teacher)
    run = start(recipe_of({**DISTIL, "epochs": 15}), teacher=teacher)
    before = weights(run.network)
    assert run.train()
    loss, cosine = column(run, "loss"), column(run, "cosine")
    assert loss[-8:].mean() < 0.8 * loss[:4].mean()
    assert cosine[-8:].mean() > cosine[:4].mean() + 0.1
    assert not changed(teacher, taught)
    moved = changed(run.network, before)
    assert moved and all(name.startswith("backbone.") for name in moved)
    assert not any("projection" in name for name in run.network.state_dict())


def test_all_blocks_come_nearer_to_the_teachers(start):
    teacher = teacher_of()
    run = start(recipe_of({**ALL_BLOCKS, "epochs": 15}, options=ALIKE), teacher=teacher)
    taught, before = weights(teacher), weights(run.network)
    assert run.train()
    loss = column(run, "loss")
    assert loss[-8:].mean() < 0.8 * loss[:4].mean()
    assert not changed(teacher, taught)
    moved = changed(run.network, before)
    assert any(name.startswith("backbone.blocks.0.") for name in moved)
    assert not any(name.startswith("head.") for name in moved)


def test_all_blocks_need_a_teacher_with_the_same(start):
    run = start(recipe_of(ALL_BLOCKS, options=ALIKE | {"depth": 3}), teacher=teacher_of())
    with pytest.raises(ConfigError, match="dim 64 and depth 3"):
        run.train()


def test_dense_views_pass_at_0_and_the_others_do_not(start):
    sparsity = {"low": 0.5, "start": 0.5, "high": 0.5, "dense_views": 1}
    run = start(recipe_of({**TUNE, "epochs": 1, "sparsity": sparsity}))
    seen, forward = [], type(run.network).forward

    def watched(self, images, sparsity=0.0):
        found = forward(self, images, sparsity)
        seen.append((sparsity, found))
        return found

    with mock.patch.object(type(run.network), "forward", watched):
        stage = make_stage(run._setting, run._recipe.stages[0])
        images, labels = next(iter(stage.loader))
        stage.learn(images, labels, 0)
        together = stage._descriptors(images, 0.5)
    assert [sparsity for sparsity, _ in seen] == [0.0, 0.5] * 2
    views = run._recipe.stages[0].batch.views
    dense, sparse = seen[2][1], seen[3][1]
    assert len(dense) * views == len(images)
    assert torch.equal(together[::views], dense)
    assert torch.equal(together[1], sparse[0])


@pytest.mark.parametrize("change", [{"dense_views": 2}, {"method": "distil", "dense_views": 1}])
def test_dense_views_that_leave_nothing_to_the_dial_are_refused(change):
    change = dict(change)
    stage = {**TUNE, "sparsity": {"high": 0.6, "dense_views": change.pop("dense_views")}}
    stage["batch"] = {"places": 4, "views": 2, "batches": 2}
    with pytest.raises(ConfigError, match="dense_views"):
        StagePlan.from_dict({**stage, **change})


def test_norms_and_biases_may_have_a_rate_of_their_own(start):
    stage = {**ALL_BLOCKS, "rate_blocks": 0.0, "rate_vectors": 1e-3, "weight_decay": 0.0}
    run = start(recipe_of(stage, options=ALIKE), teacher=teacher_of())
    before = weights(run.network)
    assert run.train()
    moved = changed(run.network, before)
    assert moved and all(before[name].ndim == 1 for name in moved)


@pytest.mark.parametrize(("stage", "dense_views"), [(DISTIL, 0), (TUNE, 0), (TUNE, 1)])
def test_chunks_keep_less_and_teach_the_same(start, stage, dense_views):
    """Two and three of eight images at a time: the same gradients from less memory."""
    sparsity = {"low": 0.5, "start": 0.5, "high": 0.5, "dense_views": dense_views}
    gradients, kept = {}, {}
    for chunk in (0, 2, 3):
        settings = RunConfig(height=SIDE, width=SIDE, precision="no", threads=1, chunk=chunk)
        recipe = recipe_of({**stage, "sparsity": sparsity}, run=settings)
        run = start(recipe, str(chunk), teacher_of(48))
        taught = make_stage(run._setting, recipe.stages[0])
        images, labels = next(iter(taught.loader))
        saved = {}

        def keep(x, saved=saved):
            saved[x.untyped_storage().data_ptr()] = x
            return x

        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            loss = taught.learn(images, labels, 0).loss
        kept[chunk] = sum(x.untyped_storage().nbytes() for x in saved.values())
        loss.backward()
        gradients[chunk] = {
            name: p.grad for name, p in run.network.named_parameters() if p.grad is not None
        }
    assert gradients[0].keys() == gradients[2].keys() == gradients[3].keys()
    for name, expected in gradients[0].items():
        for chunk in (2, 3):
            torch.testing.assert_close(gradients[chunk][name], expected, msg=name)
    assert max(kept[2], kept[3]) < 0.5 * kept[0]


def test_sparsity_rises_from_epoch_to_epoch():
    ramp = SparsityConfig(low=0.1, start=0.1, high=0.6)
    for progress, upper in ((0.0, 0.1), (0.5, 0.35), (1.0, 0.6)):
        drawn = np.array([ramp.draw(progress, 1, step) for step in range(500)])
        assert drawn.min() >= 0.1
        assert drawn.max() <= upper + 1e-9
        assert drawn.mean() == pytest.approx((0.1 + upper) / 2, abs=0.02)
    dense = dataclasses.replace(ramp, dense_share=0.3)
    drawn = np.array([dense.draw(1.0, 1, step) for step in range(500)])
    assert (drawn == 0.0).mean() == pytest.approx(0.3, abs=0.06)
    with pytest.raises(ConfigError, match="low <= start <= high"):
        SparsityConfig(low=0.2, start=0.1, high=0.6)


def test_sparsities_of_a_run_are_those_of_its_plan(start):
    run = start(recipe_of(TUNE))
    assert run.train()
    plan = StagePlan.from_dict(TUNE)
    expected = [round(plan.sparsity_at(step), 3) for step in range(plan.batches)]
    assert column(run, "sparsity").tolist() == expected
    assert len(set(expected)) > 3


def test_only_the_last_blocks_and_the_head_are_tuned(start):
    run = start(recipe_of(TUNE))
    before = weights(run.network)
    assert run.train()
    moved = changed(run.network, before)
    for part in ("backbone.blocks.1.", "backbone.blocks.2.", "backbone.norm.", "head."):
        assert any(name.startswith(part) for name in moved), part
    frozen = ("backbone.blocks.0.", "backbone.patch_embed.", "backbone.positions")
    assert not any(name.startswith(frozen) for name in moved)


def test_run_goes_on_as_if_it_had_not_been_cut_off(start):
    short = {"batch": {**FEW, "batches": 2}}  # of two epochs
    recipe = recipe_of({**DISTIL, **short}, {**TUNE, "consistency": 1.0, **short})
    # After every batch but the stages' last.
    whole, resumed = cut_off(lambda folder: start(recipe, folder, teacher_of(48)), 6)
    assert column(resumed, "loss").tolist() == column(whole, "loss").tolist()


def distances(run, images, labels, steps):
    """Mean 1 - cosine of the descriptors at 0.6 to those at 0, after each step on one batch."""
    stage = make_stage(run._setting, run._recipe.stages[0])
    optimiser = torch.optim.Adam(run.network.parameters(), 2e-3)
    found = []
    for step in range(steps):
        optimiser.zero_grad()
        stage.learn(images, labels, step).loss.backward()
        optimiser.step()
        run.network.eval()
        with torch.no_grad():
            cosine = F.cosine_similarity(run.network(images, 0.6), run.network(images, 0.0))
        found.append(float(1.0 - cosine.mean()))
    return found


def test_consistency_draws_all_sparsities_together(start, images):
    """The same steps on the same batch with and without it; far apart on any machine."""
    labels = torch.arange(4).repeat_interleave(2)
    stage = {**TUNE, "trained_blocks": 3, "sparsity": {"low": 0.6, "start": 0.6, "high": 0.6}}
    options = {**TINY, "head": "cls"}
    drawn = start(recipe_of({**stage, "consistency": 50.0}, options=options), "drawn")
    free = start(recipe_of(stage, options=options), "free")
    with_it, without = (distances(run, images, labels, 6) for run in (drawn, free))
    assert np.mean(with_it[2:]) < 0.6 * np.mean(without[2:])


def test_descriptors_follow_the_teachers(start, images):
    teacher = make_network(recipe_of(TUNE), None)
    stage = {**TUNE, "epochs": 12, "trained_blocks": 3, "consistency": 5.0, "target": "teacher"}
    run = start(recipe_of(stage), teacher=teacher)
    assert run.train()
    cosine = column(run, "cosine")
    assert cosine[-8:].mean() > cosine[:4].mean() + 0.05


def test_trained_student_passes_the_exporters_check(start, tmp_path, picture):
    import cv2

    for kind in ("database", "queries"):
        (tmp_path / "drive" / kind).mkdir(parents=True)
        for number in range(6):
            cv2.imwrite(str(tmp_path / "drive" / kind / f"{number}.png"), picture(number))
    run = start(recipe_of(DISTIL, {**TUNE, "consistency": 1.0}), teacher=teacher_of(48))
    run._validation = Validation([{"path": "drive", "frames": 0}], tmp_path, SIDE, SIDE)
    assert run.train()
    with run.log.open(newline="") as file:
        measures = {row["measure"] for row in csv.DictReader(file) if row["measure"]}
    assert {f"drive {budget.name} R@1" for budget in ALL_BUDGETS} < measures
    agreements = export_checkpoint(tmp_path / "run" / BEST, tmp_path / "tiny.onnx")
    assert [a.sparsity for a in agreements] == [0.0, 0.3, 0.6]
    assert min(a.cosine for a in agreements) > 0.99


def test_what_does_not_fit_is_refused(start, tmp_path):
    with pytest.raises(ConfigError, match="needs a teacher"):
        start(recipe_of(DISTIL)).train()
    headless = {**TUNE, "consistency": 1.0, "target": "teacher"}
    with pytest.raises(ConfigError, match="Vit, has no descriptors"):
        start(recipe_of(headless), teacher=teacher_of()).train()
    with pytest.raises(ConfigError, match=r"none\.pt does not exist"):
        load_teacher(TeacherConfig(checkpoint="none.pt"), tmp_path)
    with pytest.raises(ConfigError, match="only 'end_to_end'"):
        StagePlan.from_dict({**DISTIL, "consistency": 1.0})
    tiny = {"dim": 24, "depth": 1, "heads": 2, "position_grid": 4, "prompts": 4, "patch_size": 8}
    for stage, words in ((DISTIL, "only tat-vpr can"), (TUNE, "has none")):
        recipe = recipe_of(stage, network="efficientvpr", options=tiny)
        with pytest.raises(ConfigError, match=words):
            start(recipe, teacher=teacher_of()).train()


def test_a_checkpoint_of_this_package_can_teach(start, tmp_path):
    torch.manual_seed(5)
    tiny = EfficientVPRConfig(dim=48, depth=1, heads=2, position_grid=4, prompts=4, patch_size=8)
    save_checkpoint(tmp_path / "teacher.pt", EfficientVPR(tiny))
    teacher = load_teacher(TeacherConfig(checkpoint="teacher.pt"), tmp_path)
    assert start(recipe_of(DISTIL), teacher=teacher).train()


def test_a_recipe_of_another_network_is_refused(tmp_path):
    from vpr_ros.training.train_command import train

    with pytest.raises(ConfigError, match="trains 'efficientvpr', not 'tat-vpr'"):
        train("tat-vpr", "efficientvpr-s", tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
