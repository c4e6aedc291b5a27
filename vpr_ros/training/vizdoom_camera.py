# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A camera that stands anywhere in the free maps that ViZDoom carries."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import VprError
from vpr_ros.core.images import Image
from vpr_ros.training.vizdoom_plan import VizdoomPlan

SPAWN_TICS = 20  # a newly spawned player does not react for a while
POSITION_TOLERANCE = 4.0  # map units; the console takes whole ones
TURN_TOLERANCE_DEG = 0.5
DEPTH_M = 0.23  # per grey level of the depth buffer, measured against walls of known distance
# Without freedoom2/MAP30, whose final boss sends monsters even where there are none.
MAPS = (
    *(f"freedoom1/E{episode}M{level}" for episode in range(1, 5) for level in range(1, 10)),
    *(f"freedoom2/MAP{level:02d}" for level in range(1, 33) if level != 30),
)


class RenderError(VprError):
    """Places cannot be rendered."""


@dataclasses.dataclass(frozen=True)
class Shot:
    """What the camera sees."""

    image: Image  # (300, 400, 3) BGR
    depth_m: npt.NDArray[np.float32]  # (300, 400) along the axis; the sky counts as 37 m


class VizdoomCamera:
    """Pictures of one map, 400x300, field of view 90 degrees; use it in a `with` block."""

    def __init__(self, level: str, seed: int) -> None:
        try:
            import vizdoom
        except ImportError as error:
            raise RenderError(
                "The renderer 'vizdoom' is not installed; run `pip install vizdoom`."
            ) from error
        if level not in MAPS:
            raise RenderError(f"There is no map '{level}'; give one of {MAPS[0]} to {MAPS[-1]}.")
        self._vizdoom = vizdoom
        self._folder = tempfile.TemporaryDirectory(prefix="vpr_places_")
        self._game = _game(vizdoom, level, seed, Path(self._folder.name))
        home = os.getcwd()
        os.chdir(self._folder.name)  # where the engine starts it leaves an empty folder
        try:
            self._game.init()
        finally:
            os.chdir(home)
        self._game.send_game_command("god")  # some floors hurt
        self.plan = VizdoomPlan(self._game.get_state().sectors)

    def __enter__(self) -> VizdoomCamera:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._game.close()
        self._folder.cleanup()

    def picture(self, x: int, y: int, yaw_deg: float, visibility: float) -> Shot | None:
        """The view from a point in map units, or None.

        None where the game does not let the camera stand, as inside a pillar, or puts it on a
        ledge beside the point. The greater `visibility`, the farther light reaches; the game's
        own is 8.
        """
        game, variable = self._game, self._vizdoom.GameVariable
        if game.is_episode_finished():
            game.new_episode()
        turn = math.remainder(game.get_game_variable(variable.ANGLE) - yaw_deg, 360.0)
        game.send_game_command(f"r_visibility {visibility:.2f}")
        game.send_game_command(f"warp {x} {y}")
        game.set_action([turn])
        game.advance_action(1, False)
        game.make_action([0.0], 1)  # the tic of a warp shows the view from the floor
        state = game.get_state()
        if state is None:
            return None
        seen_x, seen_y, seen_z, seen_yaw = state.game_variables
        off = (seen_x - x, seen_y - y, seen_z - self.plan.floor_at(np.array([[x, y]], float))[0])
        off_deg = math.remainder(seen_yaw - yaw_deg, 360.0)
        if not math.hypot(*off) <= POSITION_TOLERANCE or abs(off_deg) > TURN_TOLERANCE_DEG:
            return None  # `not <=` refuses NaN, a point in no room, too
        depth_m = np.float32(DEPTH_M) * state.depth_buffer
        return Shot(np.array(state.screen_buffer, dtype=np.uint8), depth_m)


def _game(vizdoom: Any, level: str, seed: int, folder: Path) -> Any:
    """A game on a map that shows the bare world: no monsters, status bar, weapon or messages."""
    wad, name = level.split("/")
    game = vizdoom.DoomGame()
    game.set_doom_game_path(str(Path(vizdoom.__file__).parent / f"{wad}.wad"))
    game.set_doom_scenario_path("")
    game.set_doom_config_path(str(folder / "engine.ini"))
    game.set_doom_map(name)
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_400X300)
    game.set_screen_format(vizdoom.ScreenFormat.BGR24)
    game.set_available_buttons([vizdoom.Button.TURN_LEFT_RIGHT_DELTA])
    variable = vizdoom.GameVariable
    game.set_available_game_variables(
        [variable.POSITION_X, variable.POSITION_Y, variable.POSITION_Z, variable.ANGLE]
    )
    for part in ("hud", "weapon", "crosshair", "messages", "screen_flashes", "particles"):
        getattr(game, f"set_render_{part}")(False)
    game.set_sectors_info_enabled(True)
    game.set_depth_buffer_enabled(True)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_episode_timeout(0)
    game.set_episode_start_time(SPAWN_TICS)
    game.set_seed(seed)
    # the console's `warp` counts as a cheat; without bob the eye keeps its height
    game.add_game_args(
        "+sv_cheats 1 +sv_nomonsters 1 -nomonsters +movebob 0 +fov 90 "
        "+cl_showsecretmessage 0 +con_midtime 0 -nosound"
    )
    return game
