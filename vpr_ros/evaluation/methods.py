# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What can be evaluated: models, and the baselines that they must beat."""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import cv2
import faiss
import numpy as np
import numpy.typing as npt

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ConfigError, ImageError, ModelError
from vpr_ros.core.images import Image
from vpr_ros.core.model_files import find_model
from vpr_ros.core.providers import Provider

Words = npt.NDArray[np.uint8]  # (W, 32), 256 bits each

# Thumbnail, as in SeqSLAM (Milford and Wyeth, ICRA 2012)
WIDTH, HEIGHT, PATCH = 64, 32, 8  # px
FLAT = 1.0  # grey levels; a patch that deviates less counts as blank

# Bag of words
FEATURES = 500  # per image
LARGEST_WIDTH = 640  # px; larger images are reduced
WORDS = 2000
PER_WORD = 20  # least features for a word; fewer features give a smaller vocabulary
SAMPLE = 50_000  # most features that the vocabulary is trained on
ROUNDS = 10
SEED = 0

BASELINE_MODEL = "mobilenetv2-gem"  # a network trained on ImageNet, not on places


class Method(abc.ABC):
    """A way to describe an image by one vector."""

    name: str
    sparsity_max = 0.0  # 0: full compute only
    fingerprint = ""  # of all that its descriptors depend on; empty: not worth keeping any

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Values of a descriptor."""

    def learn(self, count: int, read: Callable[[int], Image]) -> None:  # noqa: B027
        """Prepare for a database of `count` images; `read(i)` gives image i, BGR."""

    @abc.abstractmethod
    def describe(self, image: Image, sparsity: float = 0.0) -> npt.NDArray[np.float32]:
        """Unit descriptor (D,) of a BGR image; zeros for one without content."""

    def describe_all(
        self, images: Sequence[Image], sparsity: float = 0.0
    ) -> npt.NDArray[np.float32]:
        """Descriptors (B, D) of B images."""
        return np.stack([self.describe(image, sparsity) for image in images])


class Model(Method):
    """A model file, run by the robot's own Encoder."""

    def __init__(self, name: str, threads: int = 1, provider: Provider | None = None) -> None:
        """`name` of a shipped model, or the path of a file; ModelError if it cannot be run."""
        self.encoder = Encoder(find_model(name), threads, provider=provider)
        self.name = self.encoder.contract.name
        self.sparsity_max = self.encoder.contract.sparsity_max
        used = provider or Provider()
        options = "".join(f" {name}={value}" for name, value in used.options)
        self.fingerprint = f"{self.encoder.digest} {self.encoder.operators} {used.name}{options}"

    @property
    def size(self) -> int:
        """As the contract has it."""
        return self.encoder.contract.descriptor_size

    def describe(self, image: Image, sparsity: float = 0.0) -> npt.NDArray[np.float32]:
        """The Encoder's descriptor."""
        return self.encoder.encode(image, sparsity)

    def describe_all(
        self, images: Sequence[Image], sparsity: float = 0.0
    ) -> npt.NDArray[np.float32]:
        """In one run of the network."""
        return self.encoder.encode_all(images, sparsity)


class Thumbnail(Method):
    """Patch-normalised thumbnail, 64x32 px in patches of 8x8 (Milford and Wyeth, ICRA 2012).

    Compared by cosine instead of absolute differences, so that it runs in the same search.
    """

    name = "thumbnail"
    size = WIDTH * HEIGHT

    def describe(self, image: Image, sparsity: float = 0.0) -> npt.NDArray[np.float32]:
        """Unit descriptor (2048,) of a BGR image; zeros for a blank one."""
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        small = cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        rows, columns = HEIGHT // PATCH, WIDTH // PATCH
        patches = small.astype(np.float32).reshape(rows, PATCH, columns, PATCH)
        centred = patches - patches.mean(axis=(1, 3), keepdims=True)
        deviation = patches.std(axis=(1, 3), keepdims=True)
        values = np.where(deviation < FLAT, 0, centred / np.maximum(deviation, FLAT)).ravel()
        return (values / max(float(np.linalg.norm(values)), 1e-12)).astype(np.float32)


