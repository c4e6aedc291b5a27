# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The camera: a ViZDoom game without monsters, set to a pose before every picture."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from demo.plan import Plan
from demo.udmf import UNITS_PER_M, textmap, wad
from vpr_ros.core.errors import VprError

WIDTH, HEIGHT = 640, 480  # px
FOCAL_PX = WIDTH / 2.0  # the horizontal field of view is 90 degrees; pixels are square
SPAWN_TICS = 20  # a newly spawned player does not react for a while
POSE_TOLERANCE_M, POSE_TOLERANCE_RAD = 0.03, math.radians(0.1)


class RenderError(VprError):
    """The demo's pictures cannot be rendered."""


class Camera:
    """Takes pictures of a plan, without a window; use it in a `with` block."""

    def __init__(self, plan: Plan, start: tuple[float, float], seed: int = 1) -> None:
        try:
            import vizdoom
        except ImportError as error:
            raise RenderError(
                "The renderer 'vizdoom' is not installed; run `pip install vizdoom`."
            ) from error
        self._plan = plan
        self._vizdoom = vizdoom
        self._folder = tempfile.TemporaryDirectory(prefix="vpr_demo_")
        level = Path(self._folder.name) / "world.wad"
        level.write_bytes(wad(textmap(plan, start)))
        self._game = _game(vizdoom, level, seed)
        home = os.getcwd()
        os.chdir(self._folder.name)  # where the engine starts it leaves an empty folder
        try:
            self._game.init()
        finally:
            os.chdir(home)

    def __enter__(self) -> Camera:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._game.close()
        self._folder.cleanup()

    def picture(self, x_m: float, y_m: float, yaw_rad: float) -> np.ndarray:
        """The view (480, 640, 3) uint8 BGR from a pose; RenderError if it cannot be taken."""
        if self._plan.area_at(x_m, y_m) is None:
            raise RenderError(
                f"The pose ({x_m:.2f}, {y_m:.2f}) m lies inside a wall; keep the route off walls."
            )
        game, variable = self._game, self._vizdoom.GameVariable
        wanted = math.degrees(yaw_rad)
        turn = math.remainder(game.get_game_variable(variable.ANGLE) - wanted, 360.0)
        # the console takes whole units: the picture is at most 0.022 m off the pose
        game.send_game_command(f"warp {round(x_m * UNITS_PER_M)} {round(y_m * UNITS_PER_M)}")
        game.set_action([turn])
        game.advance_action(1, False)
        game.make_action([0.0], 1)  # the tic of a warp shows the view from the floor
        x = game.get_game_variable(variable.POSITION_X) / UNITS_PER_M
        y = game.get_game_variable(variable.POSITION_Y) / UNITS_PER_M
        yaw = math.radians(game.get_game_variable(variable.ANGLE))
        off_m = math.hypot(x - x_m, y - y_m)
        off_rad = abs(math.remainder(yaw - yaw_rad, math.tau))
        if off_m > POSE_TOLERANCE_M or off_rad > POSE_TOLERANCE_RAD:
            raise RenderError(
                f"The camera stands at ({x:.2f}, {y:.2f}) m, {math.degrees(yaw):.1f} degrees "
                f"instead of ({x_m:.2f}, {y_m:.2f}) m, {wanted:.1f} degrees; "
                "this route needs vizdoom 1.3."
            )
        image: np.ndarray = game.get_state().screen_buffer
        return image.copy()


def _game(vizdoom: Any, level: Path, seed: int) -> Any:
    """A game on the level that shows the bare world: no status bar, weapon or messages."""
    game = vizdoom.DoomGame()
    game.set_doom_game_path(str(Path(vizdoom.__file__).parent / "freedoom2.wad"))
    game.set_doom_scenario_path(str(level))
    game.set_doom_config_path(str(level.with_name("engine.ini")))
    game.set_doom_map("MAP01")
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_640X480)
    game.set_screen_format(vizdoom.ScreenFormat.BGR24)
    game.set_available_buttons([vizdoom.Button.TURN_LEFT_RIGHT_DELTA])
    variable = vizdoom.GameVariable
    game.set_available_game_variables([variable.POSITION_X, variable.POSITION_Y, variable.ANGLE])
    for part in ("hud", "weapon", "crosshair", "messages", "screen_flashes", "particles"):
        getattr(game, f"set_render_{part}")(False)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_episode_timeout(0)
    game.set_episode_start_time(SPAWN_TICS)
    game.set_seed(seed)
    # the console's `warp` counts as a cheat; without bob the eye keeps its height
    game.add_game_args("+sv_cheats 1 +sv_nomonsters 1 +movebob 0 +fov 90 -nosound")
    return game
