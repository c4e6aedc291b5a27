# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The contract of a model: its inputs and outputs, stored in the metadata of its ONNX file.

Everything that the robot and the evaluation need to run a model is in this one file. The keys are
`vpr.<field>`, the values JSON.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

from vpr_ros.core.calibration import Calibration, interpolated
from vpr_ros.core.errors import ModelError

PREFIX = "vpr."
OPTIONAL = {"levels", "change", "trainable"}  # added after the first models
MOST = {"input_height": 8192, "input_width": 8192, "descriptor_size": 65536}
# In calibrations of older files; not read.
RETIRED = ("confidence_slope", "confidence_offset", "margin_threshold")


@dataclasses.dataclass(frozen=True)
class Contract:
    """What a model is, and its inputs and outputs.

    Inputs of the graph: `image` (N, 3, input_height, input_width) float32, RGB scaled to [0, 1],
    minus `mean`, divided by `std`; if `sparsity_max` > 0 also `sparsity`, a float32 scalar.
    Output: `descriptor` (N, descriptor_size) float32 of unit length.
    """

    name: str
    version: str
    input_height: int  # px
    input_width: int  # px
    mean: tuple[float, float, float]  # RGB, of [0, 1]
    std: tuple[float, float, float]
    descriptor_size: int
    sparsity_max: float  # 0: the model has only one sparsity
    dial: str  # what sparsity lowers: "none", "activations" or "resolution"
    tile: str  # tokens that share one selection, e.g. "4x4"; "" without one
    calibration: tuple[Calibration, ...]  # by rising sparsity; () if not calibrated
    training_data: str
    licence: str
    levels: tuple[float, ...] = ()  # sparsity at medium and at low battery; () if not measured
    change: float = 0.0  # cosine distance at which two frames are two views; 0: not measured
    trainable: int = 0  # parameters that its last stage of training fitted; 0: not known
    format: int = 1

    def __post_init__(self) -> None:
        if self.format != 1:
            raise ModelError(
                f"Model contract has format {self.format}; this version of vpr_ros reads 1. "
                "Update vpr_ros or export the model again."
            )
        for field, most in MOST.items():
            if not 0 < getattr(self, field) <= most:
                raise ModelError(
                    f"Model contract has {field} {getattr(self, field):.6g}; it must lie in "
                    f"[1, {most}]."
                )
        if not all(map(math.isfinite, self.mean)):
            raise ModelError(f"Model contract has mean {self.mean}; export again.")
        if not all(0 < value < math.inf for value in self.std):
            raise ModelError(f"Model contract has std {self.std}; export again.")
        if not 0.0 <= self.sparsity_max < 1.0:
            raise ModelError(
                f"Model contract has sparsity_max {self.sparsity_max}; it must lie in [0, 1)."
            )
        if not 0.0 <= self.change <= 2.0:
            raise ModelError(f"Model contract has change {self.change}; it must lie in [0, 2].")
        for point in self.calibration:  # NaN: not measured
            if abs(point.score_threshold) > 1.0:
                raise ModelError(f"Model contract has {point}; cosines lie in [-1, 1].")
        steps = itertools.pairwise((0.0, *self.levels, self.sparsity_max))
        if len(self.levels) not in (0, 2) or not all(low <= high for low, high in steps):
            raise ModelError(
                f"Model contract has levels {list(self.levels)}; give none, or two rising values "
                f"from 0 to {self.sparsity_max:g}."
            )

    def calibration_at(self, sparsity: float) -> Calibration:
        """The thresholds at a sparsity; NaN if the model is not calibrated."""
        return interpolated(self.calibration, sparsity)

    def to_metadata(self) -> dict[str, str]:
        """The contract as ONNX metadata properties."""
        values = dataclasses.asdict(self)
        values["calibration"] = [
            {k: (None if math.isnan(v) else v) for k, v in point.items()}
            for point in values["calibration"]
        ]
        return {PREFIX + key: json.dumps(value) for key, value in values.items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: str) -> Contract:
        """The contract in the metadata of file `source`; raises ModelError if it is invalid."""
        found = {k[len(PREFIX) :]: v for k, v in metadata.items() if k.startswith(PREFIX)}
        known = {f.name for f in dataclasses.fields(cls)}
        if not found:
            raise ModelError(
                f"{source} has no vpr_ros contract in its metadata. "
                "Export it with vpr_ros.export, which writes one."
            )
        for problem, keys in (
            ("lacks", known - set(found) - OPTIONAL),
            ("has unknown", set(found) - known),
        ):
            if keys:
                raise ModelError(
                    f"{source}: the contract {problem} {', '.join(sorted(keys))}. "
                    "Export the model again with this version of vpr_ros."
                )
        try:
            values = {key: json.loads(text) for key, text in found.items()}
            return cls(**{key: _typed(key, value) for key, value in values.items()})
        except ModelError as error:
            raise ModelError(f"{source}: {error}") from None
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise ModelError(
                f"{source}: unreadable contract ({error}). Export it again."
            ) from None


_INTEGERS = ("input_height", "input_width", "descriptor_size", "trainable", "format")


def _typed(key: str, value: Any) -> Any:
    if key in ("mean", "std"):
        red, green, blue = (float(v) for v in value)
        return red, green, blue
    if key == "calibration":
        return tuple(
            Calibration(
                **{
                    k: math.nan if v is None else float(v)
                    for k, v in point.items()
                    if k not in RETIRED
                }
            )
            for point in value
        )
    if key == "levels":
        return tuple(float(v) for v in value)
    kind = {"sparsity_max": float, "change": float, **dict.fromkeys(_INTEGERS, int)}.get(key, str)
    if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool):
        raise TypeError(f"{key} is {value!r}, not a {kind.__name__}")
    return value