class OrbBagOfWords(Method):
    """ORB features (Rublee et al., ICCV 2011) as a tf-idf histogram of words (Sivic and
    Zisserman, ICCV 2003); the vocabulary is trained on the database itself.

    k-means on bits with majority vote for the centres (Grana et al., 2013), flat and small, where
    DBoW2 (Galvez-Lopez and Tardos, T-RO 2012) has a large pre-trained tree.
    """

    name = "orb-bow"

    def __init__(self) -> None:
        self._orb = cv2.ORB.create(nfeatures=FEATURES)
        self._weights = np.zeros(0, dtype=np.float32)
        self._index: faiss.IndexBinaryFlat | None = None

    @property
    def size(self) -> int:
        """The number of words."""
        return len(self._weights)

    def learn(self, count: int, read: Callable[[int], Image]) -> None:
        """Train vocabulary and word weights; ConfigError if the images show too few features."""
        chosen = np.random.default_rng(SEED).permutation(count)
        found = [np.zeros((0, 32), np.uint8)]
        for place in np.sort(chosen[: SAMPLE // FEATURES]):
            with suppress(ImageError):  # told of when it is to be described
                found.append(self._features(read(int(place))))
        features = np.concatenate(found)
        words = min(WORDS, len(features) // PER_WORD)
        if words < 1:
            raise ConfigError(
                f"The database shows {len(features)} ORB features; a vocabulary needs {PER_WORD}. "
                "Leave orb-bow out."
            )
        self._index = _index_of(majority_means(features, words))
        seen = np.zeros(words)
        for image in found[1:]:
            seen[np.unique(self._words(image))] += 1
        self._weights = np.log((len(found) - 1) / np.maximum(seen, 1)).astype(np.float32)

    def describe(self, image: Image, sparsity: float = 0.0) -> npt.NDArray[np.float32]:
        """Unit descriptor (words,) of a BGR image; zeros without features."""
        count = np.bincount(self._words(self._features(image)), minlength=len(self._weights))
        values = count.astype(np.float32) * self._weights
        return values / np.float32(max(float(np.linalg.norm(values)), 1e-12))

    def _features(self, image: Image) -> Words:
        if image.shape[1] > LARGEST_WIDTH:
            height = round(image.shape[0] * LARGEST_WIDTH / image.shape[1])
            size = (LARGEST_WIDTH, height)
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        _, features = self._orb.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), None)
        return np.zeros((0, 32), np.uint8) if features is None else features.astype(np.uint8)

    def _words(self, features: Words) -> npt.NDArray[np.int64]:
        if self._index is None:
            raise ConfigError("orb-bow has no vocabulary yet. Call learn first.")
        if not len(features):
            return np.zeros(0, dtype=np.int64)
        _, words = self._index.search(features, 1)
        return words[:, 0]


def majority_means(features: Words, count: int) -> Words:
    """`count` centres of bit strings (F, 32): k-means in Hamming distance.

    A centre has the bits that most of its features have. One without features stays as it was.
    """
    generator = np.random.default_rng(SEED)
    centres = features[generator.choice(len(features), count, replace=False)]
    for _ in range(ROUNDS):
        _, nearest = _index_of(centres).search(features, 1)
        order = np.argsort(nearest[:, 0], kind="stable")
        members = np.split(order, np.searchsorted(nearest[order, 0], np.arange(1, count)))
        for word, own in enumerate(members):
            if len(own):
                share = np.unpackbits(features[own], axis=1).mean(axis=0)
                centres[word] = np.packbits(share >= 0.5)
    return centres


def _index_of(words: Words) -> faiss.IndexBinaryFlat:
    index = faiss.IndexBinaryFlat(8 * words.shape[1])
    index.add(np.ascontiguousarray(words))
    return index


BASELINES: dict[str, type[Method]] = {one.name: one for one in (Thumbnail, OrbBagOfWords)}


def open_methods(
    models: Sequence[str],
    threads: int = 1,
    baselines: bool = True,
    provider: Provider | None = None,
) -> tuple[list[Model], list[Method]]:
    """The models and, if wanted, the baseline network among them and the simple methods.

    Models of one name, as checkpoints of one network have, are named by their files. ConfigError
    for a baseline among `models`, ModelError for one that is neither.
    """
    if chosen := set(models) & set(BASELINES):
        raise ConfigError(
            f"{', '.join(sorted(chosen))} is a baseline, not a model; leave it out: baselines are "
            "measured by default."
        )
    names = dict.fromkeys([*models, *(baseline_models(models) if baselines else ())])
    opened = [Model(name, threads, provider) for name in names]
    counts = Counter(model.name for model in opened)
    for model in opened:
        if counts[model.name] > 1:
            model.name = str(model.encoder.path)
    return opened, [make() for make in BASELINES.values()] if baselines else []


def baseline_models(models: Sequence[str]) -> tuple[str, ...]:
    """The model that `models` must beat, unless it is one of them or not installed."""
    try:
        baseline = find_model(BASELINE_MODEL).resolve()
        found = {find_model(name).resolve() for name in models}
    except ModelError:  # reported when the models themselves are opened
        return ()
    return () if baseline in found else (BASELINE_MODEL,)
