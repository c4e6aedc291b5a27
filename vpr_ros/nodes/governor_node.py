# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Node `governor`: the battery sets the encoder's sparsity, until a person does."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from rcl_interfaces.msg import ParameterEvent
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import qos_profile_parameter_events, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.task import Future
from sensor_msgs.msg import BatteryState

from vpr_ros.core.battery import UNMEASURED, BatteryConfig, BatteryPolicy
from vpr_ros.core.config import Config, param
from vpr_ros.nodes import conversions
from vpr_ros.nodes.diagnostics import OK, WARN, Complaints, Diagnostics, Report, memory_mb
from vpr_ros.nodes.parameters import Parameters
from vpr_ros.nodes.run import run

SYNCHRONISE_S = 2.0


@dataclasses.dataclass(frozen=True)
class GovernorConfig(Config):
    """Who sets the sparsity."""

    mode: str = param(
        "auto",
        "auto: the battery sets the sparsity; manual: it stays as a person set it; becomes "
        "manual by itself when a person sets the encoder's sparsity",
        choices=("auto", "manual"),
    )
    encoder: str = param("encoder", "name of the encoder node", read_only=True)


class GovernorNode(Node):
    """Follows `battery_state` and steers one encoder by its parameter."""

    PARAMETERS: ClassVar[dict[str, type[Config]]] = {"": GovernorConfig, "battery": BatteryConfig}

    def __init__(self) -> None:
        """Declare and listen."""
        super().__init__("governor")
        self._complaints = Complaints(self)
        self._config = Parameters(self, self.PARAMETERS, apply=self._apply)
        self._policy = BatteryPolicy(self._config["battery"])
        self._encoder = self.resolve_service_name(self._config[""].encoder)
        self._client = AsyncParameterClient(self, self._encoder)
        self._sent: float | None = None  # asked for, its parameter event not seen yet
        self._odd: float | None = None  # a value of the encoder that no event has explained
        self._current = math.nan  # the encoder's sparsity, as far as is known
        self._maximum: float | None = None  # of the encoder's model
        self.create_subscription(
            BatteryState,
            "battery_state",
            self._on_battery,
            qos_profile_sensor_data,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self.create_subscription(
            ParameterEvent,
            "/parameter_events",
            self._on_parameter_event,
            qos_profile_parameter_events,
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(SYNCHRONISE_S, self._synchronise, clock=steady)
        Diagnostics(self, self._report)

    def _apply(self, groups: dict[str, Config]) -> None:
        battery = groups["battery"]
        assert isinstance(battery, BatteryConfig)
        self._policy.config = battery
        self._steer()

    def _on_battery(self, message: BatteryState) -> None:
        now_s = self.get_clock().now().nanoseconds * 1e-9
        self._policy.update(conversions.to_reading(message, now_s))
        self._steer()

    def _steer(self) -> None:
        """Set the encoder's sparsity if it is not what the battery asks for."""
        wanted = self._policy.decision.sparsity
        if self._config[""].mode == "manual" or wanted is None or self._sent is not None:
            return
        if not self._client.services_are_ready():
            return
        if self._maximum is None:
            self._ask_for_dial()
            return
        wanted = min(wanted, self._maximum)
        if wanted != self._current:
            self._sent = wanted
            parameter = Parameter("sparsity", Parameter.Type.DOUBLE, wanted)
            self._client.set_parameters([parameter]).add_done_callback(self._on_answer)

    def _ask_for_dial(self) -> None:
        """Learn how far the encoder's model can go, and where its own levels are."""

        def learn(future: Future) -> None:
            descriptors = future.result().descriptors
            ranges = [r for d in descriptors for r in d.floating_point_range]
            self._maximum = ranges[0].to_value if ranges else 0.0
            levels = [conversions.to_levels(d.additional_constraints) for d in descriptors]
            self._policy.levels = next(filter(None, levels), UNMEASURED)
            self._steer()

        self._client.describe_parameters(["sparsity"]).add_done_callback(learn)

    def _on_answer(self, future: Future) -> None:
        for result in future.result().results:
            if not result.successful:
                self._sent = None
                self._maximum = None  # the model may have changed
                self._complaints.add(f"{self._encoder} refused the sparsity: {result.reason}")

    def _synchronise(self) -> None:
        """Notice an encoder that was restarted: its first events may precede discovery."""
        self._steer()
        if self._client.services_are_ready():
            self._client.get_parameters(["sparsity"]).add_done_callback(self._on_value)

    def _on_value(self, future: Future) -> None:
        (value,) = (v.double_value for v in future.result().values)
        if value == self._sent:
            self._current, self._sent = value, None
        if value == self._current:
            self._odd = None
        elif value != self._odd:
            self._odd = value  # an event that says who did it may still be on its way
        else:
            self._current, self._maximum, self._sent, self._odd = value, None, None, None
            self._steer()

    def _on_parameter_event(self, event: ParameterEvent) -> None:
        """Tell one's own changes of the encoder from a person's."""
        if event.node != self._encoder:
            return
        if any(p.name == "sparsity" for p in event.new_parameters):
            # The encoder has (re)started with its own value; that is nobody's wish.
            self._current, self._maximum, self._sent = math.nan, None, None
            self._steer()
        changed = {p.name: p.value for p in event.changed_parameters}
        if "model" in changed:
            self._maximum = None
        if "sparsity" in changed:
            self._on_sparsity(changed["sparsity"].double_value)

    def _on_sparsity(self, value: float) -> None:
        self._current = value
        if value == self._sent:
            self._sent = None
            self._steer()  # the battery may have moved on meanwhile
        elif self._config[""].mode == "auto":
            self.get_logger().info(
                f"Sparsity was set to {value:g} by hand; leaving it alone until mode is auto"
            )
            self._sent = None
            self.set_parameters([Parameter("mode", Parameter.Type.STRING, "manual")])

    def _report(self) -> Report:
        mode, decision = self._config[""].mode, self._policy.decision
        level, summary = OK, f"{mode}: sparsity {self._current:g}, {decision.reason}"
        if decision.sparsity is None and mode == "auto":
            level, summary = WARN, decision.reason
        if not self._client.services_are_ready():
            level, summary = WARN, f"no encoder answers as {self._encoder}"
        charge = math.nan if decision.charge is None else decision.charge
        return (
            level,
            summary,
            {
                "mode": mode,
                "sparsity": self._current,
                "charge": charge,
                "reason": decision.reason,
                "memory_mb": memory_mb(),
                "problems": self._complaints.count,
                "last_problem": self._complaints.last,
            },
        )


def main() -> None:
    """Run the node."""
    run(GovernorNode)
