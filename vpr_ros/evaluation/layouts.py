# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The layouts of data sets: pairs.csv, two folders of images, AmsterTime, and MSLS."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat

from vpr_ros.evaluation.image_set import (
    DatasetError,
    DatasetOptions,
    ImageSet,
    images_in,
    numbers,
    read_rows,
    within,
)
from vpr_ros.evaluation.search import Indices

PAIRS = "pairs.csv"
DATABASE_NAMES = ("database", "ref", "reference", "gallery")
QUERY_NAMES = ("queries", "query")
# Of VPR-datasets-downloader, and of SF-XL.
ROOTS = ("", "images/test", "test", "images/val", "val", "processed/test")
# Where the images of NetVLAD's sets lie, from the folder of the .mat file or the one above it.
STRUCT_FOLDERS = (
    "",
    "queries_real",
    "tokyo247",
    "247query_subset_v2",
    "tokyo247/247query_subset_v2",
)
NEW, OLD = AMSTERTIME = ("new", "old")
MSLS_CITIES = ("cph", "sf")  # for validation; the positions of the test cities are not public
LAYOUTS = (
    "a folder with pairs.csv (columns query and match)",
    "folders database/ and queries/, with file names @utm_east@utm_north@... or aligned",
    "MSLS (train_val/<city>/database and query)",
    "Pittsburgh and Tokyo 24/7 with NetVLAD's .mat files",
    "AmsterTime (new/ and old/)",
)
LISTED = 12  # folders named in an error
DEGREES = 180.0, 90.0  # longitude and latitude
# A place needs that many decimals of a degree (11 m); nobody writes tenths of a millimetre.
DECIMALS_OF_DEGREES = 4


def open_dataset(path: Path, options: DatasetOptions | None = None) -> ImageSet:
    """The data set of a folder, or of a CSV file of pairs.

    Raises DatasetError naming the known layouts if none fits.
    """
    options = options or DatasetOptions()
    if not path.exists():
        raise DatasetError(f"{path} does not exist. Give the folder of a data set.")
    if path.is_file() and path.suffix.lower() == ".csv":
        return load_pairs(path, options)
    if path.is_file() and path.suffix.lower() == ".mat":
        return load_struct(path, options)
    if (path / PAIRS).is_file():
        return load_pairs(path / PAIRS, options)
    if any(_msls_root(path).glob("*/database/postprocessed.csv")):
        return load_msls(path, options)
    if (path / "database" / "postprocessed.csv").is_file():  # one city
        _refuse(path, options, "part")
        root = path.resolve()
        return load_msls(root.parent, dataclasses.replace(options, part=root.name))
    if folders := find_folders(path, options):
        _refuse(path, options, "part")
        return load_folders(path.resolve().name, *folders, options)
    if structs := {p.stem: p for p in (*path.glob("*.mat"), *path.glob("datasets/*.mat"))}:
        if options.part not in structs and (options.part or len(structs) > 1):
            raise DatasetError(
                f"{path} describes {', '.join(sorted(structs))}. Name one of them by --part."
            )
        return load_struct(structs.get(options.part, next(iter(structs.values()))), options)
    if all((path / name).is_dir() for name in AMSTERTIME):
        _refuse(path, options, "database", "queries", "part")
        return load_same_names(path)
    if error := _missing_side(path, options):
        raise error
    raise DatasetError(
        f"{path} has no known layout. Known are: {'; '.join(LAYOUTS)}. It holds "
        f"{_listed(_folders(path), 'no folders')}; two folders of images are named by --database "
        "and --queries. A bag or a TUM, KITTI or EuRoC drive inside it has a path of its own."
    )


def _refuse(path: Path, options: DatasetOptions, *names: str) -> None:
    """DatasetError if one of these options is given, which this layout would ignore."""
    if given := [f"--{name} {value}" for name in names if (value := getattr(options, name))]:
        raise DatasetError(
            f"{path} has no use for {', '.join(given)}: its own files say that. Leave it out."
        )


