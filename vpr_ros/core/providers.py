# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Execution providers of onnxruntime: which one is requested, and which one really runs.

onnxruntime silently falls back to the CPU if a provider does not load or takes no node.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort

from vpr_ros.core.errors import ModelError
from vpr_ros.core.images import Image

CPU = "CPUExecutionProvider"
SUFFIX = "ExecutionProvider"
GPUS = ("cuda", "rocm", "migraphx", "dml")  # short names
LONGEST = 300  # characters of a provider's message that are shown
DEVICES = ("GPU", "NPU", "CPU")  # of a plug-in provider, in order of preference
_plugins: dict[Path, str] = {}  # libraries registered in this process, and what they provide


@dataclasses.dataclass(frozen=True)
class Provider:
    """The provider that is requested to run a model."""

    name: str = CPU  # onnxruntime's
    options: tuple[tuple[str, str], ...] = ()
    plugin: bool = False  # added by a library of its own

    @property
    def is_cpu(self) -> bool:
        """Whether it is onnxruntime's own CPU provider, which needs no check."""
        return self.name == CPU


def find_provider(name: str, options: str = "") -> Provider:
    """The provider that a parameter names, with its options from rows NAME=VALUE.

    `name` is the short name of a provider of onnxruntime ("cuda"), or the library of a plug-in
    provider: its path, or the Python package that contains it. Raises ModelError if it is not
    available.
    """
    pairs = []
    for row in options.replace(";", "\n").splitlines():
        key, equals, value = row.partition("=")
        if row.strip() and not (equals and key.strip()):
            raise ModelError(
                f"provider_options has '{row.strip()}'; give NAME=VALUE, separated by ';'."
            )
        if equals:
            pairs.append((key.strip(), value.strip()))
    there = ort.get_available_providers()
    for full in there:
        if name.lower() in (full.lower(), full.removesuffix(SUFFIX).lower()):
            return Provider(full, tuple(pairs))
    library = _library(name)
    if library is None:
        short = ", ".join(one.removesuffix(SUFFIX).lower() for one in there)
        raise ModelError(
            f"Provider '{name}' is not in onnxruntime {ort.__version__}, which has {short}. "
            "Install the one that has it (onnxruntime-gpu: cuda, tensorrt; onnxruntime-openvino), "
            "or give the library or Python package of a plug-in provider."
        )
    return Provider(_register(library), tuple(pairs), plugin=True)


def unused_gpu(provider: Provider) -> str:
    """The short name of a GPU provider that could be used instead; empty if there is none."""
    there = {one.removesuffix(SUFFIX).lower() for one in ort.get_available_providers()}
    return next((gpu for gpu in GPUS if provider.is_cpu and gpu in there), "")


def _library(name: str) -> Path | None:
    """The library of a plug-in, from its path or its Python package."""
    path = Path(name)
    if path.suffix in (".so", ".dll", ".dylib") or path.parent != Path("."):
        if not path.is_file():
            raise ModelError(f"Library {name} of a plug-in provider does not exist.")
        return path.resolve()
    if not name.startswith("onnxruntime"):  # how such packages are called
        return None
    try:
        package = importlib.import_module(name.replace("-", "_"))
        return Path(package.get_library_path()).resolve()
    except (ImportError, AttributeError, OSError):
        return None


def _register(library: Path) -> str:
    """The name of the provider in a library; a library can be registered once in a process."""
    if library not in _plugins:
        before = {device.ep_name for device in ort.get_ep_devices()}
        name = f"vpr_ros.{library.name}"
        try:
            ort.register_execution_provider_library(name, str(library))
            added = {device.ep_name for device in ort.get_ep_devices()} - before
        except Exception as error:  # onnxruntime raises a dozen unrelated types here
            raise ModelError(
                f"Plug-in provider {library} cannot be loaded ({first_line(error)})."
            ) from None
        if not added:
            ort.unregister_execution_provider_library(name)
            raise ModelError(f"Plug-in provider {library} finds no device on this machine.")
        _plugins[library] = sorted(added)[0]
    return _plugins[library]


def open_session(
    path: Path, options: ort.SessionOptions, provider: Provider
) -> ort.InferenceSession:
    """A session on the provider; raises ModelError if onnxruntime left the provider out."""
    if provider.plugin:
        devices = [d for d in ort.get_ep_devices() if d.ep_name == provider.name]
        best = min(devices, key=lambda d: DEVICES.index(d.device.type.name))
        options.add_provider_for_devices([best], dict(provider.options))
        session = ort.InferenceSession(str(path), options)
    else:
        chain = [(provider.name, dict(provider.options))]
        session = ort.InferenceSession(str(path), options, providers=chain)
        session.disable_fallback()
    if provider.name not in session.get_providers():
        raise ModelError(
            f"onnxruntime left provider {provider.name} out, although it was asked for, and would "
            "run on the CPU. Its libraries are missing or of another version; set "
            "ORT_LOG_SEVERITY_LEVEL=1 to see which."
        )
    return session


class Placement:
    """Measures what share of a session each provider runs, from a profile of its first runs."""

    def __init__(self, options: ort.SessionOptions) -> None:
        """Must be created before the session."""
        self._folder = tempfile.TemporaryDirectory(prefix="vpr_ros-")
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(self._folder.name, "profile"))

    def finish(self, session: ort.InferenceSession, provider: Provider) -> str:
        """End the profile; the provider's share in words, or ModelError if it ran nothing."""
        try:
            events = json.loads(Path(session.end_profiling()).read_text())
        finally:
            self._folder.cleanup()
        times: Counter[str] = Counter()
        nodes: dict[str, set[str]] = {}
        for event in events:
            name = event.get("args", {}).get("provider")
            if event.get("cat") == "Node" and name:
                times[name] += event.get("dur", 0)
                nodes.setdefault(name, set()).add(event["name"])
        if not nodes.get(provider.name):
            raise ModelError(
                f"Provider {provider.name} was loaded, but takes no node of this model: all would "
                "run on the CPU. Use provider cpu, or another precision of the model."
            )
        share = times[provider.name] / max(sum(times.values()), 1)
        count = sum(map(len, nodes.values()))
        return (
            f"{provider.name}, {share:.0%} of the time, {len(nodes[provider.name])} of {count} "
            "nodes"
        )


def textured_image() -> Image:
    """An image with structure at all scales, on which providers are compared."""
    random = np.random.default_rng(0)
    image = np.zeros((480, 640, 3))
    for size in (160, 80, 40, 20, 10, 5):
        blocks = random.uniform(-1, 1, (480 // size, 640 // size, 3))
        image += np.kron(blocks, np.ones((size, size, 1)))
    return np.clip(128 + 50 * image, 0, 255).astype(np.uint8)


def lowest_cosine(
    one: Callable[[Image, float], np.ndarray[tuple[int], np.dtype[np.float32]]],
    other: Callable[[Image, float], np.ndarray[tuple[int], np.dtype[np.float32]]],
    sparsities: set[float],
) -> float:
    """The lowest cosine between the descriptors of two encoders for the textured image."""
    image = textured_image()
    return min(float(one(image, s) @ other(image, s)) for s in sorted(sparsities))


def first_line(error: Exception) -> str:
    """The first line of an error's message, truncated if it is very long."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."
