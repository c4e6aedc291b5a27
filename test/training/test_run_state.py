# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes share the batches of an epoch, and resume at the right one."""

import pytest
from accelerate.data_loader import BatchSamplerShard

from vpr_ros.core.errors import ModelError
from vpr_ros.training.places import PlaceSet
from vpr_ros.training.run_state import RunState, next_epoch
from vpr_ros.training.sampler import PlaceSampler, SamplerConfig


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


def test_a_broken_state_is_refused(tmp_path):
    RunState(stage=1, step=7).save(tmp_path / "state.pt")
    assert RunState.load(tmp_path / "state.pt").step == 7
    (tmp_path / "state.pt").write_bytes(b"half")
    with pytest.raises(ModelError, match="Remove it to start anew"):
        RunState.load(tmp_path / "state.pt")
    assert RunState.load(tmp_path / "none.pt") == RunState()