def load_pairs(path: Path, options: DatasetOptions) -> ImageSet:
    """The set of a CSV file with the columns `query` and `match`: image paths beside the file.

    A query with several right answers has several rows, one without a right answer has one row
    with an empty match, and a database image that answers nothing has one with an empty query. If
    a folder `options.database` (default: database) lies beside the file, all images in it are
    searched. Database images are in order of appearance.

    Two optional columns are for drives: `frame`, the number of the query in its drive, allows
    sequence matching; `searchable` limits a query to so many of the first database images, its
    own past. A first line "# right: ..." says in words what counts as right.
    """
    _refuse(path, options, "queries", "part")
    rows = read_rows(path, ("query", "match"))
    folder = path.parent / (options.database or "database")
    if options.database and not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; --database names the one with the map.")
    database = dict.fromkeys(path.parent / row["match"] for row in rows if row["match"])
    database.update(dict.fromkeys(images_in(folder) if folder.is_dir() else ()))
    place = {image: index for index, image in enumerate(database)}
    answers: dict[Path, set[int]] = {}
    first: dict[Path, dict[str, str]] = {}  # row of each query
    for number, row in enumerate(rows, start=1):
        if not row["query"] and not row["match"]:
            raise DatasetError(f"{path}, row {number} names neither a query nor a match.")
        if row["query"]:
            query = path.parent / row["query"]
            first.setdefault(query, row)
            right = answers.setdefault(query, set())
            if row["match"]:
                right.add(place[path.parent / row["match"]])
    return ImageSet(
        path.stem if path.name != PAIRS else path.resolve().parent.name,
        tuple(database),
        tuple(answers),
        tuple(np.array(sorted(own), dtype=np.int64) for own in answers.values()),
        _rule(path),
        searchable=_column([*first.values()], "searchable", path),
        query_frames=_column([*first.values()], "frame", path),
    )


def _rule(path: Path) -> str:
    with path.open(encoding="utf-8-sig") as file:
        line = file.readline()
    given = line.startswith("# right:")
    return line.removeprefix("# right:").strip() if given else f"listed in {path.name}"


def _column(rows: list[dict[str, str]], name: str, path: Path) -> Indices | None:
    if not rows or name not in rows[0]:
        return None
    found = numbers(rows, (name,), path)[:, 0]
    if bad := [f"{value:g}" for value in found if value < 0 or value % 1]:
        raise DatasetError(f"{path}: column {name} has {bad[0]}; give whole numbers from 0 on.")
    return found.astype(np.int64)


def find_folders(path: Path, options: DatasetOptions) -> tuple[Path, Path] | None:
    """The folders of database and queries below `path`; None if there are none.

    Sets with several kinds of queries have queries_night/, queries_v2/ and the like: the only one
    is found, of several one must be named.
    """
    for root in (path / name for name in ROOTS):
        database, queries = _sides(root, options)
        if database and queries:
            return database, queries
    return None


def _sides(root: Path, options: DatasetOptions) -> tuple[Path | None, Path | None]:
    database = _first(root, (options.database,) if options.database else DATABASE_NAMES)
    queries = _first(root, (options.queries,) if options.queries else QUERY_NAMES)
    kinds = _kinds_of_queries(root)
    if queries is None and not options.queries and len(kinds) == 1:
        queries = root / kinds[0]
    return database, queries


def _kinds_of_queries(root: Path) -> list[str]:
    return [name for name in _folders(root) if name.startswith(("queries_", "query_"))]


def _missing_side(path: Path, options: DatasetOptions) -> DatasetError | None:
    """What to say where only one of the two folders is found."""
    for root in (path / name for name in ROOTS):
        database, queries = _sides(root, options)
        if database and not queries:
            wanted = options.queries or " or ".join(QUERY_NAMES)
            there = _kinds_of_queries(root) or _folders(root, database.name)
            return DatasetError(
                f"{root} has {database.name}/, but not the queries' folder ({wanted}). Name it "
                f"by --queries: {_listed(there, 'there is none')}."
            )
        if queries and not database:
            wanted = options.database or " or ".join(DATABASE_NAMES)
            return DatasetError(
                f"{root} has {queries.name}/, but not the map's folder ({wanted}). Name it by "
                f"--database: {_listed(_folders(root, queries.name), 'there is none')}."
            )
    return None


