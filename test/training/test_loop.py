# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A run learns, can be cut off anywhere, and goes on as if it had not been."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from students import changed, column, cut_off, recipe_of, weights
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError, ModelError
from vpr_ros.evaluation.image_set import ImageSet
from vpr_ros.networks.checkpoint import load_checkpoint
from vpr_ros.networks.efficientvpr import EfficientVPRConfig
from vpr_ros.training.initial_network import make_network
from vpr_ros.training.loop import BEST, LAST, STATE, RunState, next_epoch
from vpr_ros.training.places import PlaceSet
from vpr_ros.training.recipe import RECIPES, Recipe, RunConfig
from vpr_ros.training.sampler import PlaceSampler, SamplerConfig
from vpr_ros.training.validation import Validation

TINY = {"dim": 24, "depth": 2, "heads": 2, "mlp_ratio": 2, "position_grid": 4, "prompts": 4}
RUN = RunConfig(height=28, width=42, precision="no", threads=1)
END_TO_END = {"name": "all", "epochs": 2, "batch": {"places": 4, "views": 2, "batches": 3}}
HEADS = {**END_TO_END, "name": "heads", "rate_prompts": 0.0}


def recipe(*stages, **changes):
    """Of a network so small that a step takes milliseconds."""
    values = {"network": "efficientvpr", "options": TINY, "run": RUN} | changes
    return recipe_of(*stages, **values)


@pytest.mark.parametrize("stages", [(END_TO_END,), (HEADS, END_TO_END)])
def test_run_goes_on_as_if_it_had_not_been_cut_off(start, stages):
    # After every step but a stage's last.
    whole, resumed = cut_off(lambda folder: start(recipe(*stages), folder), 5 * len(stages))
    assert column(resumed, "loss").tolist() == column(whole, "loss").tolist()


def test_worker_processes_change_nothing(start):
    alone = start(recipe(END_TO_END), "alone")
    helped = start(recipe(END_TO_END, run=dataclasses.replace(RUN, workers=2)), "helped")
    assert alone.train() and helped.train()
    assert column(helped, "loss").tolist() == column(alone, "loss").tolist()


def test_prompts_learn_end_to_end_and_only_the_named_blocks(start):
    run = start(recipe({**END_TO_END, "trained_blocks": 1}), "run")
    before = weights(run.network)
    assert run.train()
    moved = changed(run.network, before)
    assert "backbone.prompts" in moved
    assert any("blocks.1." in name for name in moved)
    assert not any("blocks.0." in name or "positions" in name for name in moved)


def test_best_checkpoint_is_one_that_export_reads(start, tmp_path, picture):
    for number in range(6):
        for kind in ("database", "queries"):
            (tmp_path / "drive" / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "drive" / kind / f"{number}.png"), picture(number))
    run = start(recipe(END_TO_END), "run")
    run._validation = Validation([{"path": "drive", "frames": 0}], tmp_path, 28, 42)
    assert run.train()
    network, notes = load_checkpoint(tmp_path / "run" / BEST)
    assert notes["validation"]["drive R@1"] == 100.0  # the very images of the database
    assert 0 < notes["trainable"] <= sum(p.numel() for p in network.parameters())
    assert network.config == EfficientVPRConfig(**TINY)
    assert (tmp_path / "run" / "curves.png").stat().st_size > 5000


def test_validation_counts_recall_at_full_precision_as_evaluation_does(tmp_path, picture):
    """Of the queries that have a right answer; R@1 of all."""
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number))
    paths = tuple(tmp_path / f"{number}.png" for number in range(3))
    right = tuple(np.array(answers, np.int64) for answers in ([0], [1], []))
    validation = Validation([], tmp_path, 28, 42)
    validation.sets = [ImageSet("three", paths[:2], paths, right, "made")]
    found = validation.measure(
        lambda images, _: F.normalize(images.flatten(1), dim=1), torch.device("cpu")
    )
    assert found["three R@1"] == pytest.approx(200 / 3)
    assert found["three R@100P"] == 100.0


