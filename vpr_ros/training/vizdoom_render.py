# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Renders places of ViZDoom's free maps: `python -m vpr_ros.training.vizdoom_render FOLDER`.

Every map gets a folder of its own, written to the end or not at all, so a stopped run goes on
where it was. The pictures depend on the options alone. The demo's route runs through a map of its
own, which is none of these.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2

from vpr_ros.core.errors import ConfigError, VprError
from vpr_ros.training.vizdoom_camera import MAPS
from vpr_ros.training.vizdoom_views import VizdoomConfig, places_of

COLUMNS = ("image", "map", "place", "x_m", "y_m", "yaw_deg")
TABLE = "places.csv"
RECIPE = "recipe.txt"


def render(
    folder: Path, levels: Sequence[str], config: VizdoomConfig
) -> Iterator[tuple[str, int]]:
    """Render the maps that `folder` lacks; yields each name with the number of its places.

    Raises ConfigError if the folder was begun with other options, RenderError on unknown maps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe, wanted = folder / RECIPE, f"{config}\n"
    if recipe.exists() and recipe.read_text() != wanted:
        raise ConfigError(
            f"{folder} holds places of other options: {recipe.read_text().strip()}. "
            "Give these options or another folder."
        )
    recipe.write_text(wanted)
    for level in levels:
        target = folder / level.replace("/", "_")
        if not target.is_dir():
            _render_map(target, level, config)
        with (target / TABLE).open(newline="") as file:
            yield level, len({row["place"] for row in csv.DictReader(file)})


def _render_map(target: Path, level: str, config: VizdoomConfig) -> None:
    """Write one map's pictures and table beside `target`, then give them its name."""
    draft = target.with_name(f".{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    quality = [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality]
    with (draft / TABLE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, place in enumerate(places_of(level, config)):
            pose = (f"{place.x_m:.3f}", f"{place.y_m:.3f}", f"{place.yaw_deg:.2f}")
            for view, image in enumerate(place.views):
                name = f"{number:04d}_{view}.jpg"
                cv2.imwrite(str(draft / name), image, quality)
                writer.writerow((name, level, number, *pose))
    draft.rename(target)


def main(arguments: Sequence[str] | None = None) -> int:
    """Render the maps named on the command line; 0 if all are there."""
    parser = argparse.ArgumentParser(
        prog="python -m vpr_ros.training.vizdoom_render",
        description="Render training places of ViZDoom's free maps.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--maps", nargs="+", default=MAPS, help="such as freedoom2/MAP01")
    for name, default, doc in VizdoomConfig.fields():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default, help=doc.text)
    values = vars(parser.parse_args(arguments))
    folder, maps = values.pop("folder"), values.pop("maps")
    total = 0
    try:
        for level, places in render(folder, maps, VizdoomConfig.from_dict(values)):
            total += places
            print(f"{level}: {places} places, {total} in all", flush=True)
    except VprError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
