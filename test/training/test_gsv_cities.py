# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The layout of GSV-Cities, made small."""

import dataclasses
from pathlib import Path

import pytest

from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.image_set import DatasetError
from vpr_ros.training.recipe import Recipe
from vpr_ros.training.sampler import PlaceSampler
from vpr_ros.training.sources import load_places

COLUMNS = ["place_id", "year", "month", "northdeg", "city_id", "lat", "lon", "panoid"]
VIEWS = {("Oslo", 7): 4, ("Oslo", 123): 5, ("Oslo", 8): 3, ("Quito", 7): 4}


@pytest.fixture
def gsv(write_set, tmp_path):
    """Two cities; Oslo's place 8 has too few views, Quito has a place 7 of its own.

    Both of the endings that people have.
    """
    for city in ("Oslo", "Quito"):
        rows = [
            (place, 2010 + i, i + 1, 40 * i, city, "59.9100", "-10.75", f"pan_{city}{place}-{i}")
            for (name, place), count in VIEWS.items()
            if name == city
            for i in range(count)
        ]
        write_set(f"Dataframes/{city}.csv", COLUMNS, rows, images=False)
        folder = tmp_path / "Images" / city
        folder.mkdir(parents=True)
        for place, year, month, north, _, lat, lon, pano in rows:
            name = f"{city}_{place:07d}_{year:04d}_{month:02d}_{north:03d}_{lat}_{lon}_{pano}"
            (folder / f"{name}.{'JPG' if city == 'Oslo' else 'jpg'}").touch()
    return tmp_path


def test_places_views_and_cities(gsv):
    places = load_places("gsv_cities", gsv)
    assert [len(views) for views in places.views] == [4, 5, 4]
    for number, (city, place) in enumerate((("Oslo", 7), ("Oslo", 123), ("Quito", 7))):
        for view in places.views[number]:
            assert Path(view).is_file()
            assert Path(view).name.startswith(f"{city}_{place:07d}_")
    assert places.group_members(0).tolist() == [0, 1]
    assert places.overlapping(0).size == 0


def test_the_first_view_is_named_as_published(gsv):
    view = Path(load_places("gsv_cities", gsv).views[0][0])
    assert view.name == "Oslo_0000007_2010_01_000_59.9100_-10.75_pan_Oslo7-0.JPG"


def test_coordinates_may_be_shortened_in_the_names(gsv):
    for image in (gsv / "Images/Oslo").iterdir():
        image.rename(image.with_name(image.name.replace("59.9100", "59.91")))
    assert len(load_places("gsv_cities", gsv)) == 3


def test_options_choose_cities_and_views(gsv):
    assert len(load_places("gsv_cities", gsv, {"cities": "Quito"})) == 1
    assert len(load_places("gsv_cities", gsv, {"cities": "Oslo, Quito", "min_views": 5})) == 1


def test_incomplete_data_are_errors(gsv):
    with pytest.raises(DatasetError, match=r"no Dataframes"):
        load_places("gsv_cities", gsv / "Images")
    with pytest.raises(DatasetError, match=r"Rome.* does not exist"):
        load_places("gsv_cities", gsv, {"cities": "Rome"})
    with pytest.raises(DatasetError, match="no place with 9 views"):
        load_places("gsv_cities", gsv, {"min_views": 9})
    with pytest.raises(ConfigError, match="town"):
        load_places("gsv_cities", gsv, {"town": "Oslo"})
    next((gsv / "Images/Quito").iterdir()).unlink()
    with pytest.raises(DatasetError, match=r"Quito_0000007.* does not exist.*line \d, lists it"):
        load_places("gsv_cities", gsv)


def test_a_row_that_is_no_place_is_an_error(write_set, tmp_path):
    (tmp_path / "Images/Oslo").mkdir(parents=True)
    write_set("Dataframes/Oslo.csv", COLUMNS, [("x", 1, 1, 1, "Oslo", 1, 1, "p")], images=False)
    with pytest.raises(DatasetError, match=r"Oslo.csv, line 2: invalid literal"):
        load_places("gsv_cities", tmp_path)


def test_places_may_be_numbered_across_cities(write_set, gsv):
    """As the published reader numbers them; files carry the last five digits."""
    table = gsv / "Dataframes/Quito.csv"
    table.write_text(table.read_text().replace("\n7,", "\n100007,"))
    assert [len(views) for views in load_places("gsv_cities", gsv).views] == [4, 5, 4]


def test_batches_of_the_published_recipes_are_of_one_city(gsv):
    places = load_places("gsv_cities", gsv, {"min_views": 1})
    oslo = set(places.group_members(0).tolist())
    for name in ("efficientvpr", "tat-vpr"):
        for plan in Recipe.find(name).stages:
            batch = dataclasses.replace(plan.batch, places=2, views=2)
            sampler = PlaceSampler([places], [1.0], batch)
            batches = [[item.place for item in sampler.batch(step)] for step in range(30)]
            in_oslo = [chosen for chosen in batches if chosen[0] in oslo]
            assert len(in_oslo) > 10 and all(set(chosen) <= oslo for chosen in in_oslo)
