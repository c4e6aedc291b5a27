# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From which cosine distance on a frame is another view: between a still camera and a moved one.

python -m bench.gate mobilenetv2-gem tat-vpr-s --data ../shared/data --drive results/demo/drive

Without odometry a frame becomes a keyframe when its descriptor has left the last keyframe's by
`gate.change`. A still camera's noise must not do that, half a metre of way should. Still: two
shots of one image of rtabmap_samples or campus_robot, each with noise, a slightly other exposure
and JPEG of its own; the largest distance at the ends of the dial counts. Moved: the median
distance of neighbouring keyframes of a bag with odometry, half a metre or 20 degrees apart. The
model's own change is their geometric mean; with --write it goes into the model file.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from pathlib import Path

import cv2
import numpy as np

from bench.sets import open_sets
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import VprError
from vpr_ros.core.images import Image
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation.bag import Bag
from vpr_ros.evaluation.datasets.image_set import read_image
from vpr_ros.evaluation.images import choose_topics, shots
from vpr_ros.evaluation.params import Settings
from vpr_ros.evaluation.replay import Eyes, keyframes

SETS = ({"path": "rtabmap_samples"}, {"path": "campus_robot"})
IMAGES = 10  # of each set, evenly spread
NOISE = 4.0  # standard deviation, of 255: a camera indoors
EXPOSURE = 0.01  # standard deviation
QUALITY = 90  # JPEG


@dataclasses.dataclass(frozen=True)
class Distances:
    """Cosine distances that a model sees."""

    still: float  # largest, of two shots of a still camera
    moved: float  # median, over half a metre of way

    @property
    def change(self) -> float:
        """Between the two, to one digit."""
        return float(f"{math.sqrt(self.still * self.moved):.1g}")


def shot(image: Image, random: np.random.Generator) -> Image:
    """What a camera makes of the same view once more."""
    values = image * random.normal(1.0, EXPOSURE) + random.normal(0.0, NOISE, image.shape)
    noisy = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    _, file = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)


def still(encoder: Encoder, images: list[Image]) -> float:
    """The largest distance of two shots, at both ends of the dial."""
    random = np.random.default_rng(0)
    found = []
    for sparsity in (0.0, encoder.contract.sparsity_max):
        for image in images:
            one, other = (encoder.encode(shot(image, random), sparsity) for _ in range(2))
            found.append(1.0 - float(one @ other))
    return max(found)


def moved(encoder: Encoder, drive: Path) -> float:
    """The median distance of neighbouring keyframes of a bag with odometry."""
    with Bag(drive) as bag:
        topics = choose_topics(bag, "", "")
        seen = keyframes(shots(bag, topics), Eyes(encoder, Settings()))
        descriptors = np.stack([one.keyframe.descriptor for one in seen])
    cosines = (descriptors[1:] * descriptors[:-1]).sum(axis=1)
    return float(np.median(1.0 - cosines))


def main() -> int:
    """Measure and print; 0 unless an input is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="names or paths of models")
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--drive", type=Path, required=True, help="a bag with odometry")
    parser.add_argument("--write", action="store_true", help="into the model files")
    options = parser.parse_args()
    try:
        paths = [
            path
            for image_set in open_sets(options.data, SETS)
            for path in image_set.database[:: max(1, len(image_set.database) // IMAGES)]
        ]
        images = [read_image(path) for path in paths]
        print("| model | still, at most | moved, median | change |\n|:---|---:|---:|---:|")
        for name in options.models:
            encoder = Encoder(find_model(name))
            found = Distances(still(encoder, images), moved(encoder, options.drive))
            print(f"| {name} | {found.still:.3f} | {found.moved:.3f} | {found.change:g} |")
            if options.write:
                from vpr_ros.export.write import write_change  # needs onnx

                write_change(encoder.path, found.change)
    except VprError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
