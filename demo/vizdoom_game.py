# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A ViZDoom game that shows the bare world from any pose, without a window."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import VprError
from vpr_ros.core.images import Image

UNITS_PER_M = 32  # map units along the floor
SPAWN_TICS = 20  # a newly spawned player does not react for a while
ARGUMENTS = (
    # The console command `warp` counts as a cheat. Without bobbing the eye keeps its height.
    "+sv_cheats 1 +sv_nomonsters 1 -nomonsters +movebob 0 +fov 90 "
    "+cl_showsecretmessage 0 +con_midtime 0 -nosound"
)


class RenderError(VprError):
    """A picture cannot be rendered."""


@dataclasses.dataclass(frozen=True)
class View:
    """What the player sees, and where it really stands."""

    image: Image  # (H, W, 3) BGR
    depth: npt.NDArray[np.uint8] | None  # (H, W) grey levels along the optical axis
    x: float  # map units
    y: float
    z: float
    yaw_deg: float


class VizdoomGame:
    """A game without monsters, weapon or status bar; use it in a `with` block.

    The horizontal field of view is 90 degrees; pixels are square.
    """

    def __init__(
        self,
        resources: str,
        level: str,
        seed: int,
        size: str,
        *,
        wad: bytes = b"",
        measured: bool = False,
    ) -> None:
        """`resources` is freedoom1 or freedoom2, `size` such as 640X480.

        `wad` is a file with levels of one's own. `measured`: with depths and the map's sectors.
        RenderError if ViZDoom is not installed.
        """
        try:
            import vizdoom
        except ImportError as error:
            raise RenderError(
                "The renderer 'vizdoom' is not installed; run `pip install vizdoom`."
            ) from error
        self._angle = vizdoom.GameVariable.ANGLE
        self._folder = tempfile.TemporaryDirectory(prefix="vpr_vizdoom_")
        folder = Path(self._folder.name)
        if wad:
            (folder / "level.wad").write_bytes(wad)
        game = vizdoom.DoomGame()
        game.set_doom_game_path(str(Path(vizdoom.__file__).parent / f"{resources}.wad"))
        game.set_doom_scenario_path(str(folder / "level.wad") if wad else "")
        game.set_doom_config_path(str(folder / "engine.ini"))
        game.set_doom_map(level)
        game.set_screen_resolution(getattr(vizdoom.ScreenResolution, f"RES_{size}"))
        game.set_screen_format(vizdoom.ScreenFormat.BGR24)
        game.set_available_buttons([vizdoom.Button.TURN_LEFT_RIGHT_DELTA])
        pose = ("POSITION_X", "POSITION_Y", "POSITION_Z", "ANGLE")
        game.set_available_game_variables([getattr(vizdoom.GameVariable, name) for name in pose])
        for part in ("hud", "weapon", "crosshair", "messages", "screen_flashes", "particles"):
            getattr(game, f"set_render_{part}")(False)
        game.set_sectors_info_enabled(measured)
        game.set_depth_buffer_enabled(measured)
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        game.set_mode(vizdoom.Mode.PLAYER)
        game.set_episode_timeout(0)
        game.set_episode_start_time(SPAWN_TICS)
        game.set_seed(seed)
        game.add_game_args(ARGUMENTS)
        home = os.getcwd()
        os.chdir(folder)  # the engine leaves an empty folder where it starts
        try:
            game.init()
        finally:
            os.chdir(home)
        self._game = game

    def __enter__(self) -> VizdoomGame:
        return self

    def __exit__(self, *error: object) -> None:
        self._game.close()
        self._folder.cleanup()

    def sectors(self) -> list[Any]:
        """The map's sectors with their lines and heights, of a `measured` game."""
        return list(self._game.get_state().sectors)

    def command(self, text: str) -> None:
        """Type a command into the engine's console."""
        self._game.send_game_command(text)

    def view(self, x: int, y: int, yaw_deg: float) -> View | None:
        """The view from a point in map units; None if the game does not show it.

        The game may put the player elsewhere; compare the pose that is returned.
        """
        game = self._game
        if game.is_episode_finished():
            game.new_episode()
        turn = math.remainder(game.get_game_variable(self._angle) - yaw_deg, 360.0)
        self.command(f"warp {x} {y}")
        game.set_action([turn])
        game.advance_action(1, False)
        game.make_action([0.0], 1)  # in the tic of a warp the eye is still on the floor
        state = game.get_state()
        if state is None:
            return None
        depth = state.depth_buffer
        return View(
            np.array(state.screen_buffer, dtype=np.uint8),
            None if depth is None else np.array(depth),
            *state.game_variables,
        )
