# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Maps made from maps: several merged into one, or one with fewer keyframes."""

from __future__ import annotations

import bisect
import dataclasses
import functools
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.errors import MapError
from vpr_ros.core.keyframe import FEATURE_SIZES, NS_PER_S, LocalFeatures, Place
from vpr_ros.core.map_data import MAX_SPAN, MapData, unpack
from vpr_ros.core.map_file import LoadedMap, Snapshot
from vpr_ros.core.model_digest import model_text, same_model

SAME_VALUE = 1e-3  # a descriptor's values may be off by so much after half precision


@dataclasses.dataclass(frozen=True)
class MapPart:
    """Numbered keyframes in order, and closed loops by id, also to keyframes elsewhere."""

    source: str  # in words, for errors
    places: list[Place]
    descriptors: dict[int, npt.NDArray[Any]]  # (D,) by id
    links: set[tuple[int, int]]

    def snapshot(
        self, model: str, digest: str, precision: npt.DTypeLike, path: Path, overwrite: bool
    ) -> Snapshot:
        """The map of this part, to be written to `path`."""
        sequence_of = {place.id: place.sequence for place in self.places}
        ends = [(sequence_of.get(a), sequence_of.get(b)) for a, b in self.links]
        links = {(min(a, b), max(a, b)) for a, b in ends if a is not None and b is not None}
        rows = np.array([self.descriptors[p.id] for p in self.places], precision)
        return Snapshot(path, overwrite, model, digest, self.places, rows, sorted(links), 0, {})

    @classmethod
    def of(cls, loaded: LoadedMap) -> MapPart:
        """The part that is a whole map."""
        data, ids = loaded.data, loaded.data.ids.tolist()
        id_of = dict(zip(data.sequence.tolist(), ids, strict=True))
        return cls(
            str(loaded.path),
            list(unpack(data, range(len(ids)))),
            dict(zip(ids, data.descriptors, strict=True)),
            {(id_of[a], id_of[b]) for a, b in data.links.tolist()},
        )


def merged(
    maps: Sequence[LoadedMap],
    path: Path,
    overwrite: bool = False,
    *,
    oldest_ns: int = 0,
    max_keyframes: int | None = None,
) -> Snapshot:
    """One map made of several, to be written to `path`; ids stay, sessions stay apart.

    Maps are joined in order, as if the robot had loaded the earlier ones first. A keyframe that is
    in two maps is taken once, and the sessions that share one become one session. Keyframes before
    `oldest_ns` are left out; if more than `max_keyframes` remain, those that a database would
    evict are left out as well. Raises MapError if the maps are not comparable, if one id stands
    for different keyframes, or if none is left.
    """
    digest = next((m.data.model_digest for m in maps if m.data.model_digest), "")
    for loaded in maps[1:]:
        _check_alike(maps[0], loaded, digest)
    parts = [MapPart.of(loaded) for loaded in maps]
    whole = functools.reduce(lambda newer, older: _under(older, newer), reversed(parts))
    young = [p for p in whole.places if p.stamp_ns >= oldest_ns]
    if not young:
        newest = time_text(max(p.stamp_ns for p in whole.places))
        raise MapError(
            f"All {len(whole.places)} keyframes are older than that; the newest is of {newest}. "
            "Give more days."
        )
    precision = np.result_type(*(m.data.descriptors for m in maps))
    part = dataclasses.replace(whole, places=young)
    snapshot = part.snapshot(maps[-1].data.model, digest, precision, path, overwrite)
    if max_keyframes is None or max_keyframes >= len(young):
        return snapshot
    database = Database(
        DatabaseConfig(max_keyframes=max_keyframes, max_mb=1_000_000, precision=str(precision))
    )
    database.merge(LoadedMap(path, None, snapshot.pack()))
    return dataclasses.replace(database.snapshot(path, overwrite), files={})


def feature_kinds(data: MapData) -> set[str]:
    """The kinds of local features in a map, keys of FEATURE_SIZES."""
    sizes = set(data.feature_sizes[data.feature_counts >= 0].tolist())
    return {kind for kind, size in FEATURE_SIZES.items() if size in sizes}


def session_rows(data: MapData) -> list[list[str]]:
    """Of each session number, keyframes, first and last time, keyframes with a pose, sparsity."""
    rows = []
    for number in np.unique(data.sessions):
        of_it = data.sessions == number
        stamps_ns, levels = data.stamps_ns[of_it], data.sparsity[of_it]
        times = [time_text(int(stamps_ns.min())), time_text(int(stamps_ns.max()))]
        posed = int((~np.isnan(data.poses[of_it, 0])).sum())
        counts = [str(number), str(len(stamps_ns))]
        rows.append([*counts, *times, str(posed), f"{levels.min():g} to {levels.max():g}"])
    return rows


