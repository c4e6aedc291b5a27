# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Find loops in a folder of images, sorted by the numbers in their names, without ROS.

python examples/loops_in_folder.py frames/
"""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ImageError
from vpr_ros.core.feature_extractor import FeatureConfig, FeatureExtractor
from vpr_ros.core.frontend import Frame, Frontend
from vpr_ros.core.gate import GateConfig, KeyframeGate
from vpr_ros.core.image_files import read_image
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopDetector
from vpr_ros.core.model_files import DEFAULT_MODEL, find_model

SECOND_NS = 1_000_000_000  # between two images


def main() -> None:
    """Use the objects of the nodes: a Frontend makes keyframes, a LoopDetector closes loops."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("Give a folder of images: loops_in_folder.py FOLDER")
    kinds = (".jpg", ".jpeg", ".png")
    files = [p for p in Path(sys.argv[1]).iterdir() if p.suffix.lower() in kinds]
    files.sort(key=lambda p: ([int(number) for number in re.findall(r"\d+", p.stem)], p.name))
    frontend = Frontend(
        Encoder(find_model(DEFAULT_MODEL)),
        KeyframeGate(GateConfig()),
        FeatureExtractor(FeatureConfig()),
    )
    detector = LoopDetector(LoopConfig(), Database(DatabaseConfig()))
    names = {}
    for number, file in enumerate(files, start=1):
        frame = Frame(number * SECOND_NS, partial(read_image, file))
        try:
            keyframe = frontend.process(frame, sparsity=0.0)
        except ImageError as error:
            print(error)
            continue
        if keyframe is None:  # too similar to the last one
            continue
        names[keyframe.id] = file.name
        closure = detector.process(keyframe).closure
        if closure is not None:
            match = names[closure.match.id]
            print(f"{file.name} shows the place of {match}, p = {closure.confidence:.3f}")
    print(f"{len(names)} keyframes of {len(files)} images")


if __name__ == "__main__":
    main()
