# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What of a student's head is fitted in closed form, and stays as it was fitted."""

from unittest import mock

import pytest
import torch
from students import ALIKE, TUNE, changed, column, cut_off, recipe_of, teacher_of, weights
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.checkpoint import load_checkpoint
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.heads.pooling import PartialWhitening
from vpr_ros.training import fitted_head
from vpr_ros.training.fitted_head import fit_whitening, with_fitted_head
from vpr_ros.training.loader import view_batches
from vpr_ros.training.loop import LAST
from vpr_ros.training.stages.end_to_end import EndToEnd


def test_a_head_fitted_to_the_teacher_is_the_students_and_its_goal(start):
    stage = {**TUNE, "fit": 1, "epochs": 1, "consistency": 1.0, "target": "teacher"}
    teacher = teacher_of()
    run = start(recipe_of(stage, options=ALIKE), teacher=teacher)
    taught, head = weights(teacher), weights(run.network.head)
    assert run.train()
    assert changed(run.network.head, head)
    assert column(run, "cosine").shape == (4,)
    assert not changed(teacher, taught)


def test_a_later_stage_keeps_the_head_that_was_trained(start):
    stage = {**TUNE, "fit": 1, "epochs": 1, "consistency": 1.0, "target": "teacher"}
    frozen = {**stage, "rate_heads": 0.0, "rate_blocks": 0.0, "weight_decay": 0.0}
    one = start(recipe_of(stage, options=ALIKE), "one", teacher_of())
    two = start(recipe_of(stage, frozen, options=ALIKE), "two", teacher_of())
    assert one.train() and two.train()
    assert not changed(two.network, weights(one.network))


def test_a_head_fitted_in_two_stages_is_one(start):
    stage = {**TUNE, "fit": 1, "consistency": 1.0, "target": "teacher"}
    run = start(recipe_of(stage, options=ALIKE), teacher=teacher_of())
    heads = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        setting = with_fitted_head(run._setting, run._recipe.stages[0], seed == 1)
        heads.append(setting.teacher.module.head)
    assert not changed(heads[0], weights(heads[1]))


@pytest.mark.parametrize(
    "options", [{"head": "gem"}, {"dim": 48}, {"dim": 48, "depth": 4}], ids=str
)
def test_only_a_head_like_the_teachers_is_shared(start, options):
    stage = {**TUNE, "fit": 1, "consistency": 1.0, "target": "teacher"}
    run = start(recipe_of(stage, options=ALIKE | options), teacher=teacher_of())
    with pytest.raises(ConfigError, match="Give the student that head and width"):
        run.train()


@pytest.mark.parametrize("target", ["dense", "teacher"])
def test_a_run_that_goes_on_does_not_fit_its_head_again(start, target):
    stage = {**TUNE, "fit": 1, "consistency": 1.0, "target": target}
    recipe = recipe_of(stage, options=ALIKE)
    cut_off(lambda folder: start(recipe, folder, teacher_of()))


def test_only_a_transformer_gets_a_fitted_head(start):
    stage = {**TUNE, "fit": 1, "consistency": 1.0, "target": "teacher"}
    efficient = EfficientVPR(EfficientVPRConfig(dim=64, depth=2, heads=1, prompts=2))
    run = start(recipe_of(stage, options=ALIKE), teacher=efficient)
    with pytest.raises(ConfigError, match="not to EfficientVPR"):
        run.train()


def places(directions, count=300, views=6, size=12):
    """Descriptors (count * views, size), which differ within a place along `directions` most."""
    random = torch.Generator().manual_seed(1)
    labels = torch.arange(count).repeat_interleave(views)
    within = torch.randn(count * views, size, generator=random)
    within[:, directions] *= torch.tensor([9.0, 5.0, 3.0])
    return 20 * torch.randn(count, size, generator=random)[labels] + within, labels


def test_whitening_turns_down_what_differs_within_a_place_and_nothing_else():
    values, labels = places([2, 5, 7])
    layer = PartialWhitening(12, 3)
    fit_whitening(layer, values, labels, 0.0)
    whole = torch.eye(12) - layer.up.weight @ layer.down.weight
    whitened = (values @ whole.T).reshape(300, 6, 12)
    spread = (whitened - whitened.mean(1, keepdim=True)).flatten(0, 1).std(0)
    assert torch.allclose(spread, spread.mean().expand(12), rtol=0.1)
    gains = whole.diagonal()
    assert torch.allclose(gains[[2, 5, 7]], torch.tensor([1 / 9, 1 / 5, 1 / 3]), rtol=0.1)
    rest = [i for i in range(12) if i not in (2, 5, 7)]
    assert torch.allclose(gains[rest], torch.ones(9), atol=0.02)


def test_whitening_changes_nothing_before_it_is_fitted():
    rows = F.normalize(torch.randn(3, 12), dim=1)
    assert torch.allclose(PartialWhitening(12, 4)(rows), rows, atol=1e-6)


def test_whitening_in_more_directions_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="12 directions of a descriptor of 12 values"):
        PartialWhitening(12, 12)


WHITENED = ALIKE | {"head": "queries-whitened"}
WHITEN = {**TUNE, "fit": 1, "whiten": 2, "consistency": 1.0, "target": "teacher"}


def test_the_whitening_is_fitted_after_the_last_step_and_not_trained(start):
    run = start(recipe_of(WHITEN, options=WHITENED), teacher=teacher_of())
    before, seen = weights(run.network.head.whitening), []
    learn = EndToEnd.learn

    def watched(stage, *rest):
        seen.append(changed(run.network.head.whitening, before))
        return learn(stage, *rest)

    with mock.patch.object(EndToEnd, "learn", watched):
        assert run.train()
    assert len(seen) > 4 and not any(seen)
    assert changed(run.network.head.whitening, before) == {"down.weight", "up.weight"}
    kept, _ = load_checkpoint(run.log.parent / LAST)
    assert not changed(run.network.head, weights(kept.head))


def test_a_run_that_goes_on_has_the_same_whitening(start):
    recipe = recipe_of({**TUNE, "epochs": 1}, {**WHITEN, "epochs": 1}, options=WHITENED)
    cut_off(lambda folder: start(recipe, folder, teacher_of()), 6, atol=1e-4)


def test_the_whitening_is_fitted_to_views_of_places_at_both_ends_of_the_dial(start):
    run = start(recipe_of(WHITEN, options=WHITENED), teacher=teacher_of())
    with mock.patch.object(fitted_head, "fit_whitening") as fit:
        assert run.train()
    _, descriptors, labels = fit.call_args.args
    assert descriptors.shape == (2 * 2 * 24, run.network.descriptor_size)  # batches, ends, views
    views = view_batches(run._setting.shares, 2, run._recipe.run)
    wanted = [own for _, own in views for _ in (0.0, 0.6)]
    assert torch.equal(labels, torch.cat(wanted))
    dense, sparse = descriptors[:24], descriptors[24:48]
    assert not torch.equal(dense, sparse)
    assert (
        F.cosine_similarity(dense, sparse).mean()
        > F.cosine_similarity(dense, sparse.roll(3, 0)).mean()
    )


def test_a_head_without_that_layer_is_refused_before_anything_is_trained(start, tmp_path):
    with pytest.raises(ConfigError, match="Give head 'queries-whitened', or 'whiten' 0"):
        start(recipe_of(TUNE, {**TUNE, "whiten": 1}, options=ALIKE))
    assert not (tmp_path / "run").exists()
