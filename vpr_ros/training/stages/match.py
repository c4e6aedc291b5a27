# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training of descriptors by a teacher of descriptors, on views made on the training device."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.efficientvpr import EfficientVPR
from vpr_ros.training.augment import AugmentConfig
from vpr_ros.training.closed_form import learned_whitening
from vpr_ros.training.descriptor_teacher import DescriptorTeacher, normalised, pictures_of
from vpr_ros.training.device_views import changed, crops, mixed, movements, view
from vpr_ros.training.loader import Share, make_loader, view_batches
from vpr_ros.training.optimiser import open_last_blocks
from vpr_ros.training.recipe import StagePlan
from vpr_ros.training.sampler import SamplerConfig
from vpr_ros.training.stages.end_to_end import PlaceLoss
from vpr_ros.training.stages.stage import Lesson, Setting, Stage, describer_of

PICTURE = (240, 320)  # px; views are cut from pictures of this size, whatever their shape was
AS_THEY_ARE = AugmentConfig(
    viewpoint=0.0, occlusion=0.0, weather=0.0, light=0.0, night=0.0, blur=0.0, noise=0.0, jpeg=0.0
)
MOVED = ((0.4, 0.7), (0.75, 1.0))  # share and strength of movement: dense views, sparse views
MIXED = 0.2  # share of the pictures that get a part of another
GREY = 0.12  # share of the pictures without colour
SPARSITIES = 4  # drawn for one batch
DAMPING = 0.1  # of the fit of the last layer, times the mean variance of its inputs
SHRINKAGE = 0.3  # of all whitenings
KEPT = 512  # directions of the whitened rows that are mixed into the last layer
CONTRASTED = SamplerConfig(places=300, views=3, batches=16)  # whose rows are told apart
BASIS = 1024  # principal directions of the rows in which that changes the layer
HEAT, PACE = 0.05, 0.05  # temperature of its softmax; Adam's rate, in the start's root mean square


