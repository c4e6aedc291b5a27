# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where places come from: one loader per layout, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.image_set import DatasetError, images_in
from vpr_ros.training.gsv_cities import GsvCitiesConfig, load_gsv_cities
from vpr_ros.training.loader import Share
from vpr_ros.training.places import PlaceSet
from vpr_ros.training.places_table import PlacesTableConfig, load_places_table
from vpr_ros.training.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class FolderConfig(Config):
    """Which pictures of a folder are read."""

    exclude: str = param("", "Skip paths that contain one of these words, comma-separated.")


def load_photographs(path: Path, config: FolderConfig) -> PlaceSet:
    """Every picture below `path` is a place; its other views are made by augmentation."""
    return PlaceSet(path.name, [[str(image)] for image in _images(path, config)])


def load_folders(path: Path, config: FolderConfig) -> PlaceSet:
    """Every folder below `path` that holds pictures is a place, the pictures its views."""
    folders: dict[Path, list[str]] = {}
    for image in _images(path, config):
        folders.setdefault(image.parent, []).append(str(image))
    return PlaceSet(path.name, list(folders.values()))


def _images(path: Path, config: FolderConfig) -> list[Path]:
    words = [word.strip() for word in config.exclude.split(",") if word.strip()]
    found = [p for p in images_in(path) if not any(w in str(p.relative_to(path)) for w in words)]
    if not found:
        raise DatasetError(f"{path} holds no JPEG or PNG pictures (skipped: {words or 'none'}).")
    return found


@dataclasses.dataclass(frozen=True)
class Layout:
    """A loader, and the class of its options."""

    options: type[Config]
    load: Callable[[Path, Any], PlaceSet]


LAYOUTS = {
    "gsv_cities": Layout(GsvCitiesConfig, load_gsv_cities),
    "places": Layout(PlacesTableConfig, load_places_table),
    "folders": Layout(FolderConfig, load_folders),
    "photographs": Layout(FolderConfig, load_photographs),
}


def load_places(layout: str, path: Path, options: dict[str, Any] | None = None) -> PlaceSet:
    """The places at `path`, read as `layout`.

    Raises ConfigError on an unknown layout or option, DatasetError if the data are incomplete.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"There is no source '{layout}'; give one of {', '.join(LAYOUTS)}.")
    chosen = LAYOUTS[layout]
    return chosen.load(path, chosen.options.from_dict(options or {}))


def read_shares(recipe: Recipe, data: Path) -> list[Share]:
    """The recipe's sources below `data`; a source with a limit keeps that many places."""
    shares = []
    for source in recipe.sources:
        places = load_places(source.layout, data / source.path, source.options)
        if 0 < source.limit < len(places):
            places = places.only(range(0, len(places), -(-len(places) // source.limit)))
        shares.append(Share(places, source.weight, source.augment))
    return shares
