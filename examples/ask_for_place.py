# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ask the running nodes where an image was taken; print the most similar keyframes of the map.

python examples/ask_for_place.py photo.jpg
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions

from vpr_msgs.srv import FindPlace

WAIT_S = 10.0


def main() -> None:
    """Send the JPEG or PNG file unchanged; the encoder node decodes it."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        sys.exit("Give an image: ask_for_place.py PHOTO.jpg")
    request = FindPlace.Request(count=5)
    request.compressed_image.data = Path(sys.argv[1]).read_bytes()
    request.compressed_image.format = Path(sys.argv[1]).suffix.lstrip(".")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends at once, with nothing to finish
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("ask_for_place")
    client = node.create_client(FindPlace, "/vpr/find_place")
    if not client.wait_for_service(WAIT_S):
        sys.exit("/vpr/find_place does not answer. Are the nodes running?")
    answer = client.call_async(request)
    rclpy.spin_until_future_complete(node, answer, timeout_sec=WAIT_S)
    found = answer.result()
    if found is None or not found.success:
        sys.exit(found.message if found else f"No answer in {WAIT_S:g} s.")
    for candidate in found.candidates:
        at = candidate.pose.position
        where = f", at x {at.x:.1f} m, y {at.y:.1f} m" if candidate.has_pose else ""
        print(f"keyframe {candidate.id}, score {candidate.score:.3f}{where}")


if __name__ == "__main__":
    main()
