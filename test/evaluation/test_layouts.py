# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every layout on a few files: what is right, and what the errors say."""

import re

import numpy as np
import pytest
from scipy.io import savemat

from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.image_set import DatasetError, DatasetOptions, images_in, within
from vpr_ros.evaluation.layouts import open_dataset


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def answers(image_set):
    """{name of the query: names of its right answers}."""
    return {
        query.name: [image_set.database[i].name for i in right]
        for query, right in zip(image_set.queries, image_set.positives, strict=True)
    }


def test_numbered_images_are_in_the_order_of_their_numbers(tmp_path):
    """A drive of 1.jpg to 12.jpg, and folders of it that are numbered too; sides must agree."""
    names = [f"{n}.jpg" for n in range(1, 13)]
    touch(tmp_path / "a", *(f"ref/{n}" for n in names), *(f"query/0{n}" for n in names))
    image_set = open_dataset(tmp_path / "a", DatasetOptions(frames=0))
    assert answers(image_set) == {f"0{name}": [name] for name in names}
    touch(tmp_path / "b", "10/b.png", "2/b.png", "2/a.png", "02/a.png")
    found = [str(p.relative_to(tmp_path / "b")) for p in images_in(tmp_path / "b")]
    assert found == ["02/a.png", "2/a.png", "2/b.png", "10/b.png"]


def test_linked_folders_are_read_and_what_is_no_image_is_not(tmp_path):
    """A folder on another disk, a link in a circle; macOS's files, a folder named like one."""
    touch(tmp_path, "disk/2.jpg", "a/1.jpg", "a/._1.jpg", "a/.trash/3.jpg", "a/thumbs.jpg/x.txt")
    (tmp_path / "a" / "more").symlink_to(tmp_path / "disk")
    (tmp_path / "a" / "up").symlink_to(tmp_path / "a")
    assert [str(p.relative_to(tmp_path / "a")) for p in images_in(tmp_path / "a")] == [
        "1.jpg",
        "more/2.jpg",
    ]


def test_within_counts_the_limit_itself_and_equals_all_distances():
    database = np.array([[0.0, 0.0], [25.0, 0.0], [25.01, 0.0], [0.0, -25.0]])
    (found,) = within(database, np.array([[0.0, 0.0]]), 25.0)
    assert found.tolist() == [0, 1, 3]
    random = np.random.default_rng(0)
    database, queries = random.uniform(0, 100, (200, 2)), random.uniform(0, 100, (30, 2))
    for query, found in zip(queries, within(database, queries, 25.0), strict=True):
        expected = np.flatnonzero(np.linalg.norm(database - query, axis=1) <= 25.0)
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("root", ["", "images/test"])
def test_coordinates_in_the_file_names(tmp_path, root):
    touch(
        tmp_path / root / "database", "@100.0@200@a@.jpg", "x/@125@200.0@b@.jpg", "@126@200@.png"
    )
    touch(tmp_path / root / "queries", "@0100@0200@q@.jpg", "@900@900@nobody@.jpg")
    image_set = open_dataset(tmp_path)
    assert answers(image_set) == {
        "@0100@0200@q@.jpg": ["@100.0@200@a@.jpg", "@125@200.0@b@.jpg"],
        "@900@900@nobody@.jpg": [],
    }
    assert image_set.unanswerable == 1
    assert image_set.query_frames is None
    near = open_dataset(tmp_path, DatasetOptions(radius_m=24.9))
    assert answers(near)["@0100@0200@q@.jpg"] == ["@100.0@200@a@.jpg"]


def test_other_folder_names_and_a_bad_file_name(tmp_path):
    touch(tmp_path, "day/@0@0@.jpg", "night/@0@0@.jpg")
    options = DatasetOptions(database="day", queries="night")
    assert answers(open_dataset(tmp_path, options)) == {"@0@0@.jpg": ["@0@0@.jpg"]}
    touch(tmp_path, "night/@east@0@.jpg")
    with pytest.raises(DatasetError, match=r"@east@0@.jpg is not named @utm_east"):
        open_dataset(tmp_path, options)


def test_aligned_folders(tmp_path):
    touch(tmp_path / "ref", "0.jpg", "1.jpg", "2.jpg", "3.jpg")
    touch(tmp_path / "query", "a.png", "b.png", "c.png", "d.png")
    image_set = open_dataset(tmp_path)
    assert answers(image_set)["a.png"] == ["0.jpg", "1.jpg"]
    assert answers(image_set)["c.png"] == ["1.jpg", "2.jpg", "3.jpg"]
    assert image_set.query_frames.tolist() == [0, 1, 2, 3]
    exact = open_dataset(tmp_path, DatasetOptions(frames=0))
    assert answers(exact)["d.png"] == ["3.jpg"]
    (tmp_path / "query" / "d.png").unlink()
    with pytest.raises(DatasetError, match=r"ref/ holds 4 images, query/ 3.*pairs.csv"):
        open_dataset(tmp_path)


