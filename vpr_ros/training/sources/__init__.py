# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where places come from: one loader a layout, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vpr_ros.core.config import Config
from vpr_ros.core.errors import ConfigError
from vpr_ros.training.places import PlaceSet
from vpr_ros.training.sources.gsv_cities import GsvCitiesConfig, load_gsv_cities
from vpr_ros.training.sources.ie_tower import load_ie_tower
from vpr_ros.training.sources.panoramas import (
    PanoramaConfig,
    load_home_streetview,
    load_polyhaven_hdri,
)
from vpr_ros.training.sources.photographs import PhotographConfig, load_photographs
from vpr_ros.training.sources.sequences import SequenceConfig, load_sequences
from vpr_ros.training.sources.vizdoom import RenderedConfig, load_vizdoom


@dataclasses.dataclass(frozen=True)
class Layout:
    """A loader, and the class of its options."""

    options: type[Config]
    load: Callable[[Path, Any], PlaceSet]


LAYOUTS = {
    "gsv_cities": Layout(GsvCitiesConfig, load_gsv_cities),
    "ie_tower": Layout(SequenceConfig, load_ie_tower),
    "sequences": Layout(SequenceConfig, load_sequences),
    "polyhaven_hdri": Layout(PanoramaConfig, load_polyhaven_hdri),
    "home_streetview": Layout(PanoramaConfig, load_home_streetview),
    "photographs": Layout(PhotographConfig, load_photographs),
    "vizdoom": Layout(RenderedConfig, load_vizdoom),
}


def load_places(layout: str, path: Path, options: dict[str, Any] | None = None) -> PlaceSet:
    """The places at `path`, read as `layout`.

    Raises ConfigError on an unknown layout or option, DatasetError if the data are incomplete.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"There is no source '{layout}'; give one of {', '.join(LAYOUTS)}.")
    chosen = LAYOUTS[layout]
    return chosen.load(path, chosen.options.from_dict(options or {}))
