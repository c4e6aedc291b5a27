# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's building: a ring of ten different places, two corridors alike, an unseen wing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from demo.floor_plan import Area, Plan, Thing

TREE_BARE, TREE_BIG, LAMP, LAMP_TALL, LAMP_SHORT, BARREL = 43, 54, 2028, 85, 86, 2035
PILLAR_GREEN, PILLAR_RED, CANDELABRA, TORCH_BLUE, TORCH_RED, TECH_PILLAR = 30, 32, 35, 44, 46, 48
STALAGMITE, EYE = 47, 41
OPPOSITE = {"corridor A": "corridor B", "garden": "courtyard"}


def corridor(name: str, wall: str, niche: str, sign: str) -> tuple[Area, ...]:
    """Four equal bays over 12 m, driven eastwards.

    The corridors of the ring have one shape, colour and light. What tells them apart is fine:
    the joints of the `wall`, the doors of the cabinets in each `niche`, and one `sign`.
    """
    floor, ceiling = "FLAT23", "FLAT1"
    areas = [(6.0, -2.0, 18.0, 2.0, wall, floor, ceiling, 176)]
    for bay in range(4):
        x0, x1 = 7.0 + 3.0 * bay, 8.0 + 3.0 * bay
        areas.append((x0, -1.0, x1, 1.0, wall, floor, "TLITE6_1", 232))
        areas.append((x0, 2.0, x1, 3.0, niche, floor, ceiling, 192))
        areas.append((x0, -3.0, x1, -2.0, sign if bay == 2 else niche, floor, ceiling, 192))
    return tuple(Area(name, *area, 3.0) for area in areas)


def opposite(areas: Iterable[Area], flats: bool = False) -> tuple[Area, ...]:
    """The same on the other side of the ring: turned by half about its middle, (16, 8) m.

    `flats`: so that the textures of floor and ceiling, too, look as they did before the turn.
    """
    return tuple(
        dataclasses.replace(
            a, name=OPPOSITE.get(a.name, a.name), x0=32 - a.x1, y0=16 - a.y1, x1=32 - a.x0,
            y1=16 - a.y0, turned=flats,
        )
        for a in areas
    )  # fmt: skip


def door(x0: float, y0: float, x1: float, y1: float, wall: str = "SUPPORT3") -> Area:
    """A passage through the metre of wall between two rooms."""
    return Area("door", x0, y0, x1, y1, wall, "FLAT20", "FLAT20", 180, 3.0)


def crate(x: float, y: float, wall: str, height_m: float = 2.0, size_m: float = 1.0) -> Area:
    """A box on the floor of the store."""
    box = (x, y, x + size_m, y + size_m)
    return Area("store", *box, wall, "CRATOP1", "CEIL1_1", 220, 5.0, height_m)


def pillar(x: float, y: float, wall: str) -> Area:
    """A square metre of solid column."""
    return Area("", x, y, x + 1.0, y + 1.0, wall, height_m=0.0)


