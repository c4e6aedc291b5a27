# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Batches: full, by weight, repeatable from any step, and never two places that may be one."""

import itertools

import numpy as np
import pytest

from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.image_set import DatasetError
from vpr_ros.training.places import PlaceSet, overlaps_where
from vpr_ros.training.sampler import PlaceSampler, SamplerConfig

FRAMES = np.arange(60)


@pytest.fixture
def walk():
    """A walk of 60 places in which 3 neighbours to each side overlap; four colours repeat."""
    overlaps = overlaps_where(60, lambda i: np.abs(FRAMES - FRAMES[i]) <= 3)
    return PlaceSet("walk", [[f"{i}a", f"{i}b", f"{i}c"] for i in FRAMES], overlaps, FRAMES % 4)


@pytest.fixture
def photographs():
    return PlaceSet("photographs", [[f"p{i}"] for i in range(30)])


def make(*sets, weights=None, **options):
    values = {"places": 8, "views": 4, "batches": 10, **options}
    return PlaceSampler(sets, weights or [1.0] * len(sets), SamplerConfig(**values))


def places_of(batch, source):
    return list(dict.fromkeys(item.place for item in batch if item.source == source))


def test_a_batch_is_p_times_k_with_one_label_a_place(walk, photographs):
    sampler = make(walk, photographs)
    for batch in sampler:
        assert len(batch) == 8 * 4
        labels = [item.label for item in batch]
        assert all(len(set(labels[i : i + 4])) == 1 for i in range(0, 32, 4))
        assert len(set(labels)) == 8
        for item in batch:
            assert item.label == item.place + (60 if item.source else 0)


@pytest.mark.parametrize("hard_share", [0.0, 0.5, 1.0])
def test_overlapping_places_never_meet(walk, photographs, hard_share):
    sampler = make(walk, photographs, hard_share=hard_share, batches=300)
    for batch in sampler:
        for a, b in itertools.combinations(places_of(batch, 0), 2):
            assert abs(a - b) > 3


def test_every_view_is_used_before_one_repeats(walk, photographs):
    for item, *others in (b[i : i + 4] for b in make(walk, photographs) for i in (0, 28)):
        views = sorted(other.view for other in (item, *others))
        assert set(views) == (set(range(3)) if item.source == 0 else {0})


def test_weights_set_the_shares_and_all_places_are_dealt(walk, photographs):
    sampler = make(walk, photographs, weights=[3.0, 1.0], hard_share=0.0, batches=200)
    counts = np.zeros(2)
    seen = set()
    for batch in sampler:
        counts += [len(places_of(batch, 0)), len(places_of(batch, 1))]
        seen |= {item.label for item in batch}
    assert counts.sum() == 1600
    assert abs(counts[0] / 1600 - 0.75) < 0.01
    assert seen == set(range(90))


def test_a_weight_below_one_place_a_batch_still_counts(walk, photographs):
    sampler = make(walk, photographs, weights=[39.0, 1.0], batches=100)
    drawn = sum(len(places_of(batch, 1)) for batch in sampler)
    assert drawn == pytest.approx(100 * 8 / 40, abs=2)


def test_hard_batches_hold_places_that_look_alike(walk):
    def alike(share):
        sampler = make(walk, hard_share=share, batches=100)
        sizes = [np.bincount(np.array(places_of(b, 0)) % 4).max() for b in sampler]
        return np.mean(sizes)

    assert alike(0.75) >= 6  # of 8
    assert alike(0.0) < 5


def test_any_step_can_be_resumed(walk, photographs):
    whole = make(walk, photographs, batches=5)
    epochs = [list(whole), list(whole)]
    assert whole.step == 10
    resumed = make(walk, photographs, batches=5)
    resumed.step = 3
    assert list(resumed) == epochs[0][3:]
    assert list(resumed) == epochs[1]
    assert epochs[0] != epochs[1]
    assert list(make(walk, photographs, batches=5, seed=2)) != epochs[0]


def test_others_stand_in_for_a_set_that_has_too_few(walk):
    overlaps = overlaps_where(20, lambda i: np.ones(20, bool))  # one panorama
    panorama = PlaceSet("panorama", [["v"]] * 20, overlaps)
    for batch in make(panorama, walk):
        assert len(places_of(batch, 0)) == 1
        assert len(places_of(batch, 1)) == 7


def test_a_batch_that_cannot_be_filled_is_an_error(walk):
    with pytest.raises(DatasetError, match=r"walk \(60\) have no more that do not overlap"):
        make(walk, places=40).batch(0)


def test_bad_weights_and_names_are_errors(walk):
    with pytest.raises(ConfigError, match="above 0"):
        make(walk, weights=[0.0])
    with pytest.raises(ConfigError, match="as many weights"):
        make(walk, weights=[1.0, 2.0])
    with pytest.raises(ConfigError, match="one name"):
        make(walk, walk)
