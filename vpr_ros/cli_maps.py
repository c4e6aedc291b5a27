# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verbs of `vpr` that are about saved maps and pose graphs."""

# typer reads these types at run time, and on Python 3.10 cannot read `Path | None`.
# ruff: noqa: UP045
from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from vpr_ros.core.map_file import Snapshot
    from vpr_ros.fleet.fleet import Fleet

NS_PER_DAY = 86_400 * 10**9
MOST_DAYS = 1e6  # older than any keyframe

maps = typer.Typer(
    help="Saved maps (.vprmap): show, merge and thin them, or share them with a fleet.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

graphs = typer.Typer(
    help="Saved pose graphs (.vprgraph).", no_args_is_help=True, rich_markup_mode=None
)

MapFile = Annotated[Path, typer.Argument(help="map file (.vprmap)")]
OutputFile = Annotated[Path, typer.Option("--output", "-o", help="map file to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the file")]
Uri = Annotated[
    str,
    typer.Option(
        "--fleet",
        envvar="VPR_MILVUS_URI",
        help="address of Milvus: http(s)://HOST:19530, or a path that ends in .db (Milvus Lite)",
    ),
]


@maps.command()
def info(file: MapFile) -> None:
    """Print what is in a map.

    Example: vpr map info office.vprmap
    """
    from rich.console import Console
    from rich.table import Table

    from vpr_ros.core.map_file import read_map
    from vpr_ros.core.map_merge import feature_kinds, session_rows
    from vpr_ros.core.model_digest import model_text
    from vpr_ros.mapping.graph_file import graph_path

    data = read_map(file)
    count, graph = len(data.ids), graph_path(file)
    features = data.feature_counts >= 0
    mean = data.feature_counts[features].mean() if features.any() else 0
    lines = {
        "model": model_text(data.model, data.model_digest),
        "run by": ", ".join(data.providers) or "not known",
        "keyframes": f"{count}, {file.stat().st_size / count:.0f} bytes each",
        "descriptors": f"{data.descriptors.shape[1]} values, {data.descriptors.dtype}",
        "local features": f"{', '.join(sorted(feature_kinds(data))) or 'none'}, {mean:.0f} each",
        "closed loops": str(len(data.links)),
        "pose graph": str(graph) if graph.exists() else "none beside it",
    }
    for name, text in lines.items():
        typer.echo(f"{name:<15}{text}")
    table = Table("session", "keyframes", "first (UTC)", "last", "with a pose", "sparsity")
    for row in session_rows(data):
        table.add_row(*row)
    Console().print(table)


@maps.command()
def merge(
    files: Annotated[list[Path], typer.Argument(help="map files, the newest last")],
    output: OutputFile,
    older_than: Annotated[
        Optional[float], typer.Option(help="leave out keyframes older than this many days", min=0)
    ] = None,
    max_keyframes: Annotated[
        Optional[int], typer.Option(help="evict keyframes as a database of this size does", min=4)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Merge maps of one robot or several, or thin one map; ids and sessions do not change.

    All maps must have the same model and kind of local features. The new map gets the pose graph
    of the first map that has one, because each graph has its own frame.

    Example: vpr map merge monday.vprmap tuesday.vprmap -o office.vprmap

    Example: vpr map merge office.vprmap -o small.vprmap --older-than 30 --max-keyframes 5000
    """
    from vpr_ros.core.map_file import LoadedMap
    from vpr_ros.core.map_merge import merged

    graph = _check_free(output, overwrite, files)
    maps = [LoadedMap.read(file, float("inf")) for file in files]
    age_ns = round(min(older_than or 0, MOST_DAYS) * NS_PER_DAY)
    oldest_ns = 0 if older_than is None else time.time_ns() - age_ns
    snapshot = merged(maps, output, overwrite, oldest_ns=oldest_ns, max_keyframes=max_keyframes)
    _write(snapshot, f"of {sum(len(m.data.ids) for m in maps)} in {len(maps)} files", graph)


@maps.command()
def push(
    file: MapFile,
    robot: Annotated[str, typer.Option(help="robot that the keyframes belong to")],
    map: Annotated[
        str, typer.Option(help="name of the map in the fleet; default: the file name")
    ] = "",
    fleet: Uri = "",
) -> None:
    """Send those keyframes of a map that the fleet lacks; run it again to continue.

    Takes the login from the environment, named like the parameters milvus.* of the node `fleet`:
    VPR_MILVUS_USER, VPR_MILVUS_SECRET_FILE, VPR_MILVUS_CA_FILE, ...

    Example: vpr map push office.vprmap --robot red --fleet http://fleet:19530
    """
    from vpr_ros.core.errors import FleetError
    from vpr_ros.core.map_file import LoadedMap
    from vpr_ros.fleet.shared_maps import push as send

    loaded = LoadedMap.read(file, float("inf"))
    with _opened(fleet, create=True) as store, _progress("Sending") as step:
        done = send(loaded, store, map or file.stem, robot, step)
    typer.echo(f"{done.sent} keyframes sent, {done.known} were there already")
    if done.refused:
        raise FleetError(
            f"{len(done.refused)} keyframes were not sent, since others in the fleet have their "
            f"ids: {', '.join(map(str, done.refused[:3]))}, ..."
        )


@maps.command()
def pull(
    name: Annotated[str, typer.Argument(help="name of the map in the fleet")],
    output: OutputFile,
    robot: Annotated[str, typer.Option(help="only keyframes that this robot has sent")] = "",
    model: Annotated[
        str, typer.Option(help="model name, or beginning of its digest, if there are several")
    ] = "",
    overwrite: Overwrite = False,
    fleet: Uri = "",
) -> None:
    """Fetch a map of the fleet into a file; run it again to continue.

    Takes the login from the environment, as `vpr map push` does.

    Example: vpr map pull office -o fleet.vprmap --fleet http://fleet:19530
    """
    from vpr_ros.fleet.fleet import Where
    from vpr_ros.fleet.shared_maps import partial_path
    from vpr_ros.fleet.shared_maps import pull as fetch

    _check_free(output, overwrite)
    where = Where(map=name, robot=robot, model=model)
    with _opened(fleet) as store, _progress("Fetching") as step:
        snapshot = fetch(store, where, output, step, overwrite)
    _write(snapshot, f"of map '{name}'")
    partial_path(output).unlink(missing_ok=True)


@maps.command("list")
def list_maps(fleet: Uri = "") -> None:
    """Print which maps the fleet has, and from which robots and models.

    Takes the login from the environment, as `vpr map push` does.

    Example: vpr map list --fleet http://fleet:19530
    """
    from rich.console import Console
    from rich.table import Table

    from vpr_ros.core.map_merge import time_text
    from vpr_ros.fleet.shared_maps import stored_maps

    table = Table("map", "robot", "model", "keyframes", "sessions", "first (UTC)", "last")
    with _opened(fleet) as store:
        for (name, model, robot), entries in stored_maps(store):
            stamps = [e.stamp_ns for e in entries]
            sessions = str(len({e.session for e in entries}))
            times = time_text(min(stamps)), time_text(max(stamps))
            table.add_row(name, robot, model[:8], str(len(entries)), sessions, *times)
    Console().print(table)


@graphs.command()
def export(
    graph: Annotated[Path, typer.Argument(help="graph file of the node `graph` (.vprgraph)")],
    output: Annotated[Path, typer.Argument(help="file to write, .tum or .g2o")],
) -> None:
    """Write a saved pose graph as a TUM trajectory or a g2o graph; the latter needs GTSAM.

    Example: vpr graph export office.vprgraph office.g2o
    """
    from vpr_ros.core.errors import ConfigError
    from vpr_ros.mapping.graph_file import read_graph, tum_text, write_g2o
    from vpr_ros.mapping.pose_graph import GraphConfig

    if output.suffix not in (".tum", ".g2o"):
        raise ConfigError(f"{output} ends in neither .tum nor .g2o; name the format that way.")
    if output.exists():
        raise ConfigError(f"{output} exists. Move it away or choose another name.")
    stored = read_graph(graph)
    try:
        if output.suffix == ".tum":
            output.write_text(tum_text(stored))
        else:
            write_g2o(output, stored, GraphConfig())
    except OSError as error:
        raise ConfigError(f"{output} cannot be written ({error.strerror}).") from None
    typer.echo(f"{output}: {len(stored.keyframes)} keyframes")


def add_verbs(app: typer.Typer) -> None:
    """Add the verbs of this file to those of the command."""
    app.add_typer(maps, name="map")
    app.add_typer(graphs, name="graph")


def _check_free(output: Path, overwrite: bool, sources: Sequence[Path] = ()) -> Path | None:
    """The graph file that goes with the new map; raises ConfigError if one is in the way."""
    from vpr_ros.core.errors import ConfigError
    from vpr_ros.core.map_file import SUFFIX
    from vpr_ros.mapping.graph_file import graph_path

    if output.suffix != SUFFIX:
        raise ConfigError(f"{output} does not end in {SUFFIX}; give a map file's name.")
    graph = next((g for g in map(graph_path, sources) if g.exists()), None)
    stays = graph is not None and graph.absolute() == graph_path(output).absolute()
    for path in (output, graph_path(output)):
        mine = path == output or graph is not None
        if path.exists() and not (overwrite and mine) and not (stays and path != output):
            raise ConfigError(
                f"{path} exists. Choose another name"
                f"{', or give --overwrite.' if mine else ', or move it away.'}"
            )
    return None if stays else graph


def _write(snapshot: Snapshot, source: str, graph: Path | None = None) -> None:
    from vpr_ros.core.durable_file import absolute, write_durably
    from vpr_ros.mapping.graph_file import graph_path

    size = snapshot.write().size
    typer.echo(f"{snapshot.path}: {len(snapshot.places)} keyframes {source}, {size:,} bytes")
    if graph is not None:
        content = graph.read_bytes()
        write_durably(absolute(graph_path(snapshot.path)), lambda file: file.write(content))
        typer.echo(f"{graph_path(snapshot.path)}: the places on the map are those of {graph}")


@contextmanager
def _opened(uri: str, create: bool = False) -> Iterator[Fleet]:
    """The fleet that `uri` and the environment name; Milvus Lite would create a missing one."""
    from vpr_ros.core.errors import FleetError
    from vpr_ros.fleet.milvus_fleet import MilvusConfig, MilvusFleet

    given = {
        field.name: os.environ[variable]
        for field in dataclasses.fields(MilvusConfig)
        if (variable := f"VPR_MILVUS_{field.name.upper()}") in os.environ
    }
    fleet = MilvusFleet(MilvusConfig(**(given | {"uri": uri})))
    if uri and "://" not in uri and not Path(uri).expanduser().exists():
        if not create:
            raise FleetError(
                f"{uri} does not exist. Give --fleet http(s)://HOST:19530, or what `vpr map push` "
                "has made with Milvus Lite."
            )
        typer.echo(f"{uri} does not exist yet; it will be created")
    try:
        yield fleet
    finally:
        fleet.close()


@contextmanager
def _progress(text: str) -> Iterator[Callable[[int, int], None]]:
    """A function of `done` and `total` that shows the progress on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(text)
        yield lambda done, total: bar.update(task, completed=done, total=total)
