# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a store of several robots' keyframes does; values in, values out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import ConfigError, FleetError
from vpr_ros.core.keyframe import Keyframe, run_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MAX_LINKS = 16  # of a keyframe
MAX_ID = 2**63  # a store has signed numbers
MAX_WEIGHTS = 300  # bytes


def check_name(what: str, name: str) -> str:
    """The name of a robot or map, if it may be one; raises ConfigError."""
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"The {what} '{name[:80]}' is no name: give 1 to 64 letters, digits, '_', '-' or '.', "
            "a letter or digit first."
        )
    return name


def weights_of(model: str, digest: str) -> str:
    """By what models are told apart in the fleet: the digest, else (unknown weights) the name.

    Raises FleetError for one that no store could keep or be asked for.
    """
    weights = digest or f"name:{model}"
    if not weights.isprintable() or len(weights.encode()) > MAX_WEIGHTS:
        raise FleetError(
            f"The model {weights[:40]!r} has a name that the fleet cannot keep: it has more than "
            f"{MAX_WEIGHTS} bytes, or control characters."
        )
    return weights


@dataclasses.dataclass(frozen=True)
class FleetKeyframe:
    """A keyframe, whose it is, and which others show the same place."""

    robot: str
    map: str
    keyframe: Keyframe
    links: tuple[int, ...] = ()  # ids of keyframes, of whatever robot, by closed loops
    payload: str = dataclasses.field(default="", compare=False)  # as it was read; empty: not yet

    @property
    def entry(self) -> Entry:
        """What is searched by."""
        k = self.keyframe
        weights = weights_of(k.model, k.model_digest)
        return Entry(k.id, self.robot, self.map, weights, run_of(k.id), k.stamp_ns)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A keyframe of the fleet without its descriptor and local features."""

    id: int
    robot: str
    map: str
    model: str  # see weights_of
    session: int  # run of an encoder, see run_of
    stamp_ns: int  # by the clock of its robot


@dataclasses.dataclass(frozen=True)
class Found:
    """An entry that a search returned."""

    entry: Entry
    score: float  # cosine


@dataclasses.dataclass(frozen=True)
class Where:
    """Which keyframes: those to which all that is given applies."""

    map: str = ""
    robot: str = ""
    model: str = ""  # see weights_of
    session: int | None = None
    without_sessions: tuple[int, ...] = ()
    since_ns: int | None = None  # stamp at least this
    before_ns: int | None = None  # stamp below this
    ids: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Health:
    """Whether the store answers."""

    ok: bool
    message: str  # one line: which server, how many keyframes; or what is wrong and the way out
    keyframes: int = 0


class Fleet(Protocol):
    """A store of keyframes by id; every method raises FleetError with one line."""

    def put(self, keyframes: Sequence[FleetKeyframe]) -> list[int]:
        """Add keyframes, or replace those of the same robot, id and stamp.

        On return they are safe from a kill of the server. Returns the ids that were left out,
        since another robot or another time has them already.
        """

    def find(
        self, descriptors: npt.NDArray[np.float32], count: int, where: Where
    ) -> list[list[Found]]:
        """For each of the descriptors (Q, D) the best `count`, best first; may miss the newest."""

    def entries(self, where: Where) -> Iterator[Entry]:
        """All entries, in order of id, what was put before included."""

    def get(self, ids: Sequence[int]) -> list[FleetKeyframe]:
        """The keyframes of those ids that are there, in order of id; damaged ones are left out."""

    def delete(self, where: Where) -> int:
        """Delete; returns how many there were. FleetError where nothing is given."""

    def count(self, where: Where) -> int:
        """How many there are, what was put before included."""

    def health(self) -> Health:
        """Never raises."""

    def close(self) -> None:
        """Release the connection; harmless if there is none."""