def named(east, north, number=0, zone="17@T", lat="040.44", lon="-079.99"):
    """A file name of VPR-datasets-downloader, with all of its fields."""
    return f"@{east}@{north}@{zone}@{lat}@{lon}@{number:06d}@00@@@@@@@.jpg"


@pytest.mark.parametrize("root", ["images/test", "images/val", "val", "processed/test", ""])
def test_downloaded_sets(tmp_path, root):
    """Pitts, MSLS, Eynsham and Tokyo as VPR-datasets-downloader writes them."""
    folder = tmp_path / root
    touch(
        folder / "database", named("0584821.15", "4477029.82"), named("0584921.15", "4477029.82")
    )
    touch(folder / "queries", named("0584830.00", "4477029.82", 7))
    for path in (tmp_path, folder):
        (right,) = answers(open_dataset(path)).values()
        assert right == [named("0584821.15", "4477029.82")]


def test_mock_positions_of_nordland_and_amstertime(tmp_path):
    touch(
        tmp_path / "n/images/test/database",
        *(f"@0@{k * 2.38:07.1f}@@@@@{k}@@@@@@@@.jpg" for k in range(30)),
    )
    touch(tmp_path / "n/images/test/queries", "@0@00000.0@@@@@0@@@@@@@@.jpg")
    assert [len(right) for right in open_dataset(tmp_path / "n").positives] == [11]
    pair = [f"@0@{k}000@@@@@{k:03d}@@@@@@@@.jpg" for k in range(4)]
    touch(
        tmp_path / "a/images/test",
        *(f"{side}/{n}" for n in pair for side in ("database", "queries")),
    )
    assert answers(open_dataset(tmp_path / "a")) == {name: [name] for name in pair}


def test_amstertime_as_published(tmp_path):
    touch(tmp_path, "new/10.png", "new/2.png", "new/3.png", "old/2.jpg", "old/10.jpg")
    assert answers(open_dataset(tmp_path)) == {"2.jpg": ["2.png"], "10.jpg": ["10.png"]}
    touch(tmp_path, "old/4.jpg")
    with pytest.raises(DatasetError, match=r"new lacks the image for .*4\.jpg"):
        open_dataset(tmp_path)


def test_kinds_of_queries_are_found_or_named(tmp_path):
    """SVOX has gallery/ and queries by weather, SF-XL and Tokyo have versions."""
    root = tmp_path / "images/test"
    touch(root, "gallery/@0@0@.jpg", "queries_night/@0@0@night.jpg")
    assert answers(open_dataset(tmp_path)) == {"@0@0@night.jpg": ["@0@0@.jpg"]}
    touch(root, "queries_v3/@0@0@v3.jpg")
    with pytest.raises(
        DatasetError, match=r"gallery/, but not .* --queries: queries_night/, queries_v3/\."
    ):
        open_dataset(tmp_path)
    found = open_dataset(tmp_path, DatasetOptions(queries="queries_v3"))
    assert answers(found) == {"@0@0@v3.jpg": ["@0@0@.jpg"]}
    with pytest.raises(
        DatasetError, match=r"\(queries_v4\)\. Name it by --queries: queries_night/"
    ):
        open_dataset(tmp_path, DatasetOptions(queries="queries_v4"))
    touch(tmp_path, "ref/notes.txt")  # half of a set above a whole one
    assert len(open_dataset(tmp_path, DatasetOptions(queries="queries_v3")).queries) == 1
    touch(tmp_path / "other", "queries/1.jpg", "day/1.jpg")
    with pytest.raises(DatasetError, match=r"has queries/, but not the map.* --database: day/\."):
        open_dataset(tmp_path / "other")
    touch(tmp_path / "nordland", "summer/1.png", "winter/1.png")
    with pytest.raises(DatasetError, match=r"holds summer/, winter/; .* --database and --queries"):
        open_dataset(tmp_path / "nordland")


