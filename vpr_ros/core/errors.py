# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can act on: each message names the cause, its value and a way out."""


class VprError(Exception):
    """Root of every error this package raises on purpose."""


class ConfigError(VprError):
    """A parameter is unknown or outside its range."""


class ImageError(VprError):
    """An image message cannot be decoded."""


class CameraError(VprError):
    """A camera's calibration is wrong or belongs to other images."""


class ModelError(VprError):
    """A model file is missing, broken, or lacks a valid contract."""


class KeyframeError(VprError):
    """A keyframe is already known or contains an impossible value."""


class DescriptorError(VprError):
    """A descriptor has the wrong model, length or values."""


class MapError(VprError):
    """A map file is missing, corrupt, unwritable, misnamed, or belongs to another model."""


class FleetError(VprError):
    """The fleet's store is out of reach, refuses a request, or holds other data."""
