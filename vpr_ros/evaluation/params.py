# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes' parameter files, read and written without ROS."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml

from vpr_ros.core.config import Config
from vpr_ros.core.database import DatabaseConfig
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.feature_extractor import FeatureConfig
from vpr_ros.core.gate import GateConfig
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.model_files import ModelConfig
from vpr_ros.core.view import ViewConfig

C = TypeVar("C", bound=Config)
# Every node takes these; none concerns an evaluation.
IGNORED = (
    "use_sim_time",
    "qos_overrides",
    "image",
    "image_transport",
    "sparsity_mode",
    "battery",
    "map",
    "map_folder",
    "map_mismatch",
    "map_save_interval_s",
    "closure_image",
)
# Of `/**`, a node takes what is its own; the rest is for other nodes.
OWN = {
    "encoder": ("gate", "view", "features", *(name for name, *_ in ModelConfig.fields())),
    "database": ("loop", "database"),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The parameters of encoder and database node."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    gate: GateConfig = dataclasses.field(default_factory=GateConfig)
    view: ViewConfig = dataclasses.field(default_factory=ViewConfig)
    features: FeatureConfig = dataclasses.field(default_factory=FeatureConfig)
    loop: LoopConfig = dataclasses.field(default_factory=LoopConfig)
    database: DatabaseConfig = dataclasses.field(default_factory=DatabaseConfig)

    def to_params(self) -> dict[str, Any]:
        """As the launch file's params_file has them."""
        nodes = {
            "encoder": (self.model, self.gate, self.view, self.features),
            "database": (self.loop, self.database),
        }
        tree: dict[str, Any] = {}
        for node, configs in nodes.items():
            values: dict[str, Any] = {}
            for config in configs:
                own = dataclasses.asdict(config)
                values |= {config.group: own} if config.group else own
            tree[f"/**/{node}"] = {"ros__parameters": values}
        return tree


def read_params(path: Path) -> Settings:
    """The settings of a parameter file; what it leaves out keeps its default.

    Raises ConfigError if it cannot be read, or has an unknown name or a bad value.
    """
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"Parameter file {path} cannot be read ({reason}).") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"Parameter file {path} holds no parameters.")
    try:
        encoder, database = _of_node(tree, "encoder"), _of_node(tree, "database")
        settings = Settings(
            gate=_take(GateConfig, encoder),
            view=_take(ViewConfig, encoder),
            features=_take(FeatureConfig, encoder),
            model=_take(ModelConfig, encoder),  # the last: it takes what is left
            database=_take(DatabaseConfig, database),
            loop=_take(LoopConfig, database),
        )
        if database:  # not in any group
            raise ConfigError(f"Unknown parameter '{next(iter(database))}' of the database.")
        return settings
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def write_params(path: Path, settings: Settings, heading: str) -> None:
    """Write the settings as a parameter file that begins with a comment."""
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    text = comment + yaml.dump(settings.to_params(), Dumper=_Dumper, sort_keys=False)
    path.write_text(text, encoding="utf-8", errors="replace")


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Shows a text of several lines as such."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _of_node(tree: dict[str, Any], node: str) -> dict[str, Any]:
    """All parameters that a file gives the node of this name, by full name."""
    found: dict[str, Any] = {}
    for path, parameters in _sections(tree, ""):
        name = path.split("/")[-1]
        for key, value in _flat(parameters) if name in (node, "**", "*") else ():
            if name == node or key.split(".")[0] in OWN[node]:
                found[key] = value
    return {name: v for name, v in found.items() if name.split(".")[0] not in IGNORED}


def _sections(tree: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in tree.items():
        if key == "ros__parameters":
            if not isinstance(value or {}, dict):
                raise ConfigError(f"ros__parameters of {path[1:]} is {value}; give a mapping.")
            yield path, value or {}
        elif isinstance(value, dict):
            yield from _sections(value, f"{path}/{key}")


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Both `gate: {distance_m: 1}` and `gate.distance_m: 1` are in use."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _take(kind: type[C], values: dict[str, Any]) -> C:
    """Take the parameters of a group out of `values`; whole numbers become floats, as in ROS."""
    prefix = f"{kind.group}." if kind.group else ""
    names = [name for name in values if name.startswith(prefix)]
    own = {name.removeprefix(prefix): values.pop(name) for name in names}
    for name, default, _ in kind.fields():
        if isinstance(default, float) and type(own.get(name)) is int:
            own[name] = float(own[name])
    return kind.from_dict(own)


def settings_from(params: Path | None, model: str = "", sparsity: float | None = None) -> Settings:
    """The settings of a file, or the defaults, with what was asked for besides."""
    settings = Settings() if params is None else read_params(params)
    changes: dict[str, Any] = {"model": model} if model else {}
    if sparsity is not None:
        changes["sparsity"] = sparsity
    return dataclasses.replace(settings, model=dataclasses.replace(settings.model, **changes))
