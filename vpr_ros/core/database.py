# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The keyframes seen so far: exact search, bounded memory, saved as maps."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Collection, Container
from pathlib import Path
from typing import Any, ClassVar

import faiss
import numpy as np

from vpr_ros.core.config import Config, param
from vpr_ros.core.descriptor_index import Vector, most_redundant, new_index
from vpr_ros.core.errors import DescriptorError, MapError
from vpr_ros.core.keyframe import NS_PER_S, Candidate, Keyframe, Place
from vpr_ros.core.map_file import MapData, pack, read_map, unpack, with_free_ids, write_map
from vpr_ros.core.model_digest import model_text, same_model
from vpr_ros.core.place_graph import PlaceGraph
from vpr_ros.core.recency import SESSION_WITNESSES, first_recent, session_has_ended

_LAST = np.iinfo(np.int64).max

# A second thread does not speed up single queries, and OpenMP's threads spin: next to a busy
# camera driver a search took 20 ms instead of 0.04 ms (20 keyframes, 2 cores).
faiss.omp_set_num_threads(1)


@dataclasses.dataclass(frozen=True)
class DatabaseConfig(Config):
    """How many keyframes are kept, and which are too recent to be a loop."""

    group: ClassVar[str] = "database"

    max_keyframes: int = param(
        10_000,
        "most keyframes kept; beyond, the most redundant ones of the older half are evicted",
        minimum=4,
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
        10, "the most recent N keyframes are never candidates", minimum=1, maximum=10_000
    )
    precision: str = param(
        "float16",
        "storage of descriptors; the search is exhaustive with both",
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
        self._index: Any = None  # faiss.IndexIDMap2; FAISS has no usable types
        self._places: dict[int, Place] = {}  # by sequence
        self._order: list[int] = []  # sequences, rising
        self._sequence_of: dict[int, int] = {}  # by keyframe id
        self._next_sequence = 0
        self._session = 0
        self._interrupted_ns: list[int] = []  # last stamps of the session before, if time stepped
        self._first_own = 0  # sequence of the first keyframe that is not of a loaded map
        self._file: Path | None = None  # the map this database was saved to or loaded from

    def __len__(self) -> int:
        return len(self._order)

    @property
    def descriptor_size(self) -> int:
        """Values per descriptor; 0 before the first keyframe."""
        return 0 if self._index is None else int(self._index.d)

    @property
    def session(self) -> int:
        """Number of the current session; time rises within one."""
        return self._session

    @property
    def bytes_per_keyframe(self) -> float:
        """Mean memory of one keyframe [bytes]: descriptor, features, bookkeeping."""
        if not self._places:
            return 0.0
        descriptor = self.descriptor_size * np.dtype(self.config.precision).itemsize
        return descriptor + sum(p.nbytes for p in self._places.values()) / len(self)

    def check(self, keyframe: Keyframe) -> None:
        """Raise DescriptorError unless `add` would take this keyframe."""
        if not self.is_of(keyframe.model, keyframe.model_digest):
            raise DescriptorError(
                f"Keyframe {keyframe.id} comes from model "
                f"'{model_text(keyframe.model, keyframe.model_digest)}', but the database holds "
                f"keyframes of '{self.model_text}'. Use one model."
            )
        self.check_descriptor(keyframe.descriptor)
        if keyframe.id in self._sequence_of:
            raise DescriptorError(
                f"Keyframe {keyframe.id} is already in the database and was ignored."
            )

    def is_of(self, model: str, digest: str) -> bool:
        """Whether descriptors of this model can be compared with those here."""
        return self.model is None or same_model(model, digest, self.model, self.model_digest)

    @property
    def model_text(self) -> str:
        """The model in words."""
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

    def observe_time(self, stamp_ns: int) -> None:
        """Start a new session if time has stepped back; end it if only single stamps had."""
        last = self._last_of_session()
        if session_has_ended(stamp_ns, [place.stamp_ns for place in last]):
            self._interrupted_ns = [place.stamp_ns for place in last]
            self._session += 1
        elif (
            self._interrupted_ns
            and len(last) < SESSION_WITNESSES
            and not session_has_ended(stamp_ns, self._interrupted_ns)
        ):
            self._session -= 1
            self._interrupted_ns = []
            for place in last:
                self._places[place.sequence] = dataclasses.replace(place, session=self._session)
                self.graph.add(self._places[place.sequence])

    def add(self, keyframe: Keyframe) -> Place:
        """Add a keyframe, possibly evicting others; raises DescriptorError as `check` does."""
        self.check(keyframe)
        self.observe_time(keyframe.stamp_ns)
        if len(self) >= self.config.max_keyframes:
            self._evict()
        if self._index is None:
            self._index = new_index(keyframe.descriptor.size, self.config.precision)
            self.model = keyframe.model
        # A map of unknown weights was taken by its name; from here on they are known.
        self.model_digest = self.model_digest or keyframe.model_digest
        place = Place(
            sequence=self._next_sequence,
            session=self._session,
            id=keyframe.id,
            stamp_ns=keyframe.stamp_ns,
            sparsity=keyframe.sparsity,
            frame=keyframe.frame,
            pose=keyframe.pose,
            pose_frame=keyframe.pose_frame,
            features=keyframe.features,
        )
        self._index.add_with_ids(
            keyframe.descriptor[np.newaxis], np.array([place.sequence], np.int64)
        )
        self._insert(place)
        return place

    def get(self, id: int) -> Place | None:
        """The place of a keyframe id; None if it is unknown or evicted."""
        sequence = self._sequence_of.get(id)
        return None if sequence is None else self._places[sequence]

    def descriptor(self, place: Place) -> Vector:
        """The stored descriptor (D,), rounded to the storage precision."""
        assert self._index is not None
        vector: Vector = self._index.reconstruct(place.sequence)
        return vector

    def neighbours(self, place: Place, reach: int) -> list[Place]:
        """The keyframes of a place's session at most `reach` before or after it, by sequence."""
        near = (
            self._places.get(s) for s in range(place.sequence - reach, place.sequence + reach + 1)
        )
        return [p for p in near if p is not None and p.session == place.session]

    def search_older(
        self, descriptor: Vector, stamp_ns: int, count: int, without: Collection[int] = ()
    ) -> list[Candidate]:
        """The best places that are not too recent to be a loop, best first.

        Recent ones, and the sequence numbers in `without`, are excluded within the search: they
        would crowd out the true loop if they were filtered from its results, for instance after
        standing still.
        """
        older = faiss.IDSelectorRange(0, self._first_recent(stamp_ns))
        if not without:
            return self._search(descriptor, count, older)
        gone = faiss.IDSelectorBatch(np.array(sorted(without), np.int64))
        kept = faiss.IDSelectorNot(gone)
        return self._search(descriptor, count, faiss.IDSelectorAnd(older, kept))

    def search_elsewhere(self, place: Place, count: int) -> list[Candidate]:
        """The best places for a stored keyframe, without itself and its neighbours in time."""
        reach = self.config.exclude_recent_keyframes
        near = faiss.IDSelectorRange(place.sequence - reach, place.sequence + reach + 1)
        return self._search(self.descriptor(place), count, faiss.IDSelectorNot(near))

    def search(self, descriptor: Vector, count: int) -> list[Candidate]:
        """The best of all places, best first."""
        return self._search(descriptor, count, faiss.IDSelectorRange(0, _LAST))

    def is_file(self, path: Path) -> bool:
        """Whether this is the map file that was saved or loaded last."""
        return _absolute(path) == self._file

    def save(self, path: Path, overwrite: bool = False) -> int:
        """Write the map; returns its size [bytes].

        Raises MapError if it cannot be written, or would replace a map that this database
        neither saved nor loaded (unless `overwrite`).
        """
        path = _absolute(path)
        if not self._order:
            raise MapError(f"There are no keyframes yet, so map {path} was not written.")
        if os.path.exists(path) and path != self._file and not overwrite:
            raise MapError(
                f"Map {path} exists and was neither loaded nor saved here. Load it first, choose "
                "another name, or set overwrite."
            )
        size = write_map(path, self._to_map())
        self._file = path
        return size

    def load(self, path: Path, replace: bool = False) -> int:
        """Read a map; returns its number of keyframes.

        Keyframes already in the database stay, as the newer ones, unless `replace` is set. Raises
        MapError if the map is missing, damaged or made with another model; the database is then
        unchanged.
        """
        path = _absolute(path)
        data = read_map(path)
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
        current = self._to_map() if keep else None
        fresh = Database(self.config)
        fresh._append(data, without=self._sequence_of if keep else ())
        fresh._session += 1
        fresh._first_own = fresh._next_sequence
        if current is not None:
            fresh._append(current)
        for source in (data, current):
            if source is not None:
                fresh._link_as(source)
        while len(fresh) > self.config.max_keyframes:
            fresh._evict()
        fresh.taken_by_name = not data.model_digest
        self.__dict__.update(fresh.__dict__, evicted=self.evicted + fresh.evicted, _file=path)
        return len(data.ids)

    def _search(self, descriptor: Vector, count: int, selector: Any) -> list[Candidate]:
        self.check_descriptor(descriptor)
        if self._index is None:
            return []
        parameters: Any = faiss.SearchParameters
        scores, sequences = self._index.search(
            descriptor[np.newaxis],
            min(count, len(self)),
            params=parameters(sel=selector),
        )
        return [
            Candidate(self._places[int(sequence)], float(score))
            for sequence, score in zip(sequences[0], scores[0], strict=True)
            if sequence >= 0
        ]

    def _first_recent(self, stamp_ns: int) -> int:
        """The lowest sequence that counts as recent at `stamp_ns`, as do all after it."""
        self.observe_time(stamp_ns)
        own = itertools.takewhile(lambda s: s >= self._first_own, reversed(self._order))
        places = (self._places[sequence] for sequence in own)
        first = first_recent(
            stamp_ns,
            self._session,
            ((p.sequence, p.session, p.stamp_ns) for p in places),
            int(self.config.exclude_recent_s * NS_PER_S),
            self.config.exclude_recent_keyframes,
        )
        return self._next_sequence if first is None else first

    def _last_of_session(self) -> list[Place]:
        last = (self._places[s] for s in self._order[-SESSION_WITNESSES:])
        return [place for place in last if place.session == self._session]

    def _insert(self, place: Place) -> None:
        self._places[place.sequence] = place
        self._order.append(place.sequence)
        self._sequence_of[place.id] = place.sequence
        self._next_sequence = place.sequence + 1
        self.graph.add(place)

    def _evict(self) -> None:
        """Drop the most redundant keyframes of the older half: those most like the one before.

        One per cent at a time, because removing from the index moves everything behind it.
        """
        assert self._index is not None
        older = self._order[: max(2, len(self) // 2)]
        # The index keeps the order of arrival, so position i there is order[i] here.
        rows = faiss.downcast_index(self._index.index).reconstruct_n(0, len(older))
        wanted = max(1, self.config.max_keyframes // 100)
        gone = {older[position] for position in most_redundant(rows, wanted)}
        self._index.remove_ids(np.array(sorted(gone), np.int64))
        self._order = [s for s in self._order if s not in gone]
        self.graph.remove(gone)
        for sequence in gone:
            del self._sequence_of[self._places.pop(sequence).id]
        self.evicted += len(gone)

    def _to_map(self) -> MapData:
        places = [self._places[s] for s in self._order]
        rows = np.array([self.descriptor(p) for p in places], self.config.precision)
        return pack(
            self.model or "",
            places,
            rows.reshape(len(places), -1),
            self.graph.links(),
            self.model_digest,
        )

    def _append(self, data: MapData, without: Container[int] = ()) -> None:
        """Append a map's keyframes, except for the ids in `without`."""
        if self._index is None:
            self._index = new_index(data.descriptors.shape[1], self.config.precision)
            self.model = data.model
        self.model_digest = self.model_digest or data.model_digest
        shift = self._next_sequence - int(data.sequence[0])
        session = self._session - int(data.sessions[0])
        new = np.array([int(id) not in without for id in data.ids])
        self._index.add_with_ids(
            np.ascontiguousarray(data.descriptors[new], np.float32), data.sequence[new] + shift
        )
        for place in unpack(data, np.flatnonzero(new)):
            self._insert(
                dataclasses.replace(
                    place, sequence=place.sequence + shift, session=place.session + session
                )
            )
        self._session = int(data.sessions[-1]) + session

    def _link_as(self, data: MapData) -> None:
        """Add a map's links, matched by the ids of its keyframes."""
        places = zip(data.sequence.tolist(), data.ids.tolist(), strict=True)
        here = {old: self._sequence_of[id] for old, id in places}
        for a, b in data.links.tolist():
            if a in here and b in here:
                self.graph.link(self._places[here[a]], self._places[here[b]])


def _absolute(path: Path) -> Path:
    """The absolute path, `~` expanded; unlike Path.expanduser this never raises."""
    return Path(os.path.expanduser(path)).absolute()
