# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The keyframes seen so far: exact search, bounded memory, saved as maps."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from collections.abc import Collection, Container, Iterable
from pathlib import Path
from typing import Any, ClassVar

import faiss
import numpy as np

from vpr_ros.core.config import Config, param
from vpr_ros.core.descriptor_index import DescriptorIndex, Vector, most_redundant
from vpr_ros.core.durable_file import absolute
from vpr_ros.core.errors import DescriptorError, KeyframeError, MapError
from vpr_ros.core.keyframe import NS_PER_S, Candidate, Keyframe, Place, run_of
from vpr_ros.core.map_data import MapData, check_keyframe, unpack, with_free_ids
from vpr_ros.core.map_file import KnownFiles, LoadedMap, Snapshot, note_file
from vpr_ros.core.model_digest import model_text, same_model
from vpr_ros.core.place_graph import PlaceGraph
from vpr_ros.core.recency import Run, Runs, first_recent


@dataclasses.dataclass(frozen=True)
class DatabaseConfig(Config):
    """How many keyframes are kept, and which are too recent to close a loop."""

    group: ClassVar[str] = "database"

    max_keyframes: int = param(
        10_000,
        "maximum number of keyframes; beyond it, the most redundant of the older half are evicted",
        minimum=4,
        maximum=1_000_000,
    )
    max_mb: int = param(
        2000,
        "maximum memory for keyframes with their local features; beyond it, as for max_keyframes",
        unit="MB",
        minimum=10,
        maximum=1_000_000,
    )
    exclude_recent_s: float = param(
        10.0,
        "keyframes younger than this are never candidates",
        unit="s",
        minimum=0.0,
        maximum=3600.0,
    )
    exclude_recent_keyframes: int = param(
        10, "this many of the newest keyframes are never candidates", minimum=1, maximum=10_000
    )
    precision: str = param(
        "float16",
        "storage format of the descriptors; the search is exhaustive with both",
        choices=("float16", "float32"),
        read_only=True,
    )


