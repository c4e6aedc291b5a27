# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters: frozen dataclasses whose fields carry default, range and description.

The same field metadata gives the check here, the ROS parameter descriptor in `nodes` and the
parameter tables in the documents, so each default is written exactly once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

from vpr_ros.core.errors import ConfigError

C = TypeVar("C", bound="Config")
LONGEST_TEXT = 10_000  # characters; loop.calibration has some hundreds


@dataclasses.dataclass(frozen=True)
class Doc:
    """The user documentation of one parameter."""

    text: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False

    @property
    def range_text(self) -> str:
        """The accepted values as text, e.g. `[0, 1]`; empty if every value is accepted."""
        if self.choices:
            return "one of " + ", ".join(filter(None, self.choices))
        if self.minimum is None and self.maximum is None:
            return ""
        low = "-inf" if self.minimum is None else f"{self.minimum:.10g}"
        high = "inf" if self.maximum is None else f"{self.maximum:.10g}"
        return f"[{low}, {high}]"


def param(
    default: Any,
    text: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    read_only: bool = False,
) -> Any:
    """A dataclass field that is also a documented, checked parameter."""
    doc = Doc(text, unit, minimum, maximum, choices, read_only)
    return dataclasses.field(default=default, metadata={"doc": doc})


def doc_of(field: dataclasses.Field[Any]) -> Doc:
    """The documentation that `param` attached to a field."""
    doc = field.metadata["doc"]
    assert isinstance(doc, Doc)
    return doc


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of all parameter groups; constructing one with a bad value raises ConfigError."""

    group: ClassVar[str] = ""  # prefix of the ROS names, e.g. "gate" for gate.distance_m

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            check_value(self.full_name(field.name), value, field.default, doc_of(field))

    @classmethod
    def full_name(cls, field: str) -> str:
        """The ROS name of a field, e.g. gate.distance_m."""
        return f"{cls.group}.{field}" if cls.group else field

    @classmethod
    def fields(cls) -> Iterator[tuple[str, Any, Doc]]:
        """(field name, default, documentation) of every parameter, in order."""
        for field in dataclasses.fields(cls):
            yield field.name, field.default, doc_of(field)

    @classmethod
    def from_dict(cls: type[C], values: dict[str, Any]) -> C:
        """Build from a mapping; an unknown key raises ConfigError."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(
                f"Unknown parameter '{cls.full_name(unknown[0])}'. Known: "
                f"{', '.join(cls.full_name(name) for name in sorted(known))}."
            )
        return cls(**values)


def check_value(name: str, value: Any, default: Any, doc: Doc) -> None:
    """Raise ConfigError unless `value` has the type of `default` and lies in the range."""
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        raise ConfigError(
            f"Parameter '{name}' is {value!r} ({type(value).__name__}); "
            f"give a value of type {type(default).__name__}."
        )
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise ConfigError(
            f"Parameter '{name}' has {len(value)} characters; give at most {LONGEST_TEXT}."
        )
    if doc.choices and value not in doc.choices:
        raise ConfigError(f"Parameter '{name}' is '{value[:60]}'; give {doc.range_text}.")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        too_low = doc.minimum is not None and value < doc.minimum
        too_high = doc.maximum is not None and value > doc.maximum
        if math.isnan(value) or too_low or too_high:
            raise ConfigError(
                f"Parameter '{name}' is {value:g}, out of range; "
                f"give a value in {doc.range_text or '(-inf, inf)'}{doc.unit and ' ' + doc.unit}."
            )
