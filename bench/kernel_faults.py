# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Faults that the compiled operators must survive: an error or the right result, never an end.

python -m bench.faults kernels           some minutes; a table of tried and survived

Malformed graphs and failing allocations run inside onnxruntime, in processes of their own, so that
an abort or a hang is counted; graphs also with sanitizers. What is random follows from the seed.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import dataclasses
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime
from onnx import FunctionProto, ModelProto, helper, numpy_helper

from vpr_ros.core.operators import THREADS_SETTING
from vpr_ros.export import functions
from vpr_ros.export.packing import pack_ternary
from vpr_ros.export.transformer import IR_VERSION
from vpr_ros.kernels import build

ROOT = Path(__file__).resolve().parents[1]
DRIVERS = ROOT / "test" / "kernels"  # C++ that is linked into builds for tests
FAILING_NEW = DRIVERS / "failing_new.cpp"
SANITIZERS = "-g1 -fsanitize=address,undefined -fno-sanitize-recover=all"
OPTIONS = {"ASAN_OPTIONS": "allocator_may_return_null=1:detect_leaks=0"}

PARTS = ("attention", "int8_linear", "isa", "layer_norm", "nested_linear", "weights")
AVX512 = "-mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"
# AVX-VNNI's unit is compiled in the encoding of AVX-512, so that it runs where only that is.
X86 = {"scalar": "", "avx2": "-mavx2 -mfma", "avx2_vnni": AVX512, "avx512_vnni": AVX512}
ARM = {"scalar": "", "neon_dotprod": "-march=armv8.2-a+dotprod"}
COMMON = "-std=c++17 -ffp-contract=off -pthread -Wall -Wextra -DVPR_ROS_AVX_VNNI_BY_AVX512"

INPUTS, OUTPUTS, TOKENS, HEADS = 72, 60, 101, 3
HANG_S = 120.0  # for cases that take milliseconds, on a machine that may be busy
DTYPES = ("f8", "f4", "f2", "i8", "i4", "i1", "u1", "?")
ODD = (0, -1, 1, 2, 7, 255, 2**31, 2**62, -(2**63))


# ---- the driver of test/kernels/fuzz.cpp -----------------------------------------------------


def fuzz_driver(folder: Path, compiler: str, flags: str, backends: dict[str, str]) -> str:
    """The program `fuzz SEED CASES SECONDS`, with the library's sources."""
    sources = [build.SOURCES / f"{name}.cpp" for name in PARTS]
    sources += [DRIVERS / "fuzz.cpp", FAILING_NEW]
    units = [build.Unit(source.stem, source) for source in sources]
    units += [build.backend(isa, own.split()) for isa, own in backends.items()]

    def compile_unit(unit: build.Unit) -> str:
        made = folder / f"{unit.name}.o"
        command = f"{compiler} {COMMON} {flags} -I{build.SOURCES} -c {unit.source} -o {made}"
        subprocess.run([*command.split(), *unit.flags], check=True)
        return str(made)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_unit, units))
    program = folder / "fuzz"
    subprocess.run(
        [compiler, *flags.split(), "-pthread", *objects, "-o", str(program)], check=True
    )
    return str(program)


def native_backends() -> dict[str, str]:
    """The instruction sets of this machine's kind."""
    return ARM if os.uname().machine == "aarch64" else X86


def fuzz(*command: str) -> dict[str, Any]:
    """What a run of the driver printed. Raises AssertionError with its output if it failed."""
    environment = {**os.environ, **OPTIONS}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    _, cases, _, checksum, _, starved, _, *isas = done.stdout.split()
    return {"cases": int(cases), "checksum": checksum, "starved": int(starved), "isas": isas}


# ---- graphs of one operator ------------------------------------------------------------------


