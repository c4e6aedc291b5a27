# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A made-up robot: it starts the real nodes as processes and talks to them over DDS."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from sensor_msgs.msg import CompressedImage

from demo.processes import end_with_parent
from tools.dds_domain import PROFILE, free_domain, send_raw_images
from vpr_msgs.srv import FindPlace


def read_errors(process):
    """What a node has written to its error output."""
    process.errors.seek(0)
    return process.errors.read().decode()


def end_of(name, process, patience_s=40):
    """The exit status of a process that was told to end; one that does not tells where it is."""
    try:
        return process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # PYTHONFAULTHANDLER
        process.wait()
        raise AssertionError(f"{name} did not end: {read_errors(process)}") from None


@contextmanager
def nodes_here(*parameters):
    """ROS for nodes of this process; parameters as NAME:=VALUE."""
    domain, _holder = free_domain()
    given = [word for parameter in parameters for word in ("-p", parameter)]
    rclpy.init(args=["--ros-args", *given], domain_id=domain)
    try:
        yield
    finally:
        rclpy.shutdown()


class Robot:
    """Publishers, subscriptions and node processes of one test."""

    def __init__(self):
        self.domain, self.holder = free_domain()
        send_raw_images()
        self.context = Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = rclpy.create_node("robot", namespace="vpr", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.processes = {}
        self.data = tempfile.TemporaryDirectory()  # where maps are kept unless a test says where
        self.heard = defaultdict(list)
        self.status = {}
        self.logs = []
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self.node.create_subscription(Log, "/rosout", self._on_log, 1000)

    def start(self, name, params_file=None, **parameters):
        """Start a node as a process; parameters as dotted names with __ for the dot."""
        arguments = []
        for key, value in parameters.items():
            arguments += ["-p", f"{key.replace('__', '.')}:={value}"]
        if params_file is not None:
            arguments += ["--params-file", str(params_file)]
        self.begin(name, [], *arguments)
        self.wait(lambda: name in self.status, f"/vpr/{name} to report", 60)
        return self.processes[name]

    def start_together(self, settings, *ros_arguments):
        """Start nodes in one process; their parameters by name, as `start` takes them."""
        own = {
            f"/**/{name}": {"ros__parameters": {k.replace("__", "."): v for k, v in given.items()}}
            for name, given in settings.items()
        }
        file = Path(self.data.name) / "own.yaml"  # as the launch file writes it
        file.write_text(json.dumps(own))
        process = self.begin("nodes", settings, "--params-file", str(file), *ros_arguments)
        self.wait(lambda: set(self.status) >= set(settings), "all nodes to report", 60)
        return process

    def begin(self, name, words, *ros_arguments):
        """Start the process of an entry point, and do not wait for it."""
        arguments = [*words, "--ros-args", "-r", "__ns:=/vpr", *ros_arguments]
        # A node that outlived this process would answer whoever has its domain next.
        code = f"{end_with_parent()}; from vpr_ros.nodes.start import {name}; {name}()"
        environment = dict(
            os.environ,
            ROS_DOMAIN_ID=str(self.domain),
            XDG_DATA_HOME=self.data.name,
            PYTHONFAULTHANDLER="1",
        )
        # Only the sender of images, this process, needs a large shared memory segment.
        environment.pop(PROFILE, None)
        # A file, since a pipe that nobody reads would fill and block the node.
        errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=environment,
            stderr=errors,
        )
        self.processes[name].errors = errors
        for reporter in words or [name]:
            self.status.pop(reporter, None)
        return self.processes[name]

    def kill(self, name):
        """kill -9."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def end(self, name, number=signal.SIGINT):
        """Stop a process with a signal; its exit status."""
        process = self.processes.pop(name)
        process.send_signal(number)
        return end_of(name, process)

    def stop(self):
        """End every process as Ctrl-C does; each must exit cleanly."""
        for process in self.processes.values():
            process.send_signal(signal.SIGINT)
        codes = {name: end_of(name, process) for name, process in self.processes.items()}
        self.data.cleanup()
        # A participant that ends while others leave may hang: see exit_after.
        quiet = time.monotonic() + 0.5  # those that were killed are not seen to leave
        while len(self.node.get_node_names()) > 1 and time.monotonic() < quiet:
            self.spin(0.03)
        self.spin(0.03)
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)
        self.holder.close()
        return codes

    def publisher(self, kind, topic, qos=10):
        """A publisher that has been matched by a subscriber."""
        publisher = self.node.create_publisher(kind, topic, qos)
        self.wait(lambda: publisher.get_subscription_count() > 0, f"a subscriber of {topic}")
        self._be_known_to(self.node.get_subscriptions_info_by_topic(publisher.topic_name))
        return publisher

    def listen(self, kind, topic, qos=100):
        """Collect messages of a topic in the returned list."""
        messages = self.heard[topic]
        subscription = self.node.create_subscription(kind, topic, messages.append, qos)
        self.wait(
            lambda: self.node.count_publishers(subscription.topic_name) > 0,
            f"a publisher of {topic}",
        )
        self._be_known_to(self.node.get_publishers_info_by_topic(subscription.topic_name))
        return messages

    def _be_known_to(self, endpoints):
        """Until the nodes of these endpoints have met what was created here.

        They hear of all in the order of its creation, and this client comes last.
        """
        for name in {endpoint.node_name for endpoint in endpoints} & self.status.keys():
            self.call(GetParameters, f"{name}/get_parameters")

    def wait_for_database(self):
        """Until the encoder's keyframes reach the database, too: they are sent once, not kept.

        A question with an image goes to the encoder and back to where the keyframes will go, too.
        """
        bad = CompressedImage(format="jpeg", data=b"no image")

        def answered():
            answer = self.call(FindPlace, "find_place", compressed_image=bad)
            return answer.message.startswith("Compressed image")

        self.wait(answered, "the encoder's answer")

    def call(self, kind, name, **fields):
        """Call a service and return its response."""
        client = self.node.create_client(kind, name)
        self.wait(client.service_is_ready, f"service {name}")
        answer = self.result(client.call_async(kind.Request(**fields)))
        self.node.destroy_client(client)
        return answer

    def set(self, node, name, value):
        """Set a parameter as `ros2 param set` does; returns the SetParametersResult."""
        (result,) = self.result(
            self._parameters(node).set_parameters([Parameter(name, value=value)])
        ).results
        return result

    def get(self, node, name):
        """Value of a parameter."""
        (value,) = self.result(self._parameters(node).get_parameters([name])).values
        return rclpy.parameter.parameter_value_to_python(value)

    def result(self, future):
        """Result of a future."""
        self.wait(future.done, "an answer")
        return future.result()

    def wait(self, condition, what="a condition", timeout_s=45.0):
        """Spin until a condition holds; long, since other processes may share the machine."""
        end = time.monotonic() + timeout_s
        while not condition():
            self.executor.spin_once(timeout_sec=0.02)
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise AssertionError(f"{name} died: {read_errors(process)[-3000:]}")
            if time.monotonic() > end:
                raise AssertionError(f"waited {timeout_s:g} s for {what}; reports: {self.status}")

    def told(self, words):
        """The lines of the log with these words, once there is one."""
        self.wait(lambda: any(words in line for line in self.logs), words)
        return [line for line in self.logs if words in line]

    def spin(self, seconds):
        """Let time pass."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.01)

    def stamp(self):
        """Now, as a message's time."""
        return self.node.get_clock().now().to_msg()

    def _parameters(self, node):
        client = AsyncParameterClient(self.node, node)
        self.wait(client.services_are_ready, f"parameters of {node}")
        return client

    def _on_diagnostics(self, message):
        for status in message.status:
            name = status.name.split(":")[0].rpartition("/")[2]
            self.status[name] = {v.key: v.value for v in status.values} | {
                "level": status.level,
                "message": status.message,
            }

    def _on_log(self, message):
        self.logs.append(f"{message.name}: {message.msg}")