class Match(Stage):
    """A student whose descriptor is its teacher's, whatever light, lens and sparsity do.

    Function matching (Beyer et al., CVPR 2022). The teacher sees a view of a picture as it was
    taken. The student sees the same view twice, moved a little and in another light, once at
    sparsity 0 and once at a sparsity of the plan, and is to give the teacher's descriptor both
    times. It thus becomes less sensitive to these changes than its teacher, and one map serves
    all sparsities. This part needs varied pictures, but no labels.

    The loss is 1 - cosine to the target, plus `match.similarity` times the divergence between the
    teacher's and the student's similarities, as softmax, to a queue of earlier targets (SEED,
    Fang et al., ICLR 2021), plus `match.places` times the multi-similarity loss of places over
    all views at all sparsities. An efficientvpr, which has no sparsity, sees both views at 0.

    The head's last layer starts at the least-squares map to the targets. After the last step a
    whitening is multiplied into it (`closing_whitening`), or it is mixed with a map that no
    teacher had a say in (`closing_mixture`).
    """

    def __init__(self, setting: Setting, plan: StagePlan) -> None:
        super().__init__(setting, plan)
        name, run = plan.config.name, setting.recipe.run
        network, teacher = setting.network, setting.teacher_for(plan).module
        head = network if isinstance(network, EfficientVPR) else network.head
        project = getattr(head, "project", None)
        if project is None:
            raise ConfigError(
                f"Stage '{name}' trains a network that ends in a linear map; {type(head).__name__}"
                " does not. Give tat-vpr the head 'queries-768', or efficientvpr a 'size'."
            )
        if not isinstance(teacher, DescriptorTeacher):
            raise ConfigError(
                f"Stage '{name}' has a {type(teacher).__name__} as teacher; name an ONNX file in "
                "the teacher's 'descriptors'."
            )
        if teacher.length != network.descriptor_size:
            raise ConfigError(
                f"The target has {teacher.length} values, the student's descriptor "
                f"{network.descriptor_size}. Change the teacher's 'kept', or the head."
            )
        walks = [s for s in setting.shares if plan.match.whiten_on in ("", s.places.name)]
        if not walks:
            raise ConfigError(
                f"Stage '{name}' has 'whiten_on' {plan.match.whiten_on}; give one of "
                f"{', '.join(share.places.name for share in setting.shares)}."
            )
        self._network, self._head, self._project = network, head, project
        self._teacher = self.extra = teacher.to_device(setting.accelerator.device)
        self._match, self._size = plan.match, (run.height, run.width)
        open_last_blocks(network, plan.config.trained_blocks)
        self.module = describer_of(network, plan)
        self._walks, self._shares = (
            [dataclasses.replace(share, augment=AS_THEY_ARE) for share in shares]
            for shares in (walks, setting.shares)
        )
        self._run = dataclasses.replace(run, height=PICTURE[0], width=PICTURE[1])
        self.loader, self.sampler = make_loader(self._shares, plan.batch, self._run)
        self._places = PlaceLoss(setting.recipe.loss)

    def begin(self) -> None:
        """Fit the teacher's maps, then the head's last layer."""
        device = self._setting.accelerator.device
        firsts, seconds, changes, rows, labels = [], [], [], [], []
        for images, own in view_batches(self._shares, self._match.fit, self._run):
            at_teacher, at_student, maps, pictures = self._clean(images.to(device), own.to(device))
            firsts.append(self._teacher.first(at_teacher))
            seconds.append(self._teacher.second(at_student))
            dense, sparse = (self._view(pictures, maps, *moved) for moved in MOVED)
            changes += [self._teacher.first(dense), self._teacher.first(sparse)]
            labels += [own.to(device)] * len(MOVED)
            rows.append(self._fed(normalised(dense)))
        first, second = torch.cat(firsts), torch.cat(seconds)
        self._teacher.fit(torch.cat(changes), torch.cat(labels), second, SHRINKAGE)
        targets, inputs = self._teacher.target(first, second), torch.cat(rows)
        moments = inputs.T @ inputs
        moments.diagonal().add_(DAMPING * moments.diagonal().mean())
        with torch.no_grad():
            self._project.weight.copy_(torch.linalg.solve(moments, inputs.T @ targets).T)
            cosine = F.cosine_similarity(self._project(inputs), targets).mean().item()
        self._setting.say(f"Last layer fitted to {len(inputs)} views: cosine {cosine:.3f}.")

    def learn(self, inputs: Tensor, labels: Tensor, step: int) -> Lesson:
        """Pictures (P K, 3, *PICTURE), normalised, and the labels of their places."""
        with torch.no_grad():
            at_teacher, at_student, maps, pictures = self._clean(inputs, labels)
            first, second = self._teacher.first(at_teacher), self._teacher.second(at_student)
            target = self._teacher.target(first, second)
            dense, sparse = (self._view(pictures, maps, *moved) for moved in MOVED)
        drawn = [self._plan.sparsity_at(SPARSITIES * step + i) for i in range(SPARSITIES)]
        self.module.train()
        with self._setting.accelerator.autocast():
            parts = [self.module(normalised(dense), 0.0)]
            for sparsity, images in zip(drawn, sparse.chunk(SPARSITIES), strict=False):
                parts.append(self.module(normalised(images), sparsity))
        found, wanted = torch.cat(parts).float(), target.repeat(2, 1)
        cosine = F.cosine_similarity(found, wanted, dim=1)
        loss = (1 - cosine).mean()
        if self._match.similarity:
            loss = loss + self._match.similarity * self._divergence(found, wanted, target)
        if self._match.places:
            loss = loss + self._match.places * self._places(found, labels.repeat(2))
        notes = {"mined": round(self._places.mined, 3), "sparsity": round(max(drawn), 3)}
        return Lesson(loss, {**notes, "cosine": round(cosine.mean().item(), 4)})

    def finish(self) -> None:
        """End the head's last layer in the closing whitening, or mixture."""
        own = self._match.whiten_rows > 0
        found, labels = self._as_they_are(self._walks, own)
        everything, _ = self._as_they_are(self._shares, own)
        project = self._project.weight.detach()
        if own:
            batches = self._lessons() if self._match.contrast else ()
            plan = (self._match.whiten_rows, batches, self._match.contrast)
            weight = closing_mixture(project, found, labels, everything, *plan)
        else:
            matrix = closing_whitening(found, labels, everything)
            weight = None if matrix is None else matrix @ project
        if weight is None:
            self._setting.say("Not whitened: no place has views that differ.")
            return
        with torch.no_grad():
            self._project.weight.copy_(weight / weight.norm() * len(weight) ** 0.5)

    def _as_they_are(self, shares: list[Share], rows: bool = False) -> tuple[Tensor, Tensor]:
        """Descriptors (S, D) of unchanged pictures at sparsity 0, labels (S,) of their places.

        With `rows`, what the head's last layer is fed instead, (S, rows * dim).
        """
        device = self._setting.accelerator.device
        self._network.eval()
        found, labels = [], []
        with torch.no_grad():
            for images, own in view_batches(shares, self._match.fit, self._setting.recipe.run):
                x = images.to(device)
                found.append(self._fed(x) if rows else self.describe(x, 0.0).float())
                labels.append(own.to(device))
        return torch.cat(found), torch.cat(labels)

    def _lessons(self) -> list[tuple[Tensor, Tensor]]:
        """Batches of rows (S, R) of all sources, and the labels (S,) of their places.

        Every other picture is changed, every other one of these seen at the highest sparsity.
        """
        device, top = self._setting.accelerator.device, self._plan.sparsity.high
        run = dataclasses.replace(self._run, workers=0)
        lessons = []
        for images, labels in make_loader(self._shares, CONTRASTED, run)[0]:
            pictures = pictures_of(images.to(device))
            whole = torch.eye(3, device=device).expand(len(pictures), 3, 3)
            seen = view(pictures, whole, self._size)
            seen[1::2] = self._view(pictures[1::2], whole[1::2], *MOVED[0])
            sparse = torch.arange(len(seen)) % 4 == 3
            parts = [(seen[~sparse], 0.0), (seen[sparse], top)]
            rows = [self._fed(normalised(x), at) for part, at in parts for x in part.split(96)]
            own = torch.cat([labels[~sparse], labels[sparse]]).to(device)
            lessons.append((torch.cat(rows), own))
        return lessons

    def _clean(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Views at the teacher's and the student's size, their maps, and the pictures.

        All views of one place are mirrored, or none.
        """
        pictures = pictures_of(images)
        pictures = mixed(_grey(pictures), MIXED)
        _, place = labels.unique(return_inverse=True)
        mirrored = (torch.rand(len(labels), device=images.device) < 0.5)[place]
        maps = crops(pictures, mirrored, self._match.smallest)
        at_teacher = view(pictures, maps, self._teacher.size, fine=1)
        return at_teacher, view(pictures, maps, self._size), maps, pictures

    def _view(self, pictures: Tensor, maps: Tensor, share: float, strength: float) -> Tensor:
        """The student's views: `share` of them moved by `strength`, all of them changed."""
        return changed(view(pictures, maps @ movements(pictures, share, strength), self._size))

    def _fed(self, images: Tensor, sparsity: float = 0.0) -> Tensor:
        """What the last layer is fed for normalised images, (B, rows * dim)."""
        self._network.eval()
        with torch.no_grad(), self._setting.accelerator.autocast():
            at = (sparsity,) if sparsity else ()  # an efficientvpr knows none
            rows: Tensor = self._head.rows(self._network.backbone(images, *at))
        return rows.float()

    def _divergence(self, found: Tensor, wanted: Tensor, target: Tensor) -> Tensor:
        """Kullback-Leibler divergence of similarities to this batch's and earlier targets."""
        earlier = self._teacher.queue.view(-1, target.shape[1])
        self._teacher.queue = bank = torch.cat([target, earlier])[: self._match.queue]
        heat = self._match.temperature
        asked, told = found @ bank.T / heat, (wanted @ bank.T / heat).log_softmax(dim=1)
        return F.kl_div(asked.log_softmax(dim=1), told, log_target=True, reduction="batchmean")


def closing_whitening(found: Tensor, labels: Tensor, everything: Tensor) -> Tensor | None:
    """Symmetric map (D, D) for descriptors (S, D) of places (S,); None if no place varies.

    What varies within places is turned down, and as much again what varies in `everything`
    (S', D): the few directions that most pictures share would otherwise outweigh the rest.
    """
    _, number, count = labels.unique(return_inverse=True, return_counts=True)
    sums = found.new_zeros(len(count), found.shape[1]).index_add_(0, number, found)
    within = (found - (sums / count[:, None])[number]).square().sum(dim=1).mean()
    spread = everything - everything.mean(dim=0)
    total = spread.square().sum(dim=1).mean()
    if within < 1e-6 * total:
        return None
    return learned_whitening(found, labels, SHRINKAGE, spread * (within / total).sqrt())


def closing_mixture(
    project: Tensor,
    rows: Tensor,
    labels: Tensor,
    everything: Tensor,
    share: float,
    lessons: Sequence[tuple[Tensor, Tensor]] = (),
    steps: int = 0,
) -> Tensor | None:
    """A last layer (D, R) that mixes a trained one with whitened rows; None if no place varies.

    `project` (D, R) maps rows to descriptors. `rows` (S, R) are of places (S,), `everything`
    (S', R) of all pictures. The first part is `project`, then its closing whitening; the second
    the closing whitening of the rows themselves, of which KEPT principal directions remain, after
    `steps` of contrast on `lessons` (`contrasted`). Each
    gives vectors of mean square 1 over `everything`; `share` is that of the second part in the
    inner product of two vectors. Of both together, D principal directions remain.
    """
    found, all_found = (F.normalize(x @ project.T, dim=1) for x in (rows, everything))
    taught = closing_whitening(found, labels, all_found)
    own = closing_whitening(rows, labels, everything)
    if taught is None or own is None:
        return None
    spread = (everything - everything.mean(dim=0)) @ own
    kept = torch.linalg.eigh(spread.T @ spread)[1][:, -KEPT:].T @ own
    if lessons:
        kept = contrasted(kept, lessons, everything, steps)
    parts = []
    for part, weight in ((taught @ project, 1 - share), (kept, share)):
        power = (everything @ part.T).square().sum(dim=1).mean()
        parts.append((weight / power).sqrt() * part)
    both = torch.cat(parts)
    values = everything @ both.T
    return torch.linalg.eigh(values.T @ values)[1][:, -len(project) :].T @ both


def contrasted(
    layer: Tensor, lessons: Sequence[tuple[Tensor, Tensor]], everything: Tensor, steps: int
) -> Tensor:
    """A layer (D, R) after `steps` in which it learns to tell places apart.

    Each row of a batch is to find the views of its own place among all others (InfoNCE, van den
    Oord et al., 2018). `lessons` are rows (S, R) and their places (S,), a batch each, taken in
    turn. The layer changes in BASIS principal directions of `everything` (S', R) only, and its
    change costs the square of its share of the layer, so that a few buildings cannot undo it.
    """
    spread = everything - everything.mean(dim=0)
    basis = torch.linalg.eigh(spread.T @ spread)[1][:, -BASIS:].T
    known = [(rows @ layer.T, rows @ basis.T, labels) for rows, labels in lessons]
    change = torch.zeros(len(basis), len(layer), device=layer.device, requires_grad=True)
    usual = layer.norm() / change.numel() ** 0.5
    optimiser = torch.optim.Adam([change], lr=PACE * usual.item())
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    for step in range(steps):
        start, rows, labels = known[step % len(known)]
        found = F.normalize(start + rows @ change, dim=1)
        itself = torch.eye(len(found), dtype=torch.bool, device=layer.device)
        logits = (found @ found.T / HEAT).masked_fill(itself, -torch.inf)
        alike = (labels[:, None] == labels) & ~itself
        right = logits.masked_fill(~alike, -torch.inf)[alike.any(dim=1)].logsumexp(dim=1)
        lost = (logits.logsumexp(dim=1)[alike.any(dim=1)] - right).mean()
        loss = lost + (change.square().sum() / layer.square().sum())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        falling.step()
    return layer + change.detach().T @ basis


def _grey(pictures: Tensor) -> Tensor:
    some = torch.rand(len(pictures), 1, 1, 1, device=pictures.device) < GREY
    return torch.where(some, pictures.mean(dim=1, keepdim=True), pictures)