@dataclasses.dataclass
class Graph:
    """One node and all that it gets, still open to damage."""

    function: FunctionProto
    constants: dict[str, Any]
    feed: dict[str, Any]
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: list[str] = dataclasses.field(default_factory=list)
    outputs: list[str] = dataclasses.field(default_factory=lambda: ["y"])
    defined: bool = True  # whether the file defines the operator by stock ones

    def model(self) -> ModelProto:
        """The file; nothing is checked."""
        name = self.function.name
        node = helper.make_node(
            name, self.inputs, self.outputs, "node7", domain=functions.DOMAIN, **self.attributes
        )
        fed = [
            helper.make_tensor_value_info(
                key, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim
            )
            for key, value in self.feed.items()
        ]
        stored = [numpy_helper.from_array(value, key) for key, value in self.constants.items()]
        wanted = [helper.make_tensor_value_info("y", 1, None)]
        return helper.make_model(
            helper.make_graph([node], "one", fed, wanted, stored),
            functions=[self.function] if self.defined else [],
            opset_imports=[*functions.OPSETS, helper.make_opsetid(functions.DOMAIN, 1)],
            ir_version=IR_VERSION,
        )


def graphs(random: np.random.Generator) -> list[Graph]:
    """A valid graph of every operator of the library."""

    def real(*shape: int) -> Any:
        return random.standard_normal(shape).astype(np.float32)

    codes = random.integers(-1, 2, (INPUTS, OUTPUTS)).astype(np.int8)
    x = real(2, TOKENS, INPUTS)
    ternary = {
        "packed": pack_ternary(codes),
        "delta": np.abs(real(OUTPUTS)) + 0.1,
        "rank": random.permutation(INPUTS),
    }
    int8 = {
        "weight": random.integers(-127, 128, (INPUTS, OUTPUTS)).astype(np.int8),
        "scale": np.abs(real(OUTPUTS)),
    }
    made = []
    for epilogue in functions.EPILOGUES:
        more = {"bias": real(OUTPUTS)} if epilogue else {}
        residual = {"residual": real(2, TOKENS, OUTPUTS)} if epilogue == "BiasAdd" else {}
        sparsity = {"sparsity": np.array(random.choice([0.0, 0.4]), np.float32)}
        for define in (functions.nested_ternary_linear, functions.slim_ternary_linear):
            made.append(Graph(define(epilogue), ternary | more, {"x": x} | sparsity | residual))
        made.append(Graph(functions.int8_linear(epilogue), int8 | more, {"x": x} | residual))
    qkv = {"qkv": real(2, TOKENS, 3 * INPUTS)}
    keys = {"q": real(2, 7, INPUTS), "k": x, "v": real(2, TOKENS, INPUTS)}
    made.append(Graph(functions.self_attention(), {}, qkv, {"num_heads": HEADS}))
    made.append(Graph(functions.cross_attention(), {}, keys, {"num_heads": HEADS}))
    norm = {"gain": real(INPUTS), "offset": real(INPUTS)}
    made.append(Graph(functions.layer_norm(), norm, {"x": x}, {"epsilon": 1e-5}))
    for graph in made:
        graph.inputs = list(graph.function.input)
    return made


# ---- damage ----------------------------------------------------------------------------------


def change_tensor(graph: Graph, random: np.random.Generator) -> None:
    """Another type, another shape or other values of one tensor, if NumPy can make it."""
    name = random.choice(sorted(graph.constants | graph.feed))
    place = graph.constants if name in graph.constants else graph.feed
    with np.errstate(all="ignore"), contextlib.suppress(ValueError, IndexError):
        place[name] = np.asarray(_changed(place[name], random))