def test_a_run_without_validation_leaves_its_last_network_and_curves(start, tmp_path):
    run = start(recipe(END_TO_END), "run")
    assert run.train()
    network, _ = load_checkpoint(tmp_path / "run" / LAST)
    assert not changed(network, weights(run.network))
    assert not (tmp_path / "run" / BEST).exists()
    assert (tmp_path / "run" / "curves.png").stat().st_size > 1000


def test_state_survives_a_kill_while_it_is_written(start, tmp_path, monkeypatch):
    run = start(recipe(END_TO_END), "run")
    run.train(stop_after_minutes=0)
    good = (tmp_path / "run" / STATE).read_bytes()

    def cut_off(content, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run.train(stop_after_minutes=0)
    assert (tmp_path / "run" / STATE).read_bytes() == good


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_shipped_recipes_are_whole(name):
    recipe = Recipe.read(RECIPES / f"{name}.yaml")
    network = make_network(dataclasses.replace(recipe, backbone="random", start_from=""), None)
    assert network.descriptor_size > 0
    assert name == recipe.notes["name"]


def test_bad_recipes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'depths'"):
        make_network(recipe(END_TO_END, options={"depths": 2}), tmp_path)
    with pytest.raises(ConfigError, match="rate_head"):
        recipe({**END_TO_END, "rate_head": 1.0})
    with pytest.raises(ConfigError, match="does not exist"):
        Recipe.read(tmp_path / "none.yaml")
    for entry in (5, "boxes", {"frames": 2}, {"path": "boxes", "radius": 5}):
        with pytest.raises(ConfigError, match=r"The recipe's validation has .* give 'path'"):
            Validation([entry], tmp_path, 56, 56)
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="list; it needs"):
        Recipe.read(tmp_path / "list.yaml")


def dealt(processes, epochs, cut_after=None):
    """Every process's batches, as the run deals them; cut off and resumed after so many rounds."""
    places = PlaceSet("made", [[f"{i}a", f"{i}b"] for i in range(9)])

    def shards():
        config = SamplerConfig(places=3, views=2, batches=5)
        samplers = [PlaceSampler([places], [1.0], config) for _ in range(processes)]
        return samplers, [
            BatchSamplerShard(sampler, processes, i) for i, sampler in enumerate(samplers)
        ]

    samplers, shares = shards()
    step, rounds, found = 0, 0, []
    while step < epochs * 5:
        for sampler in samplers:
            sampler.step = step
        for batches in zip(*shares, strict=True):
            found += [tuple(item.seed for item in batch) for batch in batches]
            step, rounds = step + processes, rounds + 1
            if rounds == cut_after:
                samplers, shares = shards()
                break
        else:
            step = next_epoch(step, 5)
    return found


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_batch_is_dealt_once_also_after_a_cut(processes):
    whole = dealt(processes, epochs=2)
    assert len(set(whole)) == len(whole) == 2 * (5 // processes) * processes
    for cut in range(1, 2 * (5 // processes)):
        assert dealt(processes, epochs=2, cut_after=cut) == whole


@pytest.mark.parametrize(
    "changes", [{"options": TINY | {"depth": 3}}, {"trained": 1}], ids=["network", "optimiser"]
)
def test_a_run_does_not_go_on_with_another_recipe(start, changes):
    run = start(recipe(END_TO_END), "run")
    run.train(0.0)
    other = {**END_TO_END, "trained_blocks": changes.pop("trained", 0)}
    with pytest.raises(ModelError, match=r"state\.pt does not fit the recipe"):
        start(recipe(other, **changes), "run").train()


def test_a_broken_state_is_refused(tmp_path):
    RunState(stage=1, step=7).save(tmp_path / "state.pt")
    assert RunState.load(tmp_path / "state.pt").step == 7
    (tmp_path / "state.pt").write_bytes(b"half")
    with pytest.raises(ModelError, match="Remove it to start over"):
        RunState.load(tmp_path / "state.pt")
    assert RunState.load(tmp_path / "none.pt") == RunState()
