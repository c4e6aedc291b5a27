# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keyframes on disk that wait to be sent: neither a kill nor days without a network lose any."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vpr_ros.core.errors import FleetError
from vpr_ros.fleet.fleet import Entry, FleetKeyframe
from vpr_ros.fleet.payload import decode, encode

MAX_SESSIONS = 1000  # of this robot that are remembered
TABLES = (
    "CREATE TABLE IF NOT EXISTS keyframes (number INTEGER PRIMARY KEY AUTOINCREMENT, "
    "id INTEGER UNIQUE, bytes INTEGER, entry TEXT, payload TEXT, descriptor BLOB)",
    "CREATE TABLE IF NOT EXISTS sessions (number INTEGER PRIMARY KEY, session INTEGER UNIQUE)",
)
OLDEST = "SELECT number, bytes FROM keyframes ORDER BY number LIMIT 1"
FORGET_SESSIONS = "DELETE FROM sessions WHERE number <= (SELECT MAX(number) FROM sessions) - ?"
SIZE = "SELECT COUNT(*), TOTAL(bytes) FROM keyframes"


class Outbox:
    """A bounded queue in an SQLite file; several threads may use it, one process at a time."""

    def __init__(self, path: Path, max_mb: float) -> None:
        """Open or make the file; one that is no outbox is set aside, see `note`.

        Raises FleetError if it cannot be written, or is another process's.
        """
        self.path = path
        self.max_mb = max_mb
        self.dropped = 0  # oldest keyframes, for want of room
        self.note = ""
        self._lock = threading.Lock()
        with self._said():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = self._opened()
            except sqlite3.OperationalError:  # locked, read-only: the file is not to blame
                raise
            except sqlite3.DatabaseError as error:
                aside = next(p for n in range(1000) if not (p := Path(f"{path}.{n}")).exists())
                path.rename(aside)
                self.note = f"{path} was no outbox ({error}); it is kept as {aside}."
                self._db = self._opened()
            count, size = self._db.execute(SIZE).fetchone()
        self._count, self._bytes = int(count), float(size)

    def __len__(self) -> int:
        return self._count

    @property
    def megabytes(self) -> float:
        """What waits takes."""
        return self._bytes / 1e6

    def add(self, item: FleetKeyframe) -> None:
        """Take a keyframe, in place of one with its id; FleetError if the disk does not."""
        payload, entry = encode(item), json.dumps(dataclasses.asdict(item.entry))
        descriptor = item.keyframe.descriptor.astype("<f4").tobytes()
        size = len(payload) + len(entry) + len(descriptor)
        row = item.keyframe.id, size, entry, payload, descriptor
        with self._said(), self._lock:
            with self._db as db:
                count, total, dropped = self._count + 1, self._bytes + size, 0
                known = db.execute("SELECT bytes FROM keyframes WHERE id = ?", row[:1]).fetchone()
                if known:
                    count, total = count - 1, total - known[0]
                db.execute(
                    "INSERT OR REPLACE INTO keyframes (id, bytes, entry, payload, descriptor) "
                    "VALUES (?, ?, ?, ?, ?)",
                    row,
                )
                db.execute(
                    "INSERT OR IGNORE INTO sessions (session) VALUES (?)", (item.entry.session,)
                )
                db.execute(FORGET_SESSIONS, (MAX_SESSIONS,))
                while total > 1e6 * self.max_mb and count > 1:
                    number, least = db.execute(OLDEST).fetchone()
                    db.execute("DELETE FROM keyframes WHERE number = ?", (number,))
                    count, total, dropped = count - 1, total - least, dropped + 1
            self._count, self._bytes = count, total
            self.dropped += dropped

    def first(self, count: int, size: int = 0) -> dict[int, FleetKeyframe]:
        """The oldest keyframes, by the number that `remove` takes; damaged ones are dropped.

        With `size` only those whose descriptor has so many values: others may be of a model that
        ran here before, and must not be in the way.
        """
        with self._said(), self._lock:
            rows = self._db.execute(
                "SELECT number, entry, payload, descriptor FROM keyframes "
                "WHERE ? IN (0, LENGTH(descriptor)) ORDER BY number LIMIT ?",
                (4 * size, count),
            ).fetchall()
        found = {}
        for number, text, payload, descriptor in rows:
            try:
                entry = Entry(**json.loads(text))
                found[number] = decode(entry, payload, np.frombuffer(descriptor, "<f4"))
            except (FleetError, TypeError, ValueError):
                self.remove([number])
                self.dropped += 1
        return found

    def remove(self, numbers: Collection[int]) -> None:
        """Forget what was sent; one that was replaced meanwhile has another number and stays."""
        gone = ", ".join(str(int(number)) for number in numbers)
        with self._said(), self._lock:
            with self._db as db:
                count, size = db.execute(f"{SIZE} WHERE number IN ({gone})").fetchone()
                db.execute(f"DELETE FROM keyframes WHERE number IN ({gone})")
            self._count, self._bytes = self._count - count, self._bytes - size

    def sessions(self) -> tuple[int, ...]:
        """The newest sessions whose keyframes passed through here."""
        with self._said(), self._lock:
            rows = self._db.execute(
                "SELECT session FROM sessions ORDER BY number DESC LIMIT ?", (MAX_SESSIONS,)
            )
            return tuple(row[0] for row in rows)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, check_same_thread=False, timeout=1.0)
        try:
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")  # survives a power cut, too
            with db:
                for table in TABLES:
                    db.execute(table)
                db.execute("SELECT number, id, bytes, entry, payload, descriptor FROM keyframes")
                db.execute("DELETE FROM sessions WHERE session IS NULL")  # takes the lock
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            full = any(word in str(error) for word in ("is full", "No space", "I/O error"))
            way = (
                "Make room there; what the fleet missed can be sent by `vpr map push` later."
                if full
                else "Set fleet.outbox to another file."
            )
            raise FleetError(f"The outbox {self.path} cannot be used: {error}. {way}") from None