@pytest.mark.parametrize("name", ["@{lon}@{lat}@.jpg", "@{lat}@{lon}@.jpg"])
@pytest.mark.parametrize(("lon", "lat"), [("4.88969", "52.37403"), ("-122.41942", "-37.77493")])
def test_degrees_are_not_taken_for_metres(tmp_path, name, lon, lat):
    touch(tmp_path, f"database/{name.format(lon=lon, lat=lat)}", "queries/@0@0@.jpg")
    with pytest.raises(DatasetError, match=r"named by degrees .* in metres\. Convert them to UTM"):
        open_dataset(tmp_path)
    touch(tmp_path, "database/@4477029.8212@0@.jpg")  # no degree
    assert len(open_dataset(tmp_path).database) == 2
    touch(tmp_path, "queries/@nan@0@.jpg")
    with pytest.raises(DatasetError, match=r"@nan@0@\.jpg is not named"):
        open_dataset(tmp_path)


def struct(path, database, queries):
    """A .mat file as NetVLAD's: names, and positions in metres."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sides = {}
    for names, at, images in (("dbImageFns", "utmDb", database), ("qImageFns", "utmQ", queries)):
        sides[names] = np.array([*images], dtype=object).reshape(-1, 1)
        sides[at] = np.array([*images.values()], float).T
    rest = {"numImages": len(database), "numQueries": len(queries), "posDistThr": 25.0}
    savemat(path, {"dbStruct": {"whichSet": "test", **sides, **rest}})


def test_pittsburgh_and_tokyo_as_published(tmp_path):
    pitts = {"000/000000_pitch1_yaw1.jpg": (0, 0), "001/000001_pitch1_yaw1.jpg": (100, 0)}
    query = {"000/000000_pitch1_yaw2.jpg": (110, 0)}
    touch(tmp_path / "p", *pitts, *(f"queries_real/{name}" for name in query))
    for part in ("pitts30k_test", "pitts250k_test"):
        struct(tmp_path / f"p/datasets/{part}.mat", pitts, query)
    with pytest.raises(DatasetError, match=r"pitts250k_test, pitts30k_test\. .* --part"):
        open_dataset(tmp_path / "p")
    options = DatasetOptions(part="pitts30k_test")
    for path in (tmp_path / "p", tmp_path / "p/datasets/pitts30k_test.mat"):
        image_set = open_dataset(path, options)
        assert image_set.name == "pitts30k_test"
        (right,) = answers(image_set).values()
        assert right == ["000001_pitch1_yaw1.jpg"]
        assert image_set.queries[0] == tmp_path / "p/queries_real" / next(iter(query))
    touch(tmp_path / "t", "tokyo247/03814/a.png", "tokyo247/247query_subset_v2/00001.jpg")
    struct(tmp_path / "t/datasets/tokyo247.mat", {"03814/a.jpg": (5, 5)}, {"00001.jpg": (6, 5)})
    assert answers(open_dataset(tmp_path / "t")) == {"00001.jpg": ["a.png"]}
    (tmp_path / "t/tokyo247/03814/a.png").unlink()
    with pytest.raises(DatasetError, match=r"03814/a\.jpg, which is in none .* queries_real"):
        open_dataset(tmp_path / "t")
    (tmp_path / "t/datasets/tokyo247.mat").write_bytes(b"no struct")
    with pytest.raises(DatasetError, match=r"tokyo247\.mat is not a \.mat file of NetVLAD"):
        open_dataset(tmp_path / "t")


def test_pairs(tmp_path):
    touch(tmp_path, "database/extra.jpg")
    table = tmp_path / "pairs.csv"
    table.write_text("query,match\nq1.jpg,a.jpg\nq1.jpg,b.jpg\nq2.jpg,\n,c.jpg\n")
    for path in (tmp_path, table):
        image_set = open_dataset(path)
        assert image_set.name == tmp_path.name
        assert answers(image_set) == {"q1.jpg": ["a.jpg", "b.jpg"], "q2.jpg": []}
        assert [p.name for p in image_set.database] == ["a.jpg", "b.jpg", "c.jpg", "extra.jpg"]
    table.write_text("query,answer\n")
    with pytest.raises(DatasetError, match="lacks the columns match"):
        open_dataset(tmp_path)
    table.write_text("query,match\nq1.jpg\n")
    with pytest.raises(DatasetError, match="row 1: too few values"):
        open_dataset(tmp_path)
    table.write_text("query;match\nq1.jpg;a.jpg\n")
    with pytest.raises(DatasetError, match=r"match, query\. Its first line.* has: query;match"):
        open_dataset(tmp_path)
    table.write_bytes("query,match\nüb.jpg,a.jpg\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="cannot be read as CSV in UTF-8"):
        open_dataset(tmp_path)


def test_options_that_a_layout_would_ignore_are_refused(tmp_path):
    """A misspelt folder would leave the map without its distractors, and recall too high."""
    touch(tmp_path, "p/database/b.jpg", "f/database/1.jpg", "f/queries/1.jpg", "a/new/1.jpg")
    touch(tmp_path / "a/old", "1.jpg")
    (tmp_path / "p/pairs.csv").write_text("query,match\nq.jpg,a.jpg\n")
    struct(tmp_path / "m/one.mat", {"x.jpg": (0, 0)}, {"y.jpg": (0, 0)})
    for folder, option, message in (
        ("p", {"database": "databse"}, "databse is no folder"),
        ("p", {"queries": "night"}, "no use for --queries night"),
        ("f", {"part": "cph"}, "no use for --part cph"),
        ("a", {"database": "x"}, "no use for --database x"),
        ("m", {"part": "two"}, "describes one. Name one"),
        ("m", {"queries": "x"}, "no use for --queries x"),
    ):
        with pytest.raises(DatasetError, match=message):
            open_dataset(tmp_path / folder, DatasetOptions(**option))


def msls_side(folder, rows):
    folder.mkdir(parents=True)
    keys = [row[0] for row in rows]
    (folder / "postprocessed.csv").write_text(
        ",key,easting,northing\n"
        + "".join(f"{i},{k},{e},0\n" for i, (k, e, *_) in enumerate(rows))
    )
    (folder / "raw.csv").write_text(
        ",key,pano\n" + "".join(f"{i},{k},{pano}\n" for i, (k, _, pano, _) in enumerate(rows))
    )
    (folder / "subtask_index.csv").write_text(
        ",key,all\n" + "".join(f"{i},{k},{used}\n" for i, (k, _, _, used) in enumerate(rows))
    )
    return keys


def test_msls(tmp_path):
    database = [("a", 0, False, True), ("pano", 1, True, True), ("b", 20, False, True)]
    queries = [("q", 5, False, True), ("unused", 5, False, False), ("far", 500, False, True)]
    msls_side(tmp_path / "train_val" / "cph" / "database", database)
    msls_side(tmp_path / "train_val" / "cph" / "query", queries)
    # The other city's coordinates are the same: only cities keep them apart.
    msls_side(tmp_path / "train_val" / "sf" / "database", [("c", 5, False, True)])
    msls_side(tmp_path / "train_val" / "sf" / "query", [("r", 5, False, True)])
    for path in (tmp_path, tmp_path / "train_val"):
        image_set = open_dataset(path)
        assert answers(image_set) == {"q.jpg": ["a.jpg", "b.jpg"], "r.jpg": ["c.jpg"]}
    for path, part in ((tmp_path, "sf"), (tmp_path / "train_val" / "sf", "")):
        assert answers(open_dataset(path, DatasetOptions(part=part))) == {"r.jpg": ["c.jpg"]}
    with pytest.raises(DatasetError, match="no city 'rome', but cph, sf"):
        open_dataset(tmp_path, DatasetOptions(part="rome"))


def test_pairs_of_drives(tmp_path):
    """A drive searched for its own past: frame numbers, and how much of it is the past."""
    table = tmp_path / "mine.csv"
    table.write_text(
        "# right: by hand\nquery,match,frame,searchable\n,1.jpg,,\n,2.jpg,,\n,3.jpg,,\n"
        "3.jpg,1.jpg,3,2\n5.jpg,,5,3\n# a comment\n5.jpg,2.jpg,5,3\n"
    )
    image_set = open_dataset(table)
    assert (image_set.name, image_set.rule) == ("mine", "by hand")
    assert answers(image_set) == {"3.jpg": ["1.jpg"], "5.jpg": ["2.jpg"]}
    assert image_set.query_frames.tolist() == [3, 5]
    assert image_set.searchable.tolist() == [2, 3]
    for column, value in (("frame", "third"), ("frame", "nan"), ("searchable", "-3"),
                          ("searchable", "0.5")):  # fmt: skip
        table.write_text(f"query,match,{column}\n3.jpg,1.jpg,{value}\n")
        with pytest.raises(DatasetError, match=r"third|finite|(-3|0\.5); give whole"):
            open_dataset(table)


def test_unknown_layouts_and_bad_options(tmp_path):
    with pytest.raises(DatasetError, match=r"no known layout. Known are: .*pairs.csv.*MSLS"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="nowhere does not exist"):
        open_dataset(tmp_path / "nowhere")
    touch(tmp_path, "database/readme.txt", "queries/1.jpg")
    with pytest.raises(DatasetError, match=re.escape("database holds no JPEG or PNG")):
        open_dataset(tmp_path)
    with pytest.raises(ConfigError, match="radius is -1"):
        DatasetOptions(radius_m=-1)
    with pytest.raises(ConfigError, match="frames is -1"):
        DatasetOptions(frames=-1)