def _changed(value: Any, random: np.random.Generator) -> Any:
    axis = int(random.integers(max(1, value.ndim)))
    kind = random.integers(9)
    if kind == 0:
        return value.astype(random.choice(DTYPES))
    if kind == 1:
        return value[None]
    if kind == 2:
        return value.ravel()
    if kind == 3:
        return np.take(np.atleast_1d(value), np.arange(random.integers(4)) % 1, axis)
    if kind == 4:
        return np.concatenate([np.atleast_1d(value)] * 2, axis)
    if kind == 5:
        return value.T
    if kind == 6:  # no value at all in a shape whose sizes overflow when multiplied
        shape = [int(random.choice([0, 1, 2**16, 2**31])) for _ in range(max(1, value.ndim))]
        return np.zeros([*shape[:-1], 0], value.dtype)
    changed = value.copy().reshape(-1)
    odd = [np.nan, np.inf, -np.inf, 3e38, 1e-45, 1.0] if value.dtype.kind == "f" else list(ODD)
    for at in random.integers(max(1, changed.size), size=1 + 20 * int(kind == 8)):
        if changed.size:
            changed[at] = np.array(random.choice(odd)).astype(value.dtype)
    return changed.reshape(value.shape)


def change_attribute(graph: Graph, random: np.random.Generator) -> None:
    """An attribute that is missing, or of another type or value."""
    if not graph.attributes:
        graph.attributes["num_heads"] = 2
        return
    (name,) = graph.attributes
    values: list[Any] = [*ODD[:-1], np.nan, -1.0, 1e30, "three", [1, 2]]
    value = values[int(random.integers(len(values)))]
    graph.attributes = {} if random.integers(6) == 0 else {name: value}


def change_wiring(graph: Graph, random: np.random.Generator) -> None:
    """Inputs missing, added, exchanged, unnamed, constant or not; outputs added or unnamed."""
    kind = random.integers(7)
    if kind == 0:
        graph.inputs.pop()
    elif kind == 1:
        graph.inputs.append(graph.inputs[0])
    elif kind == 2:
        random.shuffle(graph.inputs)
    elif kind == 3:
        graph.inputs[int(random.integers(len(graph.inputs)))] = ""
    elif kind == 4:
        graph.outputs = [["", "y"], ["y", "z"], ["y", ""]][int(random.integers(3))]
    elif kind == 5 and graph.constants:
        name = random.choice(sorted(graph.constants))
        graph.feed[name] = graph.constants.pop(name)
    else:
        name = random.choice(sorted(graph.feed))
        graph.constants[name] = graph.feed.pop(name)


DAMAGE = (change_tensor, change_tensor, change_tensor, change_attribute, change_wiring)


