# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A provider runs the model and gives what the CPU gives, or is refused with the reason."""

from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest

from vpr_ros.core import encoder as encoder_module
from vpr_ros.core import providers
from vpr_ros.core.encoder import Encoder, open_encoder
from vpr_ros.core.errors import ModelError
from vpr_ros.core.model_files import ModelConfig
from vpr_ros.core.providers import CPU, Provider, find_provider, textured_image


class Foreign(Provider):
    """onnxruntime's CPU provider, checked as if it were another one."""

    is_cpu = False


def test_names_are_onnxruntime_s_in_short_and_options_are_rows():
    assert find_provider("cpu") == find_provider("CPUExecutionProvider") == Provider()
    found = find_provider("CPU", " a=1; b = x=y \n")
    assert found.options == (("a", "1"), ("b", "x=y"))
    for options in ("a", "=1", "a=1;b"):
        with pytest.raises(ModelError, match="give NAME=VALUE"):
            find_provider("cpu", options)


@pytest.mark.parametrize("name", ["warp-drive", "onnxruntime-ep-warp", "", "os"])
def test_an_unknown_provider_is_refused_with_those_that_are_there(name):
    with pytest.raises(ModelError, match=rf"Provider '{name}' is not in .*, which has .*cpu"):
        find_provider(name)


def test_the_cpu_needs_no_check(make_model):
    encoder = open_encoder(ModelConfig(model=str(make_model())))
    assert encoder.provider == CPU and "has no thresholds" in encoder.remark


def test_what_runs_is_measured(make_model):
    encoder = Encoder(make_model(), provider=Foreign())
    assert encoder.provider.startswith("CPUExecutionProvider, 100% of the time, ")
    assert encoder.provider.endswith("cosine 1.0000 to CPU")
    assert "provider CPUExecutionProvider" in encoder.operators


def test_a_silent_fall_back_to_the_cpu_is_refused(make_model, monkeypatch):
    """onnxruntime says nothing where a provider's libraries do not load."""
    monkeypatch.setattr(
        ort,
        "InferenceSession",
        lambda path, options, providers: _Session(["CPUExecutionProvider"]),
    )
    with pytest.raises(ModelError, match="left provider CUDAExecutionProvider out"):
        Encoder(make_model(), provider=Provider("CUDAExecutionProvider"))


class _Session:
    def __init__(self, names):
        self._names = names

    def get_providers(self):
        return self._names

    def disable_fallback(self):
        pass


@pytest.mark.skipif(
    "AzureExecutionProvider" not in ort.get_available_providers(), reason="no such provider"
)
def test_a_provider_that_takes_no_node_is_refused(make_model):
    """Azure's is in the usual wheel, and runs no node on this machine."""
    with pytest.raises(ModelError, match="AzureExecutionProvider was loaded, but takes no node"):
        open_encoder(ModelConfig(model=str(make_model()), provider="azure"))


@pytest.mark.parametrize(
    ("cosine", "outcome"),
    [(0.9, "refused"), (float("nan"), "refused"), (0.99, "told"), (0.998, "well")],
)
def test_how_far_from_the_cpu_it_may_be_depends_on_the_model(
    make_model, monkeypatch, cosine, outcome
):
    seen = []

    def compared(one, other, sparsities):
        seen.append(sparsities)
        return cosine

    monkeypatch.setattr(encoder_module, "lowest_cosine", compared)
    path = make_model(change=0.04, levels=(0.2, 0.4))
    if outcome == "refused":
        with pytest.raises(ModelError, match="those of another view"):
            Encoder(path, provider=Foreign())
    else:
        encoder = Encoder(path, provider=Foreign())
        assert ("fit less well" in encoder.remark) == (outcome == "told")
        assert f"cosine {cosine:.4f}" in encoder.provider
    assert seen == [{0.0, 0.2, 0.4, 0.5}]


def test_the_image_of_the_comparison_has_texture():
    image = textured_image()
    assert image.shape == (480, 640, 3) and image.dtype == np.uint8
    assert image.std() > 40 and np.array_equal(image, textured_image())


def test_a_plug_in_is_registered_once_and_runs_on_its_best_device(tmp_path, monkeypatch):
    library = tmp_path / "libwarp.so"
    with pytest.raises(ModelError, match=r"libwarp.so of a plug-in provider does not exist"):
        find_provider(str(library))
    library.touch()
    with pytest.raises(ModelError, match="cannot be loaded"):  # by onnxruntime itself
        find_provider(str(library))
    devices = [_device(CPU, "CPU")]
    calls = []

    def register(name, path):
        calls.append(path)
        devices.extend(_device("Warp", kind) for kind in kinds)

    monkeypatch.setattr(ort, "get_ep_devices", lambda: list(devices))
    monkeypatch.setattr(ort, "register_execution_provider_library", register)
    monkeypatch.setattr(ort, "unregister_execution_provider_library", calls.append)
    monkeypatch.setattr(providers, "_plugins", {})
    kinds = ()
    with pytest.raises(ModelError, match="finds no device on this machine"):
        find_provider(str(library))
    assert calls == [str(library), "vpr_ros.libwarp.so"]
    kinds = ("CPU", "GPU")
    found = [find_provider(str(library), "speed=9") for _ in range(2)]
    assert found[0] == found[1] == Provider("Warp", (("speed", "9"),), plugin=True)
    assert len(calls) == 3

    added = []
    options = SimpleNamespace(add_provider_for_devices=lambda *given: added.append(given))
    monkeypatch.setattr(ort, "InferenceSession", lambda path, given: _Session(["Warp", CPU]))
    providers.open_session(tmp_path, options, found[0])
    (((device,), given),) = added
    assert (device.device.type.name, given) == ("GPU", {"speed": "9"})


def _device(name, kind):
    return SimpleNamespace(ep_name=name, device=SimpleNamespace(type=SimpleNamespace(name=kind)))
