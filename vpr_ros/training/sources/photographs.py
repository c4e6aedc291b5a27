# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Single photographs: each is a place, whose second view only augmentation can make."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from vpr_ros.core.config import Config, param
from vpr_ros.evaluation.datasets.image_set import DatasetError, images_in
from vpr_ros.training.places import PlaceSet

RESOLUTION = re.compile(r"(\d+)x(\d+)")


@dataclasses.dataclass(frozen=True)
class PhotographConfig(Config):
    """Which pictures of a folder are read."""

    exclude: str = param("", "Leave out paths with one of these words, separated by commas.")


def load_photographs(path: Path, config: PhotographConfig) -> PlaceSet:
    """Every picture below `path`; of copies that are named by their size only the smallest.

    Wallpaper packages hold one picture as 1024x768.jpg, 5120x2880.jpg and so on in one folder.
    """
    words = [word.strip() for word in config.exclude.split(",") if word.strip()]
    views: list[list[str]] = []
    copies: dict[Path, tuple[int, Path]] = {}
    for image in images_in(path):
        name = str(image.relative_to(path))
        if any(word in name for word in words):
            continue
        size = RESOLUTION.fullmatch(image.stem)
        if size is None:
            views.append([str(image)])
        else:
            pixels = int(size[1]) * int(size[2])
            copies[image.parent] = min(copies.get(image.parent, (pixels, image)), (pixels, image))
    views += [[str(image)] for _, image in copies.values()]
    if not views:
        raise DatasetError(f"{path} holds no JPEG or PNG pictures (left out: {words or 'none'}).")
    return PlaceSet(path.name, views)
