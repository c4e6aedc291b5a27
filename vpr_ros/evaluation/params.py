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
from vpr_ros.core.gate import GateConfig
from vpr_ros.core.loop_detector import LoopConfig
from vpr_ros.core.model_files import ModelConfig
from vpr_ros.core.verifier import FeatureConfig

C = TypeVar("C", bound=Config)
# Every node takes these; none concerns an evaluation.
IGNORED = ("use_sim_time", "qos_overrides", "image_transport", "sparsity_mode", "battery", "map")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The parameters of encoder and database node."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    gate: GateConfig = dataclasses.field(default_factory=GateConfig)
    features: FeatureConfig = dataclasses.field(default_factory=FeatureConfig)
    loop: LoopConfig = dataclasses.field(default_factory=LoopConfig)
    database: DatabaseConfig = dataclasses.field(default_factory=DatabaseConfig)

    def to_params(self) -> dict[str, Any]:
        """As the launch file's params_file has them."""
        encoder = dataclasses.asdict(self.model) | {
            "gate": dataclasses.asdict(self.gate),
            "features": dataclasses.asdict(self.features),
        }
        database = {
            "loop": dataclasses.asdict(self.loop),
            "database": dataclasses.asdict(self.database),
        }
        return {
            "/**/encoder": {"ros__parameters": encoder},
            "/**/database": {"ros__parameters": database},
        }


def read_params(path: Path) -> Settings:
    """The settings of a parameter file; what it leaves out keeps its default.

    Raises ConfigError if it cannot be read, or has an unknown name or a bad value.
    """
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"Parameter file {path} cannot be read ({reason}).") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"Parameter file {path} holds no parameters.")
    encoder, database = _node(tree, "encoder"), _node(tree, "database")
    try:
        return Settings(
            gate=_take(GateConfig, encoder.pop("gate", {})),
            features=_take(FeatureConfig, encoder.pop("features", {})),
            model=_take(ModelConfig, encoder),
            loop=_take(LoopConfig, database.pop("loop", {})),
            database=_take(DatabaseConfig, database.pop("database", {})),
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def write_params(path: Path, settings: Settings, heading: str) -> None:
    """Write the settings as a parameter file that begins with a comment."""
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    path.write_text(comment + yaml.dump(settings.to_params(), Dumper=_Dumper, sort_keys=False))


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Shows a text of several lines as such."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _node(tree: dict[str, Any], name: str) -> dict[str, Any]:
    """All parameters that a file gives the node of this name, as one nested mapping."""
    found: dict[str, Any] = {}
    for path, parameters in _sections(tree, ""):
        if path.split("/")[-1] in (name, "**", "*"):
            for key, value in parameters.items():
                _merge(found, key, value)
    for key in IGNORED:
        found.pop(key, None)
    return found


def _sections(tree: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in tree.items():
        if key == "ros__parameters":
            yield path, value or {}
        elif isinstance(value, dict):
            yield from _sections(value, f"{path}/{key}")


def _merge(found: dict[str, Any], key: str, value: Any) -> None:
    """Both `gate: {distance_m: 1}` and `gate.distance_m: 1` are in use."""
    first, _, rest = key.partition(".")
    if rest:
        _merge(found.setdefault(first, {}), rest, value)
    elif isinstance(value, dict):
        for inner, content in value.items():
            _merge(found.setdefault(first, {}), inner, content)
    else:
        found[first] = value


def _take(kind: type[C], values: dict[str, Any]) -> C:
    """The group; whole numbers are taken for floats, as the nodes do."""
    defaults = {name: default for name, default, _ in kind.fields()}
    return kind.from_dict(
        {
            name: float(value)
            if isinstance(defaults.get(name), float) and type(value) is int
            else value
            for name, value in values.items()
        }
    )


def settings_from(params: Path | None, model: str = "", sparsity: float | None = None) -> Settings:
    """The settings of a file, or the defaults, with what was asked for besides."""
    settings = Settings() if params is None else read_params(params)
    changes: dict[str, Any] = {"model": model} if model else {}
    if sparsity is not None:
        changes["sparsity"] = sparsity
    return dataclasses.replace(settings, model=dataclasses.replace(settings.model, **changes))
