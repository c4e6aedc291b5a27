# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Batches of P places with K views each, from several sets, never two that may be the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.image_set import DatasetError
from vpr_ros.training.places import Indices, PlaceSet

GOLDEN = (5**0.5 - 1) / 2  # its multiples spread evenly over [0, 1)


class Item(NamedTuple):
    """One picture of a batch, with everything random about it."""

    source: int  # number of the set
    place: int  # in the set
    view: int  # of the place
    label: int  # of the place among all sets
    seed: int  # of its augmentation


@dataclasses.dataclass(frozen=True)
class SamplerConfig(Config):
    """The composition of a batch."""

    places: int = param(60, "Places in a batch.", minimum=2)
    views: int = param(4, "Views of each place.", minimum=2)
    batches: int = param(200, "Batches in an epoch.", minimum=1)
    hard_share: float = param(
        0.3, "Share of each set's places that look alike.", minimum=0.0, maximum=1.0
    )
    seed: int = param(1, "Seed of all random choices.", minimum=0)


class PlaceSampler(Sampler[list[Item]]):
    """The batches of an epoch. Batch number t is a function of the seed and t alone.

    So the whole state is `step`: set it to resume. Each set deals its places like a deck of cards
    that is reshuffled when it runs out; a card that may show a place already in the batch is
    skipped.
    """

    def __init__(
        self, sets: Sequence[PlaceSet], weights: Sequence[float], config: SamplerConfig
    ) -> None:
        if not sets or len(sets) != len(weights):
            raise ConfigError(f"{len(sets)} sets of places need as many weights, not {weights}.")
        if not all(0 < weight < float("inf") for weight in weights):
            raise ConfigError(f"Weights are {list(weights)}; give numbers above 0.")
        names = [places.name for places in sets]
        if len(set(names)) < len(names):
            raise ConfigError(f"Two sets of places have one name: {', '.join(names)}.")
        self.sets = tuple(sets)
        # accelerate reads these two before it deals batches to several GPUs
        self.batch_size = config.places * config.views
        self.drop_last = True
        self.step = 0  # batches dealt so far, over all epochs
        self._config = config
        share = np.cumsum(weights) / np.sum(weights)
        self._upto = np.concatenate([[0.0], share[:-1], [1.0]]) * config.places  # (S + 1,)
        self._label = np.concatenate([[0], np.cumsum([len(places) for places in sets])])
        self._order = lru_cache(maxsize=2 * len(sets))(self._shuffled)

    def __len__(self) -> int:
        return self._config.batches

    def __iter__(self) -> Iterator[list[Item]]:
        """The batches from `step` to the end of its epoch."""
        end = (self.step // len(self) + 1) * len(self)
        while self.step < end:
            self.step += 1
            yield self.batch(self.step - 1)

    def batch(self, step: int) -> list[Item]:
        """Batch number `step`, places one by one; DatasetError if it cannot be filled."""
        random = np.random.default_rng([self._config.seed, 0, step])
        counts = self._counts(np.arange(step + 1))  # (step + 1, S)
        dealt = counts[:-1].sum(axis=0)
        chosen = [
            self._choose(source, int(dealt[source]), int(counts[-1, source]), random)
            for source in range(len(self.sets))
        ]
        self._fill(chosen, random)
        return [
            item
            for source, places in enumerate(chosen)
            for place in places
            for item in self._items(source, place, random)
        ]

    def _counts(self, steps: Indices) -> Indices:
        """How many places each set gives in each step (steps, S); on average, by its weight."""
        offset = (steps * GOLDEN) % 1.0
        return np.diff(np.floor(self._upto + offset[:, None])).astype(np.int64)

    def _choose(
        self, source: int, dealt: int, count: int, random: np.random.Generator
    ) -> list[int]:
        """Up to `count` places of one set: a card, places that look like it, then more cards."""
        if count == 0:
            return []
        hand = _Hand(self.sets[source])
        cards = [self._card(source, dealt + i) for i in range(count)]
        hand.add(cards[:1])
        alike = self.sets[source].group_members(cards[0])
        hand.add(random.permutation(alike), upto=round(self._config.hard_share * count))
        hand.add(cards, upto=count)
        if len(hand.places) < count:
            hand.add(random.permutation(len(self.sets[source])), upto=count)
        return hand.places

    def _fill(self, chosen: list[list[int]], random: np.random.Generator) -> None:
        """Let other sets fill in for one with too few places that do not overlap."""
        missing = self._config.places - sum(map(len, chosen))
        for source in random.permutation(len(self.sets)):
            if missing <= 0:
                return
            hand = _Hand(self.sets[source])
            hand.add(chosen[source])
            hand.add(random.permutation(len(self.sets[source])), upto=len(hand.places) + missing)
            missing -= len(hand.places) - len(chosen[source])
            chosen[source] = hand.places
        if missing > 0:
            names = ", ".join(f"{places.name} ({len(places)})" for places in self.sets)
            raise DatasetError(
                f"A batch of {self._config.places} places lacks {missing}: {names} have no more "
                "that do not overlap. Make 'places' smaller or add a source."
            )

    def _items(self, source: int, place: int, random: np.random.Generator) -> Iterator[Item]:
        """The views of a place; one repeats only after all were used."""
        held, wanted = len(self.sets[source].views[place]), self._config.views
        rounds = -(-wanted // held)
        views = np.concatenate([random.permutation(held) for _ in range(rounds)])[:wanted]
        label = int(self._label[source]) + place
        for view in views:
            yield Item(source, place, int(view), label, int(random.integers(2**62)))

    def _card(self, source: int, number: int) -> int:
        cycle, position = divmod(number, len(self.sets[source]))
        return int(self._order(source, cycle)[position])

    def _shuffled(self, source: int, cycle: int) -> npt.NDArray[np.int64]:
        random = np.random.default_rng([self._config.seed, 1, source, cycle])
        return random.permutation(len(self.sets[source]))


class _Hand:
    """Places of one set that certainly differ."""

    def __init__(self, places: PlaceSet) -> None:
        self._set = places
        self._blocked: set[int] = set()
        self.places: list[int] = []

    def add(self, candidates: Sequence[int] | Indices, upto: int | None = None) -> None:
        """Take candidates in order, skipping those that overlap, until there are `upto` places."""
        for place in map(int, candidates):
            if upto is not None and len(self.places) >= upto:
                return
            if place not in self._blocked:
                self.places.append(place)
                self._blocked.add(place)
                self._blocked.update(map(int, self._set.overlapping(place)))
