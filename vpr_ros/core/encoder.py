# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Run an ONNX model: image in, descriptor out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from vpr_ros.core.contract import Contract
from vpr_ros.core.errors import ConfigError, DescriptorError, ModelError
from vpr_ros.core.gate import UNMEASURED
from vpr_ros.core.images import Image, preprocess
from vpr_ros.core.model_digest import model_digest
from vpr_ros.core.model_files import ModelConfig, file_identity, find_model
from vpr_ros.core.operators import (
    THREADS_SETTING,
    Operators,
    find_operators,
    release_free_memory,
    stock,
)
from vpr_ros.core.providers import (
    CPU,
    Placement,
    Provider,
    find_provider,
    first_line,
    lowest_cosine,
    open_session,
)

Vector = npt.NDArray[np.float32]


class Encoder:
    """A loaded model; encodes one image at a time."""

    def __init__(
        self,
        path: str | Path,
        threads: int = 1,
        compiled: bool = True,
        provider: Provider | None = None,
    ) -> None:
        """Load the model at `path` with `threads` compute threads.

        The compiled operators are used if they are available, unless `compiled` is false; the
        attribute `operators` says which are used and why. A `provider` other than the CPU runs the
        stock operators and is compared with the CPU; the attribute `provider` has the result.
        Raises ModelError if the file is missing or not an ONNX model, if its contract is missing
        or does not match the graph, or if the provider does not run it or gives other descriptors.
        """
        self.path = Path(path)
        self.file = file_identity(self.path)  # as it was when it was read
        self.threads = threads
        self.provider, self._far_from_cpu = CPU, ""
        wanted = provider or Provider()
        options = _options(threads)
        placement = None if wanted.is_cpu else Placement(options)
        if placement is None:
            self._session, self.operators = _open(self.path, threads, compiled)
        else:
            self._session = _open_on(wanted, self.path, options)
            self.operators = stock(f"provider {wanted.name}").words
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.contract = Contract.from_metadata(metadata, str(self.path))
        _check_graph(self._session, self.contract, str(self.path))
        self._try_out()
        if placement is not None:
            self._compare(placement, wanted)
        self.digest = model_digest(self.path, self.contract)
        release_free_memory()

    @property
    def remark(self) -> str:
        """What the user must know, and what to do about it; empty if nothing."""
        lacking = (
            f"Model '{self.contract.name}' has no thresholds, so it closes no loop. Run: "
            f"vpr adopt {self.path} {self.path} --overwrite --images YOUR_BAG"
        )
        return " ".join(
            filter(None, ("" if self.contract.calibration else lacking, self._far_from_cpu))
        )

    def encode(self, image: Image, sparsity: float = 0.0) -> Vector:
        """Unit descriptor (descriptor_size,) of a BGR image (H, W, 3) of any size.

        Raises ConfigError unless `sparsity` is in [0, contract.sparsity_max], and DescriptorError
        if the model returns values that are not finite.
        """
        return self.run(preprocess(image, self.contract), sparsity)

    def run(self, pixels: Vector, sparsity: float = 0.0) -> Vector:
        """Like `encode`, from preprocessed `pixels` (1, 3, input_height, input_width)."""
        descriptor: Vector = self._run(pixels, sparsity)[0]
        return descriptor

    def encode_all(self, images: Sequence[Image], sparsity: float = 0.0) -> Vector:
        """Like `encode`, descriptors (B, descriptor_size) of B images.

        The network runs once, unless its file takes one image at a time.
        """
        pixels = [preprocess(image, self.contract) for image in images]
        if isinstance(self._session.get_inputs()[0].shape[0], int):
            return np.stack([self.run(one, sparsity) for one in pixels])
        return self._run(np.concatenate(pixels), sparsity)

    def _run(self, pixels: Vector, sparsity: float) -> Vector:
        self.check_sparsity(sparsity)
        feed: dict[str, npt.NDArray[np.float32]] = {"image": pixels}
        if self.contract.sparsity_max > 0:
            feed["sparsity"] = np.array(sparsity, dtype=np.float32)
        descriptors: Vector = self._session.run(["descriptor"], feed)[0]
        if not np.isfinite(descriptors).all():
            raise DescriptorError(
                f"Model '{self.contract.name}' gave a descriptor with values that are not finite. "
                "The image or the model file is damaged."
            )
        return descriptors

    def _try_out(self) -> None:
        """Run once on a grey image: only this reveals all shapes and types of the graph."""
        grey = np.full((8, 8, 3), 128, np.uint8)
        try:
            descriptor = self.encode(grey)
            fault = f"gives {descriptor.shape} of length {np.linalg.norm(descriptor):g}"
        except Exception as error:  # onnxruntime raises a dozen unrelated types here
            descriptor, fault = np.zeros(0, np.float32), str(error).strip().split("\n")[0]
        good = descriptor.shape == (self.contract.descriptor_size,)
        if not good or abs(np.linalg.norm(descriptor) - 1.0) > 0.01:
            raise ModelError(
                f"{self.path} does not give a unit descriptor of {self.contract.descriptor_size} "
                f"values as its contract promises ({fault}). Export it again."
            )

    def _compare(self, placement: Placement, provider: Provider) -> None:
        """Measure how far the provider's descriptors are from the CPU's, on which models are made.

        ModelError if the distance is that of another view; a tenth of it is told.
        """
        contract = self.contract
        in_use = {0.0, *contract.levels, contract.sparsity_max}
        cosine = lowest_cosine(self.encode, Encoder(self.path, self.threads).encode, in_use)
        self.provider = f"{placement.finish(self._session, provider)}, cosine {cosine:.4f} to CPU"
        change = contract.change or UNMEASURED
        known = f"{provider.name} gives descriptors of cosine {cosine:.4f} to the CPU's"
        hint = "give provider_options that compute in full precision, or use provider cpu"
        if not 1.0 - cosine < change:
            raise ModelError(
                f"{known}, with model '{contract.name}' those of another view (below "
                f"{1.0 - change:g}): {hint}."
            )
        if 1.0 - cosine > change / 10:
            self._far_from_cpu = (
                f"{known}; thresholds and maps made on the CPU fit less well (below "
                f"{1.0 - change / 10:g}): {hint}."
            )

    def check_sparsity(self, sparsity: float) -> None:
        """Raise ConfigError unless the model can run at this sparsity."""
        if not 0.0 <= sparsity <= self.contract.sparsity_max:
            raise ConfigError(
                f"Sparsity {sparsity:g} is out of range for model '{self.contract.name}'; "
                f"give a value in [0, {self.contract.sparsity_max:g}]."
            )


