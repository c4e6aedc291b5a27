# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Joins products with what follows them, so that a compiled operator does both in one pass.

Bias, GELU and residual become part of the linear operators, and the split into queries, keys and
values part of attention; norms get one of our names. The definitions of these operators contain
the same stock operators, so nothing changes without the library.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from vpr_ros.export.functions import DOMAIN, LINEAR


def fuse(graph: onnx.GraphProto, attention: bool) -> None:
    """Join, in place, every linear operator with its epilogue and attention with its Split.

    Without `attention`, attention keeps a name that the library does not have, and so its float32
    definition.
    """
    fusion = _Fusion(graph)
    for node in list(graph.node):
        if node.domain == DOMAIN and node.op_type in LINEAR:
            fusion.join_epilogue(node)
        elif node.domain == DOMAIN and node.op_type == "Attention" and attention:
            fusion.join_split(node)
        elif node.op_type == "LayerNormalization":
            fusion.rename_norm(node)
    fusion.apply()


class _Fusion:
    """The connections of a graph, and which of its nodes have become part of others."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.maker = {name: node for node in graph.node for name in node.output}
        self.constants = {t.name: t for t in graph.initializer} | {
            n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"
        }
        self.taken: set[int] = set()  # ids of nodes that disappear
        self.renamed: list[str] = []  # outputs of norms
        self.place_of: dict[int, NodeProto] = {}  # id of the last node taken -> its successor

    def join_epilogue(self, linear: NodeProto) -> None:
        """Take over the Add of a bias, then GELU or the Add of a residual."""
        base = linear.op_type
        add = self._only_reader(linear, "Add")
        bias = _other(add, linear.output[0]) if add is not None else ""
        if add is None or bias not in self.constants:
            return
        self._take(linear, [add], f"{base}Bias", bias)
        gelu = self._gelu(linear.output[0])
        if gelu:
            self._take(linear, gelu, f"{base}BiasGelu")
            return
        residual = self._only_reader(linear, "Add")
        if residual is not None:
            other = _other(residual, linear.output[0])
            if other not in self.constants:
                self._take(linear, [residual], f"{base}BiasAdd", other)

    def join_split(self, attention: NodeProto) -> None:
        """Read queries, keys and values from one tensor if one Split makes them."""
        attention.op_type = "CrossAttention"
        split = self.maker.get(attention.input[0])
        if split is None or split.op_type != "Split" or split.output[:] != attention.input[:]:
            return
        attention.op_type = "SelfAttention"
        readers = [reader for name in split.output for reader in self.readers[name]]
        attention.input[:] = split.input[:1]
        if all(reader is attention for reader in readers):
            self.taken.add(id(split))

    def rename_norm(self, norm: NodeProto) -> None:
        """Rename a norm of the last dimension to LayerNorm."""
        options = {a.name: a for a in norm.attribute}
        if len(norm.input) != 3 or len(norm.output) != 1 or options["axis"].i != -1:
            return
        norm.op_type, norm.domain = "LayerNorm", DOMAIN
        epsilon = options["epsilon"]
        del norm.attribute[:]
        norm.attribute.append(epsilon)
        self.renamed.append(norm.output[0])

    def apply(self) -> None:
        """Write the remaining nodes, and joined ones where the last node they took over was.

        There, all their inputs exist.
        """
        moved = {id(node) for node in self.place_of.values()}
        nodes = []
        for node in self.graph.node:
            if id(node) in self.place_of:
                nodes.append(self.place_of[id(node)])
            elif id(node) not in self.taken and id(node) not in moved:
                nodes.append(node)
        kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
        self.graph.ClearField("node")
        self.graph.node.extend(kept)
        self._declare([*self.renamed, *(node.output[0] for node in self.place_of.values())])

    def _declare(self, outputs: list[str]) -> None:
        """Add types for the outputs of joined operators, which shape inference leaves open."""
        made = {name for node in self.graph.node for name in node.output}
        known = [v for v in self.graph.value_info if v.name in made]
        types = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
        self.graph.ClearField("value_info")
        self.graph.value_info.extend([*known, *types])

    def _take(self, linear: NodeProto, nodes: list[NodeProto], name: str, *inputs: str) -> None:
        linear.op_type = name
        linear.input.extend(inputs)
        linear.output[0] = nodes[-1].output[0]
        self.taken.update(map(id, nodes))
        self.place_of = {k: v for k, v in self.place_of.items() if v is not linear}
        self.place_of[id(nodes[-1])] = linear

    def _only_reader(self, node: NodeProto, operator: str) -> NodeProto | None:
        readers = self.readers.get(node.output[0], [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == operator else None

    def _gelu(self, x: str) -> list[NodeProto]:
        """The nodes of GELU, x / 2 * (1 + erf(x / sqrt 2)), as torch traces it; or []."""
        readers = self.readers.get(x, [])
        if Counter(reader.op_type for reader in readers) != Counter(("Div", "Mul")):
            return []
        divide, multiply = sorted(readers, key=lambda reader: reader.op_type)
        erf = self._only_reader(divide, "Erf")
        add = self._only_reader(erf, "Add") if erf is not None else None
        halve = self._only_reader(multiply, "Mul")
        if erf is None or add is None or halve is None:
            return []
        meant = (
            math.isclose(self._scalar(divide, x), math.sqrt(2), rel_tol=1e-6)
            and self._scalar(add, erf.output[0]) == 1.0
            and self._scalar(halve, multiply.output[0]) == 0.5
            and _other(multiply, x) == add.output[0]
        )
        return [divide, erf, add, multiply, halve] if meant else []

    def _scalar(self, node: NodeProto, input: str) -> float:
        """The constant that `node` applies to `input`, or NaN."""
        tensor = self.constants.get(_other(node, input))
        values = np.array([]) if tensor is None else numpy_helper.to_array(tensor)
        return float(values.item()) if values.size == 1 else math.nan


def _other(node: NodeProto, input: str) -> str:
    """The other one of the two inputs of `node`."""
    return node.input[1] if node.input[0] == input else node.input[0]