def _folders(root: Path, *without: str) -> list[str]:
    found = (p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else ()
    return sorted(set(found) - set(without))


def _listed(names: list[str], none: str) -> str:
    more = [f"and {len(names) - LISTED} more"] if len(names) > LISTED else []
    return ", ".join([*(f"{name}/" for name in names[:LISTED]), *more]) or none


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def load_folders(name: str, database: Path, queries: Path, options: DatasetOptions) -> ImageSet:
    """The set of two folders; DatasetError if they are empty or nothing tells what is right.

    File names `@utm_east@utm_north@...` (gmberton/VPR-datasets-downloader) give positions in
    metres. Without them image i of one folder shows the place of image i of the other (Nordland,
    Sunderhauf et al. 2013), and both must hold the same number of images.
    """
    shown, asked = images_in(database), images_in(queries)
    for folder, images in ((database, shown), (queries, asked)):
        if not images:
            raise DatasetError(f"{folder} holds no JPEG or PNG images.")
    if "@" in shown[0].name and "@" in asked[0].name:
        near = within(_positions(shown), _positions(asked), options.radius_m)
        return ImageSet(name, shown, asked, near, _radius_rule(options))
    if len(shown) != len(asked):
        raise DatasetError(
            f"{database.parent}: {database.name}/ holds {len(shown)} images, {queries.name}/ "
            f"{len(asked)}, and their names carry no coordinates (@utm_east@utm_north@...). "
            "Aligned folders hold the same number; otherwise list the right answers in pairs.csv "
            "with the columns query and match."
        )
    aligned = tuple(
        np.arange(max(0, i - options.frames), min(len(shown) - 1, i + options.frames) + 1)
        for i in range(len(asked))
    )
    rule = f"at most {options.frames} frame(s) away in the other drive"
    return ImageSet(name, shown, asked, aligned, rule, query_frames=np.arange(len(asked)))


def load_struct(path: Path, options: DatasetOptions) -> ImageSet:
    """Pittsburgh or Tokyo 24/7 as published, by a .mat file of NetVLAD (CVPR 2016).

    Its `dbStruct` holds file names and positions in metres, of the database and of the queries.
    """
    _refuse(path, options, "database", "queries")
    try:
        struct = loadmat(path)["dbStruct"].item()
        sides = [
            ([str(name[0].item()) for name in struct[n]], np.array(struct[n + 1], np.float64).T)
            for n in (1, 3)
        ]
        near = within(sides[0][1], sides[1][1], options.radius_m)
        shown, asked = (_struct_images(path, names) for names, _ in sides)
    except DatasetError:
        raise
    except Exception as error:  # scipy raises what a damaged or foreign file makes of its parser
        raise DatasetError(
            f"{path} is not a .mat file of NetVLAD's data sets ({error or type(error).__name__})."
        ) from None
    return ImageSet(path.stem, shown, asked, near, _radius_rule(options))


def _struct_images(path: Path, names: list[str]) -> tuple[Path, ...]:
    """The files of one side; Tokyo's struct says .jpg where the published files are .png."""
    tried = [path.parent / up / name for up in ("", "..") for name in STRUCT_FOLDERS]
    for folder in tried:
        for suffix in (Path(names[0]).suffix, ".png"):
            if (folder / names[0]).with_suffix(suffix).is_file():
                root = folder.resolve()
                return tuple((root / name).with_suffix(suffix) for name in names)
    raise DatasetError(
        f"{path} names the image {names[0]}, which is in none of the folders beside it: "
        f"{', '.join(filter(None, STRUCT_FOLDERS))}. Is the set complete?"
    )


def load_same_names(path: Path) -> ImageSet:
    """AmsterTime as published (Yildiz et al., ICPR 2022): old/ asks for its namesake in new/."""
    shown, asked = images_in(path / NEW), images_in(path / OLD)
    places = {image.stem: number for number, image in enumerate(shown)}
    for image in asked:
        if image.stem not in places:
            raise DatasetError(f"{path / NEW} lacks the image for {image}. Is the set complete?")
    right = tuple(np.array([places[image.stem]]) for image in asked)
    return ImageSet(path.resolve().name, shown, asked, right, "the new photograph of that name")


def _positions(images: tuple[Path, ...]) -> npt.NDArray[np.float64]:
    """East and north (N, 2) [m] from the file names; DatasetError if they are degrees."""
    found, decimals = np.empty((len(images), 2)), 0
    for row, image in enumerate(images):
        try:
            _, east, north = image.name.split("@")[:3]
            found[row] = float(east), float(north)
            if not np.isfinite(found[row]).all():
                raise ValueError
        except ValueError:
            raise DatasetError(
                f"{image} is not named @utm_east@utm_north@...; all images of the set must be."
            ) from None
        decimals = max(decimals, *(len(value.partition(".")[2]) for value in (east, north)))
    either = (np.abs(found) <= DEGREES).all() or (np.abs(found) <= DEGREES[::-1]).all()
    if either and decimals >= DECIMALS_OF_DEGREES:
        raise DatasetError(
            f"{images[0]} seems to be named by degrees of longitude and latitude; names are "
            "@utm_east@utm_north@..., in metres. Convert them to UTM; if these are metres, leave "
            f"out the decimals from the {DECIMALS_OF_DEGREES}th on."
        )
    return found


def load_msls(path: Path, options: DatasetOptions) -> ImageSet:
    """Mapillary Street-Level Sequences (Warburg et al., CVPR 2020), by the published protocol.

    The validation cities, or the comma-separated ones of `options.part`. No panoramas, the
    subtask `all` where its file exists, cities kept apart, and no queries without a right answer.
    """
    _refuse(path, options, "database", "queries")
    root = _msls_root(path)
    cities = tuple(options.part.split(",")) if options.part else MSLS_CITIES
    database: list[Path] = []
    queries: list[Path] = []
    positives: list[Indices] = []
    for city in cities:
        if not (root / city).is_dir():
            there = sorted(p.parent.name for p in root.glob("*/database"))
            raise DatasetError(f"{root} has no city '{city}', but {', '.join(there)}.")
        shown, shown_m = _msls_side(root / city / "database")
        asked, asked_m = _msls_side(root / city / "query")
        right = within(shown_m, asked_m, options.radius_m)
        kept = [i for i, found in enumerate(right) if len(found)]
        queries += [asked[i] for i in kept]
        positives += [right[i] + len(database) for i in kept]
        database += shown
    name = "msls " + ",".join(cities)
    rule = _radius_rule(options)
    return ImageSet(name, tuple(database), tuple(queries), tuple(positives), rule)


def _msls_side(folder: Path) -> tuple[list[Path], npt.NDArray[np.float64]]:
    """Image files and positions (N, 2) [m] of the database or the queries of one city."""
    table = folder / "postprocessed.csv"
    rows = read_rows(table, ("key", "easting", "northing"))
    kept = [row["pano"] != "True" for row in read_rows(folder / "raw.csv", ("key", "pano"))]
    subtask = folder / "subtask_index.csv"
    used = [True] * len(rows)
    if subtask.is_file():
        used = [row["all"] == "True" for row in read_rows(subtask, ("all",))]
    if not len(rows) == len(kept) == len(used):
        raise DatasetError(f"{folder}: its CSV files differ in length. Is the download complete?")
    positions_m = numbers(rows, ("easting", "northing"), table)
    chosen = np.flatnonzero(np.array(kept, bool) & np.array(used, bool))
    return [folder / "images" / f"{rows[i]['key']}.jpg" for i in chosen], positions_m[chosen]


def _msls_root(path: Path) -> Path:
    return path / "train_val" if (path / "train_val").is_dir() else path


def _radius_rule(options: DatasetOptions) -> str:
    return f"at most {options.radius_m:g} m away"