def session(graph: Graph, library: Path, threads: int) -> onnxruntime.InferenceSession:
    """The graph, opened with the library."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry(THREADS_SETTING, str(threads))
    options.register_custom_ops_library(str(library))
    return onnxruntime.InferenceSession(
        graph.model().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def try_graph(seed: int, library: Path) -> str:
    """Open and run one damaged graph. What happened, in words; ending the process is the fault."""
    random = np.random.default_rng(seed)
    graph = copy.deepcopy(random.choice(np.array(graphs(random), dtype=object)))
    graph.defined = bool(random.integers(2))
    for _ in range(random.integers(1, 4)):
        DAMAGE[int(random.integers(len(DAMAGE)))](graph, random)
    try:
        session(graph, library, int(random.integers(1, 3))).run(None, graph.feed)
    except Exception as error:
        return f"refused: {error}"
    return "ran"


def try_starved(seed: int, library: Path) -> str:
    """One operator while allocations fail: an error or the right result, then the latter."""
    random = np.random.default_rng(seed)
    valid = graphs(random)
    graph = valid[seed % len(valid)]
    first, count = int(random.integers(20)), int(random.choice([1, 1000]))
    on_workers = bool(seed % 2)  # only there: the calling thread would fail before them
    own = ctypes.CDLL(str(library))
    wanted = session(graph, library, 4).run(None, graph.feed)[0]
    # A new session has new threads, whose buffers are not there yet.
    opened = None if seed % 5 == 0 else session(graph, library, 4)
    own.vpr_test_exempt(on_workers)
    own.vpr_test_fail(ctypes.c_long(0 if on_workers else first), ctypes.c_long(count))
    result = "ran"
    try:
        opened = opened or session(graph, library, 4)
        found = opened.run(None, graph.feed)[0]
        assert np.array_equal(found, wanted), "another result"
    except AssertionError:
        raise
    except Exception as error:
        result = f"refused: {error}"
    failed = own.vpr_test_failed()
    own.vpr_test_fail(ctypes.c_long(0), ctypes.c_long(0))
    assert (failed > 0) == (result != "ran"), f"{failed} allocations failed, yet it {result}"
    opened = opened or session(graph, library, 4)
    assert np.array_equal(opened.run(None, graph.feed)[0], wanted), "another result afterwards"
    return result


TRIES = {"graph": try_graph, "starved": try_starved}


def survived(
    what: str, library: Path, seeds: range, environment: dict[str, str] | None = None
) -> tuple[int, list[str]]:
    """How many of the cases left their process alive and well, and what happened to the others."""
    done, start, faults = 0, seeds.start, []
    while start < seeds.stop:
        command = [sys.executable, "-m", "bench.kernel_faults", what, str(library)]
        try:
            ran = subprocess.run(
                [*command, str(start), str(seeds.stop)],
                capture_output=True,
                text=True,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                timeout=HANG_S + 1.0 * (seeds.stop - start),
            )
            text, end = ran.stdout, f"ended with {ran.returncode}: {ran.stderr[-2000:]}"
        except subprocess.TimeoutExpired as error:
            text, end = (error.stdout or b"").decode(), "did not end"
        finished = text.count("\n")
        done += finished
        start += finished + 1
        if start <= seeds.stop:
            faults.append(f"{what} {start - 1} {end}")
    return done, faults


def sanitized(folder: Path) -> tuple[Path, dict[str, str]]:
    """The library with sanitizers, and the environment in which Python loads it."""
    compiler = f"{build.find_compiler()[0]} {SANITIZERS}"
    with mock.patch.dict(os.environ, CXX=compiler):
        library = build.build(folder)

    def of_compiler(name: str) -> str:
        command = [compiler.split()[0], f"-print-file-name={name}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    preload = f"{of_compiler('libasan.so')} {of_compiler('libstdc++.so')}"
    return library, {**OPTIONS, "LD_PRELOAD": preload}


def kernel_faults(short: bool = False) -> dict[str, tuple[int, int]]:
    """How often each kind of fault was tried and survived; `short` takes half a minute.

    Raises BuildError without a compiler, AssertionError if the driver finds a difference.
    """
    cases, seconds = (40, 3) if short else (1000, 60)
    counts = {}

    def count(kind: str, tried: int, done: int, faults: list[str]) -> None:
        print("\n".join(faults), file=sys.stderr, end="\n" if faults else "")
        counts[f"kernels: {kind}"] = tried, done

    with tempfile.TemporaryDirectory(prefix="vpr_kernels-") as temporary:
        folder = Path(temporary)
        failing = build.build(folder / "failing", [FAILING_NEW])
        found = survived("starved", failing, range(cases))
        count("operators, four threads: an allocation fails", cases, *found)
        count("operators: malformed graph", cases, *survived("graph", failing, range(cases)))
        library, environment = sanitized(folder / "sanitized")
        found = survived("graph", library, range(cases, 2 * cases), environment)
        count("operators: malformed graph, with sanitizers", cases, *found)
        flags = f"-O1 {SANITIZERS}"
        driver = fuzz_driver(folder, build.find_compiler()[0], flags, native_backends())
        ran = fuzz(driver, "1000", "1000000", str(seconds))
        count("operators: random layer, with sanitizers", ran["cases"], ran["cases"], [])
        count("the same: an allocation fails", ran["starved"], ran["starved"], [])
    return counts


if __name__ == "__main__":  # as `survived` runs it
    what, library, start, stop = sys.argv[1:]
    for seed in range(int(start), int(stop)):
        print(TRIES[what](seed, Path(library)).splitlines()[0][:300], flush=True)