class Database:
    """Places in order of arrival, and a FAISS inner-product index of their descriptors."""

    def __init__(self, config: DatabaseConfig) -> None:
        """The first keyframe or map determines the model and the descriptor size."""
        self.config = config
        self.model: str | None = None
        self.model_digest = ""  # of its weights; empty: unknown, also in the map loaded last:
        self.taken_by_name = False
        self.evicted = 0
        self.graph = PlaceGraph()
        self._index: DescriptorIndex | None = None
        self._places: dict[int, Place] = {}  # by sequence
        self._order: list[int] = []  # sequences, rising
        self._sequence_of: dict[int, int] = {}  # by keyframe id
        self._next_sequence = 0
        self._runs = Runs()
        self._first_own = 0  # sequence of the first keyframe that is not of a loaded map
        self._checked: Keyframe | None = None  # the last one that met the schema
        self._bytes = 0  # of all keyframes
        self._revision = 0  # rises with every change
        self._files: KnownFiles = {}  # whose keyframes are all here or were evicted later

    def __len__(self) -> int:
        return len(self._order)

    @property
    def descriptor_size(self) -> int:
        """Values per descriptor; 0 before the first keyframe."""
        return 0 if self._index is None else self._index.size

    @property
    def holds_map(self) -> bool:
        """Whether the database contains keyframes of a loaded map."""
        return self._first_own > 0

    @property
    def session(self) -> int:
        """Number of the newest session: one run of an encoder during which its time rises."""
        return max(0, self._runs.newest_session)

    @property
    def bytes_per_keyframe(self) -> float:
        """Mean memory of one keyframe [bytes]: descriptor, features, bookkeeping."""
        return self._bytes / max(1, len(self))

    @property
    def max_bytes(self) -> float:
        """The most memory that the keyframes may take [bytes]."""
        return 1e6 * self.config.max_mb

    def check(self, keyframe: Keyframe) -> None:
        """Raise DescriptorError or KeyframeError unless `add` would take this keyframe."""
        if not self.is_of(keyframe.model, keyframe.model_digest):
            raise DescriptorError(
                f"Keyframe {keyframe.id} comes from model "
                f"'{model_text(keyframe.model, keyframe.model_digest)}', but the database holds "
                f"keyframes of '{self.model_text}'. Use one model."
            )
        self.check_descriptor(keyframe.descriptor)
        if keyframe.id in self._sequence_of:
            raise KeyframeError(f"Keyframe {keyframe.id} is already in the database: ignored.")
        if keyframe is not self._checked:
            check_keyframe(keyframe)
        self._checked = keyframe

    def is_of(self, model: str, digest: str) -> bool:
        """Whether descriptors of this model can be compared with the stored ones."""
        return self.model is None or same_model(model, digest, self.model, self.model_digest)

    @property
    def model_text(self) -> str:
        """The database's model in words."""
        return "no model yet" if self.model is None else model_text(self.model, self.model_digest)

    def check_descriptor(self, descriptor: Vector) -> None:
        """Raise DescriptorError unless the database can be searched with this descriptor."""
        if descriptor.ndim != 1 or descriptor.size == 0:
            raise DescriptorError(f"Descriptor has shape {descriptor.shape}; give (D,).")
        if self._index is not None and descriptor.size != self.descriptor_size:
            raise DescriptorError(
                f"Descriptor has {descriptor.size} values, but those in the database have "
                f"{self.descriptor_size} (model '{self.model}'). Use the same model for both."
            )
        norm = float(np.linalg.norm(descriptor))
        if not 0.99 < norm < 1.01:  # false for NaN as well
            raise DescriptorError(
                f"Descriptor has length {norm:g}; it must be finite and of unit length. "
                "Check the encoder."
            )

    def add(self, keyframe: Keyframe) -> Place:
        """Add a keyframe, possibly evicting others; raises the errors of `check`."""
        self.check(keyframe)
        run = self._observe(keyframe.stamp_ns, run_of(keyframe.id))
        place = Place.of(keyframe, self._next_sequence, run.begun(self._runs))
        if self._index is None:
            self._index = DescriptorIndex(keyframe.descriptor.size, self.config.precision)
            self.model = keyframe.model
        self.shrink(1, place.nbytes + self._index.row_bytes)
        # A map of unknown weights was taken by its name; from here on they are known.
        self.model_digest = self.model_digest or keyframe.model_digest
        self._index.add(keyframe.descriptor[np.newaxis], np.array([place.sequence], np.int64))
        self._insert(place)
        self._runs.add(run_of(keyframe.id), run, place.sequence, place.stamp_ns)
        return place

    def shrink(self, more: int = 0, more_bytes: int = 0) -> None:
        """Evict keyframes until `more` keyframes of `more_bytes` in total fit into the bounds."""
        while self._bytes:
            excess = len(self) + more - self.config.max_keyframes
            excess_bytes = self._bytes + more_bytes - self.max_bytes
            if excess <= 0 and excess_bytes <= 0:
                break
            # One per cent at least, because removing from the index moves everything behind it.
            by_size = math.ceil(excess_bytes / self.bytes_per_keyframe)
            self._evict(max(excess, by_size, len(self) // 100, 1))

    def get(self, id: int) -> Place | None:
        """The place of a keyframe id; None if it is unknown or evicted."""
        sequence = self._sequence_of.get(id)
        return None if sequence is None else self._places[sequence]

    def descriptors(self, places: Iterable[Place]) -> Vector:
        """The stored descriptors (N, D), rounded to the storage precision."""
        assert self._index is not None
        return self._index.descriptors(p.sequence for p in places)

    def neighbours(self, place: Place, reach: int) -> list[Place]:
        """The keyframes of a place's session at most `reach` before or after it, by sequence."""
        first, session = place.sequence - reach, place.session
        near = map(self._places.get, range(first, first + 2 * reach + 1))
        return [p for p in near if p is not None and p.session == session]

    def search_older(
        self,
        descriptor: Vector,
        stamp_ns: int,
        count: int,
        without: Collection[int] = (),
        run: int = 0,
    ) -> list[Candidate]:
        """The best places that are not too recent to be a loop of this `run`, best first.

        Recent places, and the sequence numbers in `without`, are excluded within the search:
        filtered from its results, they would crowd out the true loop.
        """
        recent = self._first_recent(stamp_ns, run)
        older: Any = faiss.IDSelectorRange(0, recent)
        if foreign := self._foreign(recent, run):
            older = faiss.IDSelectorOr(older, faiss.IDSelectorBatch(np.array(foreign, np.int64)))
        if without:
            gone = faiss.IDSelectorBatch(np.array(sorted(without), np.int64))
            older = faiss.IDSelectorAnd(older, faiss.IDSelectorNot(gone))
        return self._search(descriptor, count, older)

    def background(self, descriptor: Vector, stamp_ns: int, run: int = 0) -> float:
        """DescriptorIndex.background over the places that are not recent for this `run`."""
        older = self._order[: bisect.bisect_left(self._order, self._first_recent(stamp_ns, run))]
        return 1.0 if self._index is None else self._index.background(descriptor, older)

    def search_elsewhere(self, place: Place, count: int) -> list[Candidate]:
        """The best places for a stored keyframe, without itself and its neighbours in time."""
        reach = self.config.exclude_recent_keyframes
        near = faiss.IDSelectorRange(place.sequence - reach, place.sequence + reach + 1)
        return self._search(self.descriptors([place])[0], count, faiss.IDSelectorNot(near))

    def search(self, descriptor: Vector, count: int) -> list[Candidate]:
        """The best of all places, best first."""
        return self._search(descriptor, count, faiss.IDSelectorAll())

    def is_file(self, path: Path) -> bool:
        """Whether this is a map file that was saved or loaded here."""
        return absolute(path) in self._files

    def is_saved(self, path: Path) -> bool:
        """Whether a map file saved or loaded here has everything that `save` would write."""
        return not self._order or self._files.get(absolute(path), (None, -1))[1] == self._revision

    def snapshot(self, path: Path, overwrite: bool = False) -> Snapshot:
        """What `save` would write now; raises MapError if there are no keyframes."""
        path = absolute(path)
        if not self._order:
            raise MapError(f"There are no keyframes yet, so map {path} was not written.")
        assert self._index is not None
        return Snapshot(
            path=path,
            overwrite=overwrite,
            model=self.model or "",
            model_digest=self.model_digest,
            places=[self._places[s] for s in self._order],
            descriptors=self._index.stored(),
            links=self.graph.links(),
            revision=self._revision,
            files=self._files,
        )

    def save(self, path: Path, overwrite: bool = False) -> int:
        """Write the map; returns its size [bytes].

        Raises MapError if it cannot be written, or if it would replace a file that this database
        neither saved nor loaded (unless `overwrite` is set and that file is a map).
        """
        return self.snapshot(path, overwrite).write().size

    def load(self, path: Path, replace: bool = False) -> int:
        """Read a map and `merge` it; if either raises MapError, the database is unchanged."""
        return self.merge(LoadedMap.read(path, self.max_bytes), replace)

    def merge(self, loaded: LoadedMap, replace: bool = False) -> int:
        """Add the keyframes of a map; returns their number.

        Keyframes already in the database stay, as the newer ones, unless `replace` is set. Raises
        MapError if the map was made with another model; the database is then unchanged.
        """
        path, data = loaded.path, loaded.data
        keep = bool(self._order) and not replace
        size = data.descriptors.shape[1]
        same = self.is_of(data.model, data.model_digest) and size == self.descriptor_size
        if keep and not same:
            raise MapError(
                f"Map {path} comes from model '{model_text(data.model, data.model_digest)}' "
                f"({size} values), but the database holds '{self.model_text}' "
                f"({self.descriptor_size}). Use the map's model, or load the map with replace."
            )
        if keep:
            data = with_free_ids(data, {p.id: p.stamp_ns for p in self._places.values()})
        current = self.snapshot(path).pack() if keep else None
        fresh = Database(self.config)
        fresh._append(data, without=self._sequence_of if keep else ())
        fresh._first_own = fresh._next_sequence
        if current is not None:
            fresh._runs = self._runs.moved(*fresh._append(current))
        for source in (data, current):
            if source is not None:
                fresh._link_as(source)
        fresh.shrink()
        fresh.taken_by_name = not data.model_digest
        fresh._revision += self._revision + 1
        fresh._files = self._files if keep else {}  # a save in progress notes it in the old one
        if not fresh.evicted:  # else saving it would lose keyframes that are only in the file
            note_file(fresh._files, path, loaded.stamp, fresh._revision - int(keep))
        self.__dict__.update(fresh.__dict__, evicted=self.evicted + fresh.evicted)
        return len(data.ids)

    def _search(self, descriptor: Vector, count: int, selector: Any) -> list[Candidate]:
        self.check_descriptor(descriptor)
        if self._index is None:
            return []
        found = self._index.search(descriptor, min(count, len(self)), selector)
        return [Candidate(self._places[sequence], score) for sequence, score in found]

    def _first_recent(self, stamp_ns: int, run: int) -> int:
        """The lowest sequence, of a run or before it began, that counts as recent for it."""
        known = self._observe(stamp_ns, run)
        newest = itertools.takewhile(lambda s: s >= self._first_own, reversed(self._order))
        first = first_recent(
            stamp_ns,
            known.session,
            (
                (p.sequence, p.session, p.stamp_ns)
                for p in map(self._places.__getitem__, newest)
                if p.sequence < known.first or run_of(p.id) == run
            ),
            int(self.config.exclude_recent_s * NS_PER_S),
            self.config.exclude_recent_keyframes,
        )
        return self._next_sequence if first is None else first

    def _foreign(self, recent: int, run: int) -> list[int]:
        """What other runs added after this run began, from the sequence `recent` on."""
        began = max(recent, self._runs.get(run, self._next_sequence).first)
        newer = itertools.takewhile(lambda s: s >= began, reversed(self._order))
        return [s for s in newer if run_of(self._places[s].id) != run]

    def _observe(self, stamp_ns: int, number: int) -> Run:
        """The run, which goes on at this time or starts anew."""
        run = self._runs.get(number, self._next_sequence)
        for sequence in self._places.keys() & run.observe(stamp_ns, self._runs):
            place = dataclasses.replace(self._places[sequence], session=run.session)
            self.graph.add(place)
            self._places[sequence] = place
        return run

    def _insert(self, place: Place) -> None:
        assert self._index is not None
        self._places[place.sequence] = place
        self._order.append(place.sequence)
        self._sequence_of[place.id] = place.sequence
        self._next_sequence = place.sequence + 1
        self._bytes += place.nbytes + self._index.row_bytes
        self._revision += 1
        self.graph.add(place)

    def _evict(self, wanted: int) -> None:
        """Drop the `wanted` most redundant keyframes of the older half, if it has so many."""
        assert self._index is not None
        older = self._order[: max(2, len(self) // 2)]
        # The index keeps the order of arrival, so position i there is order[i] here.
        gone = {older[i] for i in most_redundant(self._index.first(len(older)), wanted)}
        self._index.remove(gone)
        self._order = [s for s in self._order if s not in gone]
        self.graph.remove(gone)
        for sequence in gone:
            place = self._places.pop(sequence)
            del self._sequence_of[place.id]
            self._bytes -= place.nbytes + self._index.row_bytes
        self.evicted += len(gone)
        self._revision += 1

    def _append(self, data: MapData, without: Container[int] = ()) -> tuple[int, int]:
        """Append a map's keyframes but for these ids; by how much sequence and session rise."""
        if self._index is None:
            self._index = DescriptorIndex(data.descriptors.shape[1], self.config.precision)
            self.model = data.model
        self.model_digest = self.model_digest or data.model_digest
        shift = self._next_sequence - int(data.sequence[0])
        session = self._runs.newest_session + 1 - int(data.sessions.min())
        new = np.array([int(id) not in without for id in data.ids])
        self._index.add(data.descriptors[new], data.sequence[new] + shift)
        for place in unpack(data, np.flatnonzero(new), shift, session):
            self._insert(place)
        self._runs.newest_session = int(data.sessions.max()) + session
        return shift, session

    def _link_as(self, data: MapData) -> None:
        """Add a map's links, matched by the ids of its keyframes."""
        places = zip(data.sequence.tolist(), data.ids.tolist(), strict=True)
        here = {old: self._sequence_of[id] for old, id in places}
        for a, b in data.links.tolist():
            if a in here and b in here:
                self.graph.link(self._places[here[a]], self._places[here[b]])
