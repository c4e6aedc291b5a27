# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The maps of the database node: loaded and saved on request, from time to time, and at exit."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.task import Future

from vpr_msgs.srv import LoadMap, SaveMap
from vpr_ros.core.config import Config, param
from vpr_ros.core.database import Database
from vpr_ros.core.durable_file import absolute, file_stamp
from vpr_ros.core.errors import MapError
from vpr_ros.core.loop_detector import LoopDetector
from vpr_ros.core.map_file import LoadedMap, map_path
from vpr_ros.nodes.guarded_node import GuardedNode

MAX_WAITING = 4  # saves and loads
SLOW_S = 60.0  # a save that takes longer is told
LEAST_PAUSE = 10  # between saves to slow storage, by the time that one takes


@dataclasses.dataclass(frozen=True)
class MapConfig(Config):
    """Where maps are kept, and when they are saved."""

    map: str = param(
        "",
        "map to load at startup, if it exists, and to save at intervals and at exit: a name in "
        "map_folder or a path",
        read_only=True,
    )
    map_folder: str = param(
        "",
        "folder in which save_map and load_map find maps by name; empty: vpr_ros/maps in "
        "$XDG_DATA_HOME or ~/.local/share",
        read_only=True,
    )
    map_save_interval_s: float = param(
        300.0,
        "time between saves of `map`, which write the whole file if anything has changed; 0: "
        "only at exit",
        unit="s",
        minimum=0.0,
        maximum=86_400.0,
    )
    map_mismatch: str = param(
        "refuse",
        "keyframes of a model other than the map's: refuse only answers them; new starts a "
        "second database for them and leaves the map and its file unchanged",
        choices=("refuse", "new"),
    )

    @property
    def folder(self) -> Path:
        """The folder of maps."""
        data = os.environ.get("XDG_DATA_HOME", "") or "~/.local/share"
        return absolute(Path(self.map_folder or os.path.join(data, "vpr_ros", "maps")))

    @property
    def own_map(self) -> Path | None:
        """The file of the parameter `map`; who starts the node may have it anywhere."""
        if not self.map:
            return None
        if "/" not in self.map and not self.map.startswith("~"):
            return map_path(self.folder, self.map)
        return Path(os.path.realpath(absolute(Path(self.map))))


