# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Maps between files and the fleet: what is there already is not sent or fetched again."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import FleetError
from vpr_ros.core.keyframe import Keyframe, Place
from vpr_ros.core.map_data import MapData
from vpr_ros.core.map_file import SUFFIX, LoadedMap, Snapshot
from vpr_ros.core.map_merge import MapPart
from vpr_ros.fleet.fleet import MAX_LINKS, Entry, Fleet, FleetKeyframe, Where, check_name

BATCH = 100  # keyframes
SAVE_S = 60.0  # between two saves of what has been fetched so far
Step = Callable[[int, int], None]  # is told how many keyframes of how many are done


@dataclasses.dataclass(frozen=True)
class Pushed:
    """What became of the keyframes of a map."""

    sent: int
    known: int  # they were there already
    refused: list[int]  # ids that stand for other keyframes in the fleet


def push(loaded: LoadedMap, fleet: Fleet, map_name: str, robot: str, step: Step) -> Pushed:
    """Send the keyframes of a map that the fleet lacks; called again after a failure, it goes on.

    Raises FleetError, also if a keyframe is in another map of the fleet.
    """
    check_name("map", map_name)
    check_name("robot", robot)
    data, part = loaded.data, MapPart.of(loaded)
    links = defaultdict[int, list[int]](list)
    for a, b in sorted(part.links):
        links[a].append(b)
        links[b].append(a)
    sent, known, refused = 0, 0, list[int]()
    for start in range(0, len(part.places), BATCH):
        places = part.places[start : start + BATCH]
        there = {e.id: e for e in fleet.entries(Where(ids=tuple(p.id for p in places)))}
        batch = []
        for place in places:
            entry = there.get(place.id)
            if entry is None:
                keyframe = _keyframe(place, part.descriptors[place.id], data)
                near = tuple(links[place.id][-MAX_LINKS:])
                batch.append(FleetKeyframe(robot, map_name, keyframe, near))
            elif entry.stamp_ns != place.stamp_ns:
                refused.append(place.id)
            elif entry.map != map_name:
                raise FleetError(
                    f"Keyframe {place.id} of {loaded.path} is in map '{entry.map}' of the fleet, "
                    f"sent by robot '{entry.robot}'. Push to that map."
                )
            else:
                known += 1
        left_out = fleet.put(batch)
        refused += left_out
        sent += len(batch) - len(left_out)
        step(start + len(places), len(part.places))
    return Pushed(sent, known, refused)


def pull(fleet: Fleet, where: Where, path: Path, step: Step, overwrite: bool = False) -> Snapshot:
    """A map of the fleet, to be written to `path`; a run of an encoder becomes a session.

    `where` names the map, perhaps a robot, and the model if there are several: by its name, or by
    the beginning of its digest. What has come is saved beside the file now and then, and when the
    connection is lost, so that the next call goes on. Raises FleetError or MapError.
    """
    check_name("map", where.map)
    entries = list(fleet.entries(dataclasses.replace(where, model="")))
    models = {e.model for e in entries if e.model.removeprefix("name:").startswith(where.model)}
    if len(models) > 1:
        raise FleetError(
            f"Map '{where.map}' of the fleet has keyframes of {len(models)} models: "
            f"{', '.join(sorted(models))}. Name one with --model."
        )
    fetched = _Fetched({e.id: e for e in entries if e.model in models})
    partial = partial_path(path)
    if partial.exists():
        fetched.take_saved(LoadedMap.read(partial, float("inf")))
    missing, saved_s = fetched.missing(), time.monotonic()
    try:
        for start in range(0, len(missing), BATCH):
            fetched.take(fleet.get(missing[start : start + BATCH]))
            step(len(fetched.places), len(fetched.wanted))
            if time.monotonic() - saved_s > SAVE_S:
                fetched.snapshot(partial, overwrite=True).write()
                saved_s = time.monotonic()
    except BaseException:
        if fetched.places:
            fetched.snapshot(partial, overwrite=True).write()
        raise
    if not fetched.places:
        raise FleetError(
            f"The fleet has no such keyframes of map '{where.map}'. `vpr map list` shows what it "
            "has."
        )
    return fetched.snapshot(path, overwrite)


def partial_path(path: Path) -> Path:
    """Where `pull` keeps what has come so far."""
    return path.with_suffix(f".part{SUFFIX}")


def stored_maps(fleet: Fleet) -> list[tuple[tuple[str, str, str], list[Entry]]]:
    """The entries of the fleet by (map, model, robot), in order of these."""
    groups = defaultdict[tuple[str, str, str], list[Entry]](list)
    for entry in fleet.entries(Where()):
        groups[entry.map, entry.model.removeprefix("name:"), entry.robot].append(entry)
    return sorted(groups.items(), key=lambda group: group[0])


class _Fetched:
    """Keyframes of the fleet that are here."""

    def __init__(self, wanted: Mapping[int, Entry]) -> None:
        self.wanted = wanted
        self.places: dict[int, Place] = {}
        self._descriptors: dict[int, npt.NDArray[Any]] = {}
        self._links: set[tuple[int, int]] = set()
        self._model = "", ""

    def missing(self) -> list[int]:
        """The ids that are not here yet, in order."""
        return sorted(self.wanted.keys() - self.places.keys())

    def take(self, items: list[FleetKeyframe]) -> None:
        """Add what has come."""
        for item in items:
            keyframe = item.keyframe
            self.places[keyframe.id] = Place.of(keyframe, 0, 0)
            self._descriptors[keyframe.id] = keyframe.descriptor.astype(np.float16)
            self._links |= {(keyframe.id, other) for other in item.links}
            self._model = keyframe.model, keyframe.model_digest

    def take_saved(self, loaded: LoadedMap) -> None:
        """What an interrupted call left, as far as the fleet still has it."""
        part = MapPart.of(loaded)
        self.places = {p.id: p for p in part.places if p.id in self.wanted}
        self._descriptors, self._links = part.descriptors, part.links
        self._model = loaded.data.model, loaded.data.model_digest

    def snapshot(self, path: Path, overwrite: bool) -> Snapshot:
        """The map of them: sessions one after the other, each in order of its ids."""
        runs = defaultdict[tuple[str, int], list[Place]](list)
        for id in sorted(self.places):
            runs[self.wanted[id].robot, self.wanted[id].session].append(self.places[id])
        in_time = sorted(runs.values(), key=lambda run: run[0].stamp_ns)
        order = [(place, session) for session, run in enumerate(in_time) for place in run]
        places = [
            dataclasses.replace(place, sequence=number, session=session)
            for number, (place, session) in enumerate(order)
        ]
        part = MapPart("the fleet", places, self._descriptors, self._links)
        return part.snapshot(*self._model, np.float16, path, overwrite)


def _keyframe(place: Place, descriptor: npt.NDArray[Any], data: MapData) -> Keyframe:
    """The keyframe that a place of a map was made of."""
    row = descriptor.astype(np.float32)
    names = {field.name for field in dataclasses.fields(Keyframe)}
    kept = {name: value for name, value in vars(place).items() if name in names}
    return Keyframe(
        **kept,
        model=data.model,
        model_digest=data.model_digest,
        descriptor=row / np.linalg.norm(row),
    )
