# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""GSV-Cities (Ali-bey et al., Neurocomputing 2022): street views of places in many cities."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from vpr_ros.core.config import Config, param
from vpr_ros.evaluation.image_set import SUFFIXES, DatasetError, read_rows
from vpr_ros.training.places import PlaceSet, group_numbers

COLUMNS = ("place_id", "year", "month", "northdeg", "city_id", "lat", "lon", "panoid")


@dataclasses.dataclass(frozen=True)
class GsvCitiesConfig(Config):
    """Which part of GSV-Cities is read."""

    cities: str = param("", "Cities to read, comma-separated; empty: all in Dataframes/.")
    min_views: int = param(4, "Skip places with fewer views.", minimum=1)


def load_gsv_cities(path: Path, config: GsvCitiesConfig) -> PlaceSet:
    """The places of `path`, which holds Dataframes/<City>.csv and Images/<City>/.

    Places lie about 100 m apart, so none overlap. Those of one city form a group: the published
    protocol fills a batch from one city, as `hard_share` 1 of a stage's batch does. DatasetError
    if a city or one of its images is missing.
    """
    tables = sorted((path / "Dataframes").glob("*.csv"))
    if config.cities:
        tables = [path / "Dataframes" / f"{name.strip()}.csv" for name in config.cities.split(",")]
    if not tables:
        raise DatasetError(f"{path} has no Dataframes/<City>.csv. Is it GSV-Cities?")
    views: list[list[str]] = []
    cities: list[str] = []
    for table in tables:
        found = _city(table, path / "Images" / table.stem, config.min_views)
        views += found
        cities += [table.stem] * len(found)
    if not views:
        raise DatasetError(f"{path} has no place with {config.min_views} views.")
    return PlaceSet("gsv_cities", views, groups=group_numbers(cities))


def _city(table: Path, folder: Path, min_views: int) -> list[list[str]]:
    """The views of every place of one city that has at least `min_views`."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} does not exist, but {table} does. Is the data set complete?")
    # One listing is faster than a check per image. The published files end in .JPG, the published
    # reader opens .jpg, and people have both.
    files = (entry.name.rpartition(".") for entry in folder.iterdir())
    held = {stem: dot + end for stem, dot, end in files if (dot + end).lower() in SUFFIXES}
    places: dict[str, list[str]] = {}
    for number, row in enumerate(read_rows(table, COLUMNS), start=2):
        try:
            names = image_names(row)
        except ValueError as error:
            raise DatasetError(f"{table}, line {number}: {error}.") from None
        name = next((name for name in names if name in held), None)
        if name is None:
            raise DatasetError(
                f"{folder / names[0]}.jpg or .JPG does not exist, but {table}, line {number}, "
                "lists it. Is the data set complete?"
            )
        places.setdefault(row["place_id"], []).append(f"{folder / name}{held[name]}")
    return [views for views in places.values() if len(views) >= min_views]


def image_names(row: dict[str, str]) -> list[str]:
    """Possible names of a row's image, without the ending.

    Coordinates are written as in the table, or as the published reader, which reads them as
    floats, writes them. It also keeps only the last five digits of a place's number.
    """
    head = (
        f"{row['city_id']}_{int(row['place_id']) % 10**5:07d}_{int(row['year']):04d}"
        f"_{int(row['month']):02d}_{int(row['northdeg']):03d}"
    )
    coordinates = ((row["lat"], row["lon"]), (str(float(row["lat"])), str(float(row["lon"]))))
    return [f"{head}_{lat}_{lon}_{row['panoid']}" for lat, lon in coordinates]
