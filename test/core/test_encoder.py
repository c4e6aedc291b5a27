# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A model runs as its contract says, or is refused with the reason."""

import contextlib
import dataclasses
import time

import numpy as np
import pytest

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ConfigError, DescriptorError, ModelError
from vpr_ros.core.model_files import DEFAULT_MODEL, find_model

COLOUR = np.full((9, 7, 3), (100, 150, 200), np.uint8)  # BGR


def expected(sparsity):
    """What the tiny network gives for COLOUR."""
    weights = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    rgb = np.array([200, 150, 100]) / 255 - 0.25
    value = np.sqrt(rgb) @ weights + sparsity
    return value / np.linalg.norm(value)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("threads", [1, 2])
def test_descriptor_of_an_image(make_model, sparsity, threads):
    descriptor = Encoder(make_model(), threads).encode(COLOUR, sparsity)
    assert descriptor.dtype == np.float32 and descriptor.shape == (4,)
    assert np.allclose(descriptor, expected(sparsity), atol=1e-5)


def test_a_model_without_a_dial(make_model):
    encoder = Encoder(str(make_model(sparsity_max=0.0, dial="none")))
    assert np.allclose(encoder.encode(COLOUR), expected(0), atol=1e-5)
    with pytest.raises(ConfigError, match=r"Sparsity 0.1 .*'tiny'; give a value in \[0, 0\]"):
        encoder.encode(COLOUR, 0.1)


@pytest.mark.parametrize("sparsity", [-0.1, 0.51, float("nan")])
def test_sparsity_out_of_range_is_refused(make_model, sparsity):
    with pytest.raises(ConfigError, match=r"out of range.*\[0, 0.5\]"):
        Encoder(make_model()).encode(COLOUR, sparsity)


def test_nan_never_leaves_the_encoder(make_model):
    encoder = Encoder(make_model())
    with pytest.raises(DescriptorError, match=r"'tiny' gave .* not finite"):
        encoder.encode(np.zeros_like(COLOUR))
    assert np.isfinite(encoder.encode(COLOUR)).all()  # and it lives on


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"size": 5}, r"not give a unit descriptor of 4 values as.*\(gives \(5,\)"),
        ({"unit": False}, "as its contract promises"),
        ({"height": 7}, "as its contract promises"),
        ({"metadata": {}}, "has no vpr_ros contract"),
    ],
)
def test_a_contract_that_does_not_fit_is_refused(make_model, model, message):
    path = make_model(**model)
    with pytest.raises(ModelError, match=f"{path}.*{message}"):
        Encoder(path)


def test_a_dial_that_is_not_there_is_refused(make_model, contract):
    metadata = dataclasses.replace(contract, sparsity_max=0.0).to_metadata()
    with pytest.raises(ModelError, match=r"inputs \['image', 'sparsity'\].*promises \['image'\]"):
        Encoder(make_model(metadata=metadata))


def test_an_unknown_field_is_refused(make_model, contract):
    with pytest.raises(ModelError, match="has unknown mood"):
        Encoder(make_model(metadata={**contract.to_metadata(), "vpr.mood": '"good"'}))


@pytest.mark.parametrize(
    "damage",
    [lambda b: b"", lambda b: b"no model", lambda b: bytes(1000), lambda b: b[: len(b) // 2]],
    ids=["empty", "text", "zeros", "cut"],
)
def test_a_damaged_file_is_refused(make_model, damage):
    path = make_model()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=str(path)):
        Encoder(path)


@pytest.mark.parametrize("name", ["none.onnx", ""], ids=["missing", "folder"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(ModelError, match=f"{tmp_path / name} does not exist"):
        Encoder(tmp_path / name)


def test_flipped_bytes_never_raise_anything_else(make_model):
    path = make_model()
    whole = path.read_bytes()
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 0x11
        path.write_bytes(damaged)
        with contextlib.suppress(ModelError, DescriptorError):
            assert Encoder(path).encode(COLOUR).shape == (4,)


def test_threads_do_not_spin_between_frames():
    encoder = Encoder(find_model(DEFAULT_MODEL), threads=2)
    idle_s = 0.0
    for _ in range(4):
        encoder.encode(COLOUR)
        before_s = time.process_time()
        time.sleep(0.1)
        idle_s += time.process_time() - before_s
    assert idle_s < 0.04  # spinning takes about 0.04 s after each frame


def test_a_file_that_cannot_be_read_is_refused(make_model, monkeypatch):
    with pytest.raises(ModelError, match="/proc/self/mem cannot be loaded"):
        Encoder("/proc/self/mem")  # a file by its looks

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("vpr_ros.core.encoder.find_operators", denied)  # root may read all
    with pytest.raises(ModelError, match=r"cannot be read \(Permission denied\)"):
        Encoder(make_model())