class MapKeeper:
    """Reads and writes maps in a thread of its own, so that keyframes need not wait."""

    def __init__(
        self,
        node: GuardedNode,
        config: Callable[[], MapConfig],
        detectors: Sequence[LoopDetector],
        in_use: Callable[[], LoopDetector],
    ) -> None:
        """Load the map of the node, if there is one, and offer the services."""
        self._node = node
        self._config = config
        self._detectors = detectors  # one per model
        self._in_use = in_use
        self._thread = ThreadPoolExecutor(1, "maps")
        self._waiting = 0
        self._path = config().own_map
        self._saving = math.inf  # since when, monotonic
        self._pause_s = 0.0
        self._tried_s = time.monotonic()
        self._trouble = ""
        self._load_at_start()
        group = ReentrantCallbackGroup()  # so that keyframes are handled during a save
        node.create_service(SaveMap, "save_map", self._save_map, callback_group=group)
        node.create_service(LoadMap, "load_map", self._load_map, callback_group=group)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(0.5, self._save_in_time, callback_group=group, clock=steady)

    @property
    def trouble(self) -> str:
        """Why the map of the node is not loaded or not saved; empty if all is well."""
        return slow_save(self._path, self._saving) or self._trouble

    def finish(self) -> None:
        """Wait for saves in progress, then save the map of the node if anything has changed."""
        self._thread.shutdown()
        database = self._owner()
        if self._path is not None and not database.is_saved(self._path):
            database.save(self._path)
            self._log(f"saved {len(database)} keyframes to {self._path} at exit")

    async def _save_map(
        self, request: SaveMap.Request, response: SaveMap.Response
    ) -> SaveMap.Response:
        path, database = self._named(request.path), self._in_use().database
        self._spare(path, database)
        snapshot = database.snapshot(path, request.overwrite)
        response.bytes = (await self._later(snapshot.write)).size
        response.path, response.keyframes = str(path), len(snapshot.places)
        response.success = True
        response.message = f"saved {response.keyframes} keyframes to {path}"
        self._succeeded(path, response.message)
        return response

    async def _load_map(
        self, request: LoadMap.Request, response: LoadMap.Response
    ) -> LoadMap.Response:
        path, detector = self._named(request.path), self._in_use()
        loaded = await self._later(LoadedMap.read, path, detector.database.max_bytes)
        evicted = detector.database.evicted
        response.keyframes = detector.database.merge(loaded, request.replace)
        detector.reset()
        response.success = True
        response.message = self._loaded(path, response.keyframes, detector.database, evicted)
        self._succeeded(path, response.message)
        return response

    async def _save_in_time(self) -> None:
        """Save the map of the node if it is time, and if there is anything to save."""
        now, interval_s = time.monotonic(), self._config().map_save_interval_s
        waited = now - self._tried_s > max(interval_s, self._pause_s)
        if self._path is None or self._saving < math.inf or not interval_s or not waited:
            return
        database = self._owner()
        if database.is_saved(self._path):
            return
        self._saving = now
        try:
            await self._later(database.snapshot(self._path).write)
            self._trouble = ""
        except MapError as error:
            self._trouble = str(error)
            raise
        finally:
            self._saving, self._tried_s = math.inf, time.monotonic()
            self._pause_s = LEAST_PAUSE * (self._tried_s - now)

    def _load_at_start(self) -> None:
        if self._path is None:
            return
        database = self._in_use().database
        try:
            if file_stamp(self._path) is None:
                self._log(f"Map {self._path} does not exist yet; it will be created")
                return
            count = database.load(self._path)
        except MapError as error:
            self._trouble = str(error)
            self._node.problems.add(error)
            return
        self._log(self._loaded(self._path, count, database))

    def _owner(self) -> Database:
        """The database whose map the node's is; of a new map the largest, else the one in use."""
        databases = [self._in_use().database, *(d.database for d in self._detectors)]
        owners = [d for d in databases if self._path is not None and d.is_file(self._path)]
        return owners[0] if owners else max(databases, key=len)

    def _named(self, name: str) -> Path:
        """The path that a request names; raises MapError for one outside of the folder."""
        config = self._config()
        if self._path is not None and name in ("", config.map, str(self._path)):
            return self._path
        if not name:
            raise MapError("No path was given and the parameter 'map' is empty; give a name.")
        return map_path(config.folder, name)

    def _spare(self, path: Path, database: Database) -> None:
        """Raise MapError if the file is the map of another database than this one."""
        for other in (d.database for d in self._detectors):
            if other is not database and other.is_file(path):
                raise MapError(
                    f"Map {path} belongs to model '{other.model_text}', the database in use to "
                    f"'{database.model_text}'. Choose another name."
                )

    def _later(self, work: Callable[..., Any], *args: Any) -> Future:
        """The result of what the thread will do; to be awaited."""
        if self._waiting >= MAX_WAITING:
            raise MapError(f"{self._waiting} maps are being saved and loaded already; try later.")
        future = Future(executor=self._node.executor)
        future.add_done_callback(self._done)  # wakes the executor, too

        def do() -> None:
            try:
                result = work(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._waiting += 1
        self._thread.submit(do)
        return future

    def _done(self, _: Future) -> None:
        self._waiting -= 1

    def _succeeded(self, path: Path, message: str) -> None:
        if path == self._path:
            self._trouble = ""
        self._log(message)

    def _loaded(self, path: Path, count: int, database: Database, evicted: int = 0) -> str:
        """What to say of a map that was loaded where `evicted` keyframes had been evicted."""
        if database.taken_by_name:
            self._node.get_logger().warning(
                f"Map {path} does not say with which weights it was made; the name of its model, "
                f"'{database.model}', is all that is compared. Saving it again adds them."
            )
        gone = database.evicted - evicted
        why = "were evicted (database.max_keyframes, database.max_mb), so the file stays as it is"
        return f"loaded {count} keyframes from {path}" + (f"; {gone} {why}" if gone else "")

    def _log(self, text: str) -> None:
        self._node.get_logger().info(text)


def slow_save(path: Path | None, since: float) -> str:
    """What to say of a save that has gone on since then (monotonic); "" if that is not long."""
    taken_s = time.monotonic() - since
    if taken_s < SLOW_S:
        return ""
    return f"The save of {path} has taken {taken_s:.0f} s so far. Is its disk still there?"