LOBBY = (
    Area("lobby", -4, -4, 5, 4, "STARTAN3", "FLOOR4_8", "FLAT5_4", 228, 4.5, accent="ZZWOLF12"),
    Area("lobby", -1, -2, 1, 2, "STARTAN3", "FLAT14", "TLITE6_5", 255, 4.0),
    pillar(2, 2, "SILVER1"),
    pillar(2, -3, "SILVER1"),
    pillar(-3, -3, "SILVER1"),
)
GARDEN = (
    Area("garden", 19, -6, 27, 5, "ROCK3", "GRASS1", "F_SKY1", 255, 3.2, accent="MC10"),
    Area("garden", 20, 2.5, 24, 4, "STONE3", "FWATER1", "F_SKY1", 255, 3.2, -0.5),
    Area("garden", 25, -6, 27, -4, "BIGBRIK2", "RROCK19", "F_SKY1", 255, 3.2, 1.5),
)
STORE = (
    Area("store", 28, -4, 37, 5, "BRICK11", "FLAT5_5", "CEIL1_1", 204, 5.0, accent="BRICK12"),
    crate(29, 2.5, "CRATE1", 2.0, 2.0),
    crate(29.5, -3.5, "CRATE2"),
    crate(35, -3.5, "CRATE1"),
    crate(35.5, -1, "CRATE2", 2.0),
    crate(35, 2, "CRATE1", 2.0, 1.5),
    crate(31, -4, "CRATE2", 1),
)
SLIME_HALL = (
    Area("slime hall", 28, 6, 37, 11, "BROWNGRN", "FLOOR7_1", "CEIL5_2", 180, 3.5),
    Area("slime hall", 28, 6, 30, 11, "SLADWALL", "NUKAGE1", "CEIL5_2", 244, 3.5, -0.5),
    Area("slime hall", 34.5, 6, 37, 11, "SLADWALL", "NUKAGE1", "CEIL5_2", 244, 3.5, -0.5),
)
LABORATORY = (
    Area("laboratory", 27, 12, 37, 21, "COMPBLUE", "FLAT22", "CEIL4_2", 236, 4.0,
         accent="COMPSTA1"),
    Area("laboratory", 33, 18, 36, 20, "SHAWN2", "FLAT23", "TLITE6_6", 255, 3.5, 1.0),
    pillar(29, 18.5, "LITEBLU4"), pillar(29, 12.5, "LITEBLU4"), pillar(35, 14, "COMPTALL"),
)  # fmt: skip
COURTYARD = (
    Area("courtyard", 5, 11, 13, 21, "STONEW5", "FLAT1_1", "F_SKY1", 252, 3.6, accent="BIGBRIK1"),
    Area("courtyard", 7, 19, 11, 21, "BIGBRIK3", "FLAT1_1", "F_SKY1", 252, 3.6, 1.5),
    pillar(9, 12.5, "MARBFACE"),
)
CHAPEL = (
    Area("chapel", -4, 12, 4, 21, "MARBLE2", "DEM1_6", "CEIL3_6", 188, 6.0, accent="MARBFAC2"),
    Area("chapel", -2, 18.5, 2, 20, "MARBLE1", "FLAT1", "CEIL3_6", 244, 6.0, 0.75),
    pillar(-3, 14, "GSTONE1"),
    pillar(-3, 17, "GSTONE1"),
    pillar(2, 17.5, "GSTONE1"),
)
RED_ROOM = (
    Area("red room", -4, 5, 4, 11, "REDWALL", "FLAT5_3", "FLAT5_1", 212, 4.0, accent="PANBOOK"),
    Area("red room", 2.5, 6, 4, 10, "WOOD5", "FLAT5_2", "FLAT5_1", 220, 4.0, 1.0),
)
WING = (
    Area("boiler room", -15, 4, -5, 11, "METAL2", "FLOOR0_6", "CEIL5_1", 188, 4.0,
         accent="PIPEWAL1"),
    Area("boiler room", -12, 9.5, -8, 11, "FIREWALA", "LAVA1", "CEIL5_1", 255, 4.0, -0.5),
    Area("cave", -27, 4, -16, 16, "ROCKRED1", "RROCK09", "RROCK17", 204, 5.5, accent="SP_ROCK1"),
    pillar(-20, 11, "ROCKRED1"), pillar(-26, 4, "ROCKRED1"), pillar(-17, 13, "SP_ROCK1"),
)  # fmt: skip
DOORS = (
    door(5, -1.5, 6, 1.5), door(18, -1.5, 19, 1.5), door(27, -1.5, 28, 1.5, "BIGDOOR5"),
    door(30.5, 5, 33.5, 6), door(30.5, 11, 33.5, 12, "SHAWN2"),
    door(26, 14.5, 27, 17.5, "METAL2"), door(13, 14.5, 14, 17.5, "BIGBRIK3"),
    door(4, 14.5, 5, 17.5, "MARBLE1"), door(-1.5, 11, 1.5, 12),
    door(-1.5, 4, 1.5, 5, "WOOD5"), door(-5, 6.5, -4, 9.5), door(-16, 6.5, -15, 9.5, "ROCK5"),
)  # fmt: skip
THINGS = (
    Thing(LAMP, -3, 3), Thing(LAMP, 4, -3), Thing(TECH_PILLAR, -3, 1),
    Thing(TREE_BIG, 21, -4), Thing(TREE_BARE, 26, 3.5), Thing(TREE_BARE, 24, -4.5),
    Thing(TREE_BIG, 25.5, -2.8), Thing(BARREL, 36, 4.2), Thing(BARREL, 28.6, -1.9),
    Thing(BARREL, 34, -3.3), Thing(LAMP_TALL, 30.3, 9), Thing(LAMP_SHORT, 34.2, 7),
    Thing(TECH_PILLAR, 28, 20), Thing(LAMP_SHORT, 36, 12.8), Thing(LAMP_SHORT, 32, 20),
    Thing(TREE_BARE, 6, 19.5), Thing(TORCH_BLUE, 12.3, 12), Thing(TREE_BIG, 6.3, 12.3),
    Thing(TORCH_RED, 12.3, 20), Thing(CANDELABRA, -1.5, 18), Thing(CANDELABRA, 1.5, 18),
    Thing(PILLAR_GREEN, 3, 13), Thing(EYE, -3, 20), Thing(PILLAR_RED, -3, 10),
    Thing(PILLAR_RED, -3, 6), Thing(TORCH_RED, 3.3, 5.6), Thing(BARREL, -6, 5),
    Thing(BARREL, -6, 6), Thing(BARREL, -13.5, 5), Thing(LAMP_SHORT, -14, 10),
    Thing(STALAGMITE, -18, 5), Thing(STALAGMITE, -25, 14), Thing(STALAGMITE, -24, 9),
    Thing(STALAGMITE, -18, 15), Thing(TORCH_BLUE, -26, 10),
)  # fmt: skip