def time_text(stamp_ns: int) -> str:
    """A time in UTC, as text for users."""
    return f"{datetime.fromtimestamp(stamp_ns / NS_PER_S, timezone.utc):%Y-%m-%d %H:%M}"


def _check_alike(first: LoadedMap, other: LoadedMap, digest: str) -> None:
    a, b = first.data, other.data
    sizes = a.descriptors.shape[1], b.descriptors.shape[1]
    if not same_model(a.model, digest, b.model, b.model_digest) or sizes[0] != sizes[1]:
        raise MapError(
            f"Map {first.path} comes from model '{model_text(a.model, a.model_digest)}' "
            f"({sizes[0]} values), {other.path} from '{model_text(b.model, b.model_digest)}' "
            f"({sizes[1]} values). Keep two maps, or drive again with the model of the other."
        )
    kinds = feature_kinds(a), feature_kinds(b)
    if all(kinds) and kinds[0] != kinds[1]:
        raise MapError(
            f"Map {first.path} has local features of kind {'/'.join(sorted(kinds[0]))}, "
            f"{other.path} of kind {'/'.join(sorted(kinds[1]))}; they cannot be compared. Keep "
            "two maps, or drive again with the features.kind of the other."
        )


def _under(older: MapPart, newer: MapPart) -> MapPart:
    """Both in one: what only the older has comes first, or where its session goes on."""
    here = {place.id: place for place in newer.places}
    joined: dict[int, int] = {}  # sessions of the older that are in the newer, too
    rest = []
    for place in older.places:
        if place.id in here:
            _check_same(older, newer, place, here[place.id])
            joined.setdefault(place.session, here[place.id].session)
        else:
            rest.append(place)
    times = defaultdict[int, list[tuple[int, int]]](list)  # of the newer: stamp, row; by session
    for row, place in enumerate(newer.places):
        times[place.session].append((place.stamp_ns, row))
    for session in times.values():
        session.sort()
    # Each with where it goes, its source and its session.
    order = [(float(row), 0, 1, (1, p.session), p) for row, p in enumerate(newer.places)]
    for place in rest:
        if place.session not in joined:
            order.append((-1.0, 0, 0, (0, place.session), place))
            continue
        session = times[joined[place.session]]
        before = bisect.bisect(session, (place.stamp_ns, 0))
        at = session[before - 1][1] + 0.5 if before else session[0][1] - 0.5
        order.append((at, place.stamp_ns, 0, (1, joined[place.session]), place))
    sessions: dict[tuple[int, int], int] = {}
    shifts = [-MAX_SPAN, -MAX_SPAN]  # of the sequences of either
    places: list[Place] = []
    for _, _, source, label, place in sorted(order, key=lambda entry: entry[:2]):
        # What once lay between two keyframes still does: it says how near they are.
        free = places[-1].sequence + 1 if places else 0
        shifts[source] = max(shifts[source], free - place.sequence)
        number, session_number = (
            place.sequence + shifts[source],
            sessions.setdefault(label, len(sessions)),
        )
        places.append(dataclasses.replace(place, sequence=number, session=session_number))
    return MapPart(
        f"{older.source} or {newer.source}",
        places,
        older.descriptors | newer.descriptors,
        older.links | newer.links,
    )


def _check_same(older: MapPart, newer: MapPart, a: Place, b: Place) -> None:
    """Raise MapError unless two keyframes of one id are the same one."""
    differs = [
        name
        for name in ("stamp_ns", "sparsity", "frame", "pose", "pose_frame")
        if getattr(a, name) != getattr(b, name)
    ]
    rows = older.descriptors[a.id], newer.descriptors[a.id]
    if np.abs(rows[0] - rows[1]).max() > SAME_VALUE:
        differs.append("descriptor")
    if not _same_features(a.features, b.features):
        differs.append("features")
    if differs:
        raise MapError(
            f"Keyframe {a.id} is in {older.source} ({time_text(a.stamp_ns)}) and in "
            f"{newer.source} ({time_text(b.stamp_ns)}) with another {', '.join(differs)}: two "
            "robots gave one id. Leave one of the maps out."
        )


def _same_features(a: LocalFeatures | None, b: LocalFeatures | None) -> bool:
    """Whether they are equal as far as both go: a store may have cut those of one."""
    if a is None or b is None:
        return a is b
    count = min(len(a.keypoints), len(b.keypoints))
    return (
        a.pixel_size == b.pixel_size
        and np.array_equal(a.keypoints[:count], b.keypoints[:count])
        and np.array_equal(a.descriptors[:count], b.descriptors[:count])
    )
