# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Config dataclasses as ROS parameters: declared with text and range, checked, kept current."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from vpr_ros.core.config import Config, Doc
from vpr_ros.core.errors import VprError

_INT_MAX = 2**31 - 1


class Parameters:
    """The parameter groups of one node, e.g. {"gate": GateConfig} as gate.distance_m and so on.

    The group named "" has no prefix. `check` sees the new groups before a change and may raise a
    VprError to refuse it; `apply` is called after it.
    """

    def __init__(
        self,
        node: Node,
        groups: Mapping[str, type[Config]],
        check: Callable[[dict[str, Config]], None] | None = None,
        apply: Callable[[dict[str, Config]], None] | None = None,
    ) -> None:
        """Declare all; raises ConfigError if a start-up value is out of range."""
        self._node = node
        self._check = check
        self._apply = apply
        self._double: set[str] = set()
        values: dict[str, dict[str, Any]] = {}
        for group, config in groups.items():
            values[group] = {
                field: self._declare(full_name(group, field), default, doc)
                for field, default, doc in config.fields()
            }
        self.groups: dict[str, Config] = {
            group: config(**values[group]) for group, config in groups.items()
        }
        self._warn_of_unknown()
        node.add_pre_set_parameters_callback(self._as_declared)
        node.add_on_set_parameters_callback(self._validate)
        node.add_post_set_parameters_callback(self._changed)

    def __getitem__(self, group: str) -> Any:
        """The current config of a group."""
        return self.groups[group]

    def _declare(self, name: str, default: Any, doc: Doc) -> Any:
        if isinstance(default, float):
            self._double.add(name)
            self._accept_integer(name)
        return self._node.declare_parameter(name, default, _descriptor(default, doc)).value

    def _accept_integer(self, name: str) -> None:
        """Let a params file say `1` for `1.0`, as people do; rclpy would end the node."""
        given = self._node._parameter_overrides.get(name)
        if given is not None and given.type_ == Parameter.Type.INTEGER:
            self._node._parameter_overrides[name] = _to_double(given)

    def _as_declared(self, changes: list[Parameter]) -> list[Parameter]:
        return [
            _to_double(p) if p.name in self._double and p.type_ == Parameter.Type.INTEGER else p
            for p in changes
        ]

    def _validate(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            groups = self._with(changes)
            if self._check is not None and groups != self.groups:
                self._check(groups)
        except VprError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _changed(self, changes: list[Parameter]) -> None:
        groups = self._with(changes)
        if groups != self.groups:
            self.groups = groups
            if self._apply is not None:
                self._apply(groups)

    def _with(self, changes: list[Parameter]) -> dict[str, Config]:
        """The groups as they will be."""
        groups = dict(self.groups)
        for group, config in self.groups.items():
            new = {
                field: change.value
                for field, _, _ in config.fields()
                for change in changes
                if change.name == full_name(group, field)
            }
            if new:
                groups[group] = dataclasses.replace(config, **new)
        return groups

    def _warn_of_unknown(self) -> None:
        for name in sorted(self._node._parameter_overrides):
            if not self._node.has_parameter(name) and not name.startswith("qos_overrides."):
                self._node.get_logger().warning(
                    f"Parameter '{name}' was given but does not exist; look for a misspelling."
                )


def full_name(group: str, field: str) -> str:
    """The ROS name of a field, e.g. gate.distance_m."""
    return f"{group}.{field}" if group else field


def _to_double(parameter: Parameter) -> Parameter:
    return Parameter(parameter.name, Parameter.Type.DOUBLE, float(parameter.value))


def _descriptor(default: Any, doc: Doc) -> ParameterDescriptor:
    text = f"{doc.text} [{doc.unit}]" if doc.unit else doc.text
    descriptor = ParameterDescriptor(description=text, read_only=doc.read_only)
    if doc.choices:
        descriptor.additional_constraints = doc.range_text
    if doc.minimum is None and doc.maximum is None:
        return descriptor
    if isinstance(default, float):
        low = doc.minimum if doc.minimum is not None else float("-inf")
        high = doc.maximum if doc.maximum is not None else float("inf")
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif isinstance(default, int):
        low = int(doc.minimum if doc.minimum is not None else -_INT_MAX)
        high = int(doc.maximum if doc.maximum is not None else _INT_MAX)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return descriptor