# One garden for both sides of the ring; a curtain hides what lies behind it.
TWIN = (
    dataclasses.replace(GARDEN[0], accent=""),  # which lies on a grid that does not turn
    Area("", 21, 5, 23, 5.5, "MC10", height_m=0.0),
    Area("", 21, -6.5, 23, -6, "MC10", height_m=0.0),
    *GARDEN[1:],
    door(18, -1.5, 19, 1.5),
    dataclasses.replace(door(27, -1.5, 28, 1.5, "BIGDOOR5"), curtain="BIGDOOR5"),
)


def building(twins: bool = False) -> Plan:
    """The plan of the whole building; the ring spans about 36 m x 20 m.

    `twins`: the corridors look the same, and so do the rooms behind them, garden and courtyard.
    """
    rooms = (LOBBY, GARDEN, STORE, SLIME_HALL, LABORATORY, COURTYARD, CHAPEL, RED_ROOM, WING)
    first = corridor("corridor A", "GRAY1", "COMPTALL", "COMPSTA1")
    second = opposite(corridor("corridor A", "GRAY7", "COMPWERA", "PANBOOK"))
    areas = (*(area for room in rooms for area in room), *first, *second, *DOORS)
    if not twins:
        return Plan(areas, THINGS)
    plan = Plan((*areas, *TWIN, *opposite((*first, *TWIN), flats=True)), ())
    place = {thing: plan.area_at(thing.x, thing.y) for thing in THINGS}
    things = [t for t, area in place.items() if area is None or area.name != "courtyard"]
    grown = [t for t, area in place.items() if area is not None and area.name == "garden"]
    return Plan(plan.areas, (*things, *(Thing(t.kind, 32 - t.x, 16 - t.y) for t in grown)))
