# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `vpr export` and `vpr model-info` print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from vpr_ros.export.cost import Cost

if TYPE_CHECKING:
    from vpr_ros.export.check import Agreement  # needs torch


def agreement_table(agreements: list[Agreement]) -> Table:
    """How near the written file is to torch."""
    table = Table("sparsity", "worst operator", "cosine to torch", "cosine to the checkpoint")
    for agreement in agreements:
        table.add_row(
            f"{agreement.sparsity:g}",
            f"{agreement.operator_error:.1e}",
            f"{agreement.cosine:.5f}",
            f"{agreement.cosine_to_original:.5f}",
        )
    return table


def contract_table(path: Path, cost: Cost) -> Table:
    """What a file says about itself, and its size."""
    contract = cost.contract
    dial = f"{contract.dial}, sparsity 0 to {contract.sparsity_max:g}"
    rows = {
        "model": f"{contract.name}, version {contract.version}",
        "file": f"{path}, {cost.file_bytes / 1e6:.1f} MB, ONNX opset {cost.opset}",
        "parameters": f"{cost.parameters / 1e6:.2f} M",
        "input": f"RGB {contract.input_height}x{contract.input_width} px (height x width)",
        "mean, std": f"{contract.mean}, {contract.std}",
        "descriptor": f"{contract.descriptor_size} values",
        "dial": dial if contract.sparsity_max > 0 else "none",
        "battery levels": ", ".join(f"{s:g}" for s in contract.levels) or "not measured",
        "another view from": f"cosine distance {contract.change:g}"
        if contract.change
        else "not measured",
        "tile": contract.tile or "none",
        "runs here on": cost.operators,
        "training data": contract.training_data,
        "licence": contract.licence,
        "format": str(contract.format),
    }
    table = Table(show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def cost_table(cost: Cost) -> Table:
    """Multiply-accumulates and thresholds per sparsity."""
    table = Table("sparsity", "MMAC per image", "of dense", "score >=", "margin >=")
    for sparsity, macs in cost.macs.items():
        limits = cost.contract.calibration_at(sparsity)
        table.add_row(
            f"{sparsity:g}",
            f"{macs / 1e6:,.1f}",
            f"{100 * macs / cost.macs[0.0]:.0f} %",
            f"{limits.score_threshold:.3f}",
            f"{limits.margin_threshold:.3f}",
        )
    if not cost.contract.calibration:
        table.caption = "not calibrated: set loop.score_threshold from data of your own"
    if cost.uncounted:
        table.caption = f"not counted: {', '.join(cost.uncounted)}"
    return table
