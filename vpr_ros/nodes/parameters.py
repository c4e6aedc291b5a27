# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Config dataclasses as ROS parameters: declared with description and range, and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.parameter import Parameter

from vpr_ros.core.config import Config, Doc
from vpr_ros.core.errors import VprError
from vpr_ros.nodes.diagnostics import describe
from vpr_ros.nodes.guarded_node import GuardedNode

C = TypeVar("C", bound=Config)
_INT_MAX = 2**31 - 1
# What is also taken for a value: `1` for `1.0` and `0.25` for `"0.25"`, as people write.
_ALSO = {float: Parameter.Type.INTEGER, str: Parameter.Type.DOUBLE}


class Configs:
    """One config of each kind, e.g. configs[GateConfig]."""

    def __init__(self, configs: Iterable[Config]) -> None:
        self._by_kind = {type(config): config for config in configs}

    def __getitem__(self, kind: type[C]) -> C:
        config = self._by_kind[kind]
        assert isinstance(config, kind)
        return config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Configs) and self._by_kind == other._by_kind

    def replaced(self, values: Mapping[str, Any]) -> Configs:
        """The configs after a change of parameters, given by full name.

        Raises ConfigError if a value is not allowed. A config without any of them stays the same
        object: what it was checked against, such as a file, may be gone by now.
        """
        changes = {
            config: {
                field: values[config.full_name(field)]
                for field, _, _ in config.fields()
                if config.full_name(field) in values
            }
            for config in self._by_kind.values()
        }
        return Configs(dataclasses.replace(c, **new) if new else c for c, new in changes.items())


class Parameters:
    """The parameters of one node; the current values are in `configs`."""

    def __init__(
        self,
        node: GuardedNode,
        kinds: Iterable[type[Config]],
        *,
        extend: Callable[[list[Parameter]], list[Parameter]] | None = None,
        check: Callable[[Configs], None] | None = None,
        apply: Callable[[Configs], None] | None = None,
        always: Collection[str] = (),
    ) -> None:
        """Declare all parameters; raises ConfigError if a start-up value is not allowed.

        `extend` returns what else is to change along with a change. `check` is given the configs
        as they would be and may raise a VprError to refuse them. `apply` is called after a change.
        Setting one of `always` is a change even to the same value: it may name another content.
        """
        self._node = node
        self._extend = extend
        self._check = check
        self._apply = apply
        self._always = always
        self._kinds: dict[str, type] = {}  # of those in _ALSO
        self.configs = Configs(
            kind(
                **{
                    field: self._declare(kind.full_name(field), default, doc)
                    for field, default, doc in kind.fields()
                }
            )
            for kind in kinds
        )
        self._warn_of_unknown()
        node.add_pre_set_parameters_callback(self._complete)
        node.add_on_set_parameters_callback(self._validate)
        node.add_post_set_parameters_callback(self._changed)

    def __getitem__(self, kind: type[C]) -> C:
        """The current config of a kind."""
        return self.configs[kind]

    def _declare(self, name: str, default: Any, doc: Doc) -> Any:
        # Of a file's name, 1.10 would lose its zero; those are read-only.
        if type(default) in _ALSO and not (doc.read_only and isinstance(default, str)):
            self._kinds[name] = type(default)
            overrides = self._node._parameter_overrides
            if name in overrides:  # rclpy would refuse to start
                overrides[name] = self._as_declared(overrides[name])
        return self._node.declare_parameter(name, default, _descriptor(default, doc)).value

    def _as_declared(self, parameter: Parameter) -> Parameter:
        kind = self._kinds.get(parameter.name)
        if kind is not None and parameter.type_ == _ALSO[kind]:
            return Parameter(parameter.name, value=kind(parameter.value))
        return parameter

    def _complete(self, changes: list[Parameter]) -> list[Parameter]:
        changes = [self._as_declared(change) for change in changes]
        return changes + (self._extend(changes) if self._extend is not None else [])

    def _validate(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            configs = self.configs.replaced({c.name: c.value for c in changes})
            if self._check is not None and self._is_change(changes, configs):
                self._check(configs)
        except VprError as error:
            return SetParametersResult(successful=False, reason=str(error))
        except Exception as error:
            self._node.problems.add(error)
            return SetParametersResult(successful=False, reason=describe(error))
        return SetParametersResult(successful=True)

    def _changed(self, changes: list[Parameter]) -> None:
        configs = self.configs.replaced({c.name: c.value for c in changes})
        if self._is_change(changes, configs):
            self.configs = configs
            if self._apply is not None:
                with self._node.problems.caught():  # the parameter is set, whatever comes of it
                    self._apply(configs)

    def _is_change(self, changes: list[Parameter], configs: Configs) -> bool:
        return configs != self.configs or any(c.name in self._always for c in changes)

    def _warn_of_unknown(self) -> None:
        for name in sorted(self._node._parameter_overrides):
            if not self._node.has_parameter(name) and not name.startswith("qos_overrides."):
                self._node.get_logger().warning(
                    f"Parameter '{name}' does not exist and is ignored; check its spelling."
                )


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
