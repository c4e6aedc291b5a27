# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which model runs: a new one is tried before it is used, and a refused one changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection

from vpr_ros.core.encoder import Encoder, open_encoder
from vpr_ros.core.model_files import ModelConfig, file_identity, find_model, is_shipped
from vpr_ros.core.model_trial import try_model


class ModelChoice:
    """The encoder in force, and the one that a change of parameters asks for."""

    def __init__(self, log: Callable[[str], object]) -> None:
        """`log` is told what a new model runs on."""
        self.is_set = True  # by the change that is being made
        self._log = log
        self._name = ""  # parameter `model` of the encoder in force
        self._encoder: Encoder | None = None
        self._candidate: Encoder | None = None

    def begin(self, names: Collection[str]) -> None:
        """A change of the parameters `names` begins."""
        self._candidate, self.is_set = None, "model" in names

    def load(self, config: ModelConfig) -> Encoder:
        """The encoder of a config: the one in force, unless the change sets `model` anew.

        The same path is loaded again if the file has changed. Raises ModelError.
        """
        if self._encoder is not None and config.model == self._name and not self.is_set:
            return self._encoder  # whatever has become of its file
        path = find_model(config.model)
        for known in (self._candidate, self._encoder):
            if known is not None and known.path == path and known.file == file_identity(path):
                return known
        if not is_shipped(path):
            try_model(path, config.threads)
        self._candidate = open_encoder(config)
        self._log(
            f"Model {path.name} runs on {self._candidate.operators}; {self._candidate.provider}"
        )
        return self._candidate

    def use(self, encoder: Encoder, name: str) -> None:
        """The encoder is in force from now on; the change is over."""
        self._encoder, self._name = encoder, name
        self._candidate, self.is_set = None, False

    def give_up(self) -> None:
        """The change is over without a model."""
        self._candidate, self.is_set = None, False