def open_encoder(config: ModelConfig) -> Encoder:
    """The encoder of a model as configured; raises ModelError as Encoder does."""
    provider = find_provider(config.provider, config.provider_options)
    return Encoder(find_model(config.model), config.threads, provider=provider)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ModelError(
            f"Model file {path} does not exist. Give the name of a shipped model or the path of "
            "an exported one."
        )


def _open_on(provider: Provider, path: Path, options: ort.SessionOptions) -> ort.InferenceSession:
    """The session on a provider other than the CPU."""
    _check_file(path)
    try:
        return open_session(path, options, provider)
    except ModelError:
        raise
    except Exception as error:  # as below
        raise ModelError(
            f"Provider {provider.name} cannot run model file {path} ({first_line(error)})."
        ) from None


def _open(path: Path, threads: int, compiled: bool) -> tuple[ort.InferenceSession, str]:
    """The session on the CPU, and a description of its operators."""
    _check_file(path)
    try:
        operators = find_operators(path) if compiled else stock("requested")
    except OSError as error:
        raise ModelError(f"Model file {path} cannot be read ({error.strerror}).") from None
    if operators.library is not None:
        try:
            return _session(path, threads, operators), operators.words
        except Exception as error:  # library and graph may not match; the stock ones may work
            operators = stock(f"the compiled ones failed: {first_line(error)}")
    try:
        return _session(path, threads, operators), operators.words
    except Exception as error:  # onnxruntime raises a dozen unrelated types here
        raise ModelError(
            f"Model file {path} cannot be loaded ({first_line(error)}). It is damaged or "
            "not an ONNX model; copy or export it again."
        ) from None


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads burn a core between frames: 184 % against 0.4 % CPU at 6 Hz.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    return options


def _session(path: Path, threads: int, operators: Operators) -> ort.InferenceSession:
    options = _options(threads)
    if operators.library is not None:
        options.log_severity_level = 4  # fatal; if the library fails, our own message says so
        options.add_session_config_entry(THREADS_SETTING, str(threads))
        options.register_custom_ops_library(str(operators.library))
    return ort.InferenceSession(str(path), options, providers=[CPU])


def _check_graph(session: ort.InferenceSession, contract: Contract, source: str) -> None:
    inputs = {i.name for i in session.get_inputs()}
    expected = {"image", "sparsity"} if contract.sparsity_max > 0 else {"image"}
    outputs = {o.name for o in session.get_outputs()}
    if inputs != expected or "descriptor" not in outputs:
        raise ModelError(
            f"{source} has inputs {sorted(inputs)} and outputs {sorted(outputs)}; its contract "
            f"promises {sorted(expected)} and ['descriptor']. Export it again."
        )
