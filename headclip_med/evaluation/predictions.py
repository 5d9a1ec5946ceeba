"""What models say of a set's images: asked once, kept, and read by everything that measures."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import nn

from headclip_med.datasets import Dataset, Sample, read_mask
from headclip_med.datasets.known import content_of_category
from headclip_med.errors import InvalidSettings
from headclip_med.evaluation.examples import prepare_image, resize_mask
from headclip_med.evaluation.sides import MirroredImage, compare_images, mirror_image
from headclip_med.findings import SYMMETRIC
from headclip_med.mapped import release
from headclip_med.models.inference import predict_together
from headclip_med.models.model import AnomalyModel, name_content
from headclip_med.prediction import Prediction
from headclip_med.settings import NO_PATCHES, OF_NO_LOGITS, ScreenSettings, Symmetry
from headclip_med.store import Entry, Kept, MakeArray, for_now
from headclip_med.transforms.symmetry import wants_symmetry
from headclip_med.transforms.tiles import memory_advice

_log = logging.getLogger(__name__)

FORM = 2
"""Of what is kept; another number where logits or files come to mean something else."""

SIDES_FORM = 1
"""The same of how sides differ."""


@dataclass(frozen=True, eq=False, kw_only=True)
class GroundTruth:
    """The images of a set and what is known of them. Arrays may be mapped from files.

    Attributes:
        ids: The number of each image among the samples of the set's ``test`` split.
        units: What a bootstrap draws as a whole: slices of one volume belong together, any other
            image stands for itself, since no set's layout names patients.
        labels: Whether an image is abnormal.
        masks: Which of its pixels are, resized as the published methods do; None without masks.
        grey: The images, in [0, 1].
        has_vanished: Where a mask marked something too small to survive the resizing.
    """

    ids: Int[np.ndarray, "images"]
    units: Int[np.ndarray, "images"]
    labels: Bool[np.ndarray, "images"]
    masks: Bool[np.ndarray, "images size size"] | None
    grey: Float[np.ndarray, "images size size"]
    has_vanished: Bool[np.ndarray, "images"]

    @classmethod
    def blank(cls, count: int, side: int, make: MakeArray, *, has_masks: bool) -> GroundTruth:
        """Make room for so many images of this size."""
        square = (count, side, side)
        return cls(
            ids=make("ids", (count,), np.int64),
            units=make("units", (count,), np.int64),
            labels=make("labels", (count,), np.bool_),
            masks=make("masks", square, np.bool_) if has_masks else None,
            grey=make("grey", square, np.float32),
            has_vanished=make("has_vanished", (count,), np.bool_),
        )

    def fill(self, chosen: Chosen) -> None:
        """Write down all but the images themselves, which are read in batches."""
        self.ids[:] = chosen.ids
        self.units[:] = chosen.units
        for number, sample in enumerate(chosen.samples):
            self._fill_one(number, sample)

    def _fill_one(self, number: int, sample: Sample) -> None:
        if self.masks is None:
            self.labels[number], self.has_vanished[number] = sample.label == 1, False
            return
        mask = read_mask(sample)
        small = resize_mask(mask, self.grey.shape[-1])
        self.labels[number] = mask.any() if sample.label is None else sample.label == 1
        self.masks[number] = small
        release(self.masks)
        self.has_vanished[number] = mask.any() and not small.any()


@dataclass(frozen=True)
class Chosen:
    """The images that are predicted.

    Attributes:
        samples: In the set's order, category by category.
        ids: The number of each among the samples of the ``test`` split.
    """

    samples: tuple[Sample, ...]
    ids: tuple[int, ...]

    @property
    def categories(self) -> tuple[str, ...]:
        """The category of each."""
        return tuple(sample.category for sample in self.samples)

    @property
    def units(self) -> list[int]:
        """The number of what each is drawn with: its volume, or itself."""
        keys = [
            number if sample.slice_index is None else sample.image_path
            for number, sample in enumerate(self.samples)
        ]
        known = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return [known[key] for key in keys]

    def parts(self) -> dict[str, slice]:
        """Say where each category stands."""
        return parts_of(self.categories)


def parts_of(categories: Sequence[str]) -> dict[str, slice]:
    """Say where each category stands, given that each stands in one piece."""
    starts = {name: categories.index(name) for name in dict.fromkeys(categories)}
    return {name: slice(at, at + categories.count(name)) for name, at in starts.items()}


def choose(dataset: Dataset, limit: int | None) -> Chosen:
    """Choose the images of a set's ``test`` split that are predicted.

    Args:
        dataset: The set.
        limit: At most this many of each category, evenly spread over its list; all by default.

    Raises:
        InvalidSettings: ``limit`` is below 1.
        UnreadableInput: There is no such image.
    """
    if limit is not None and limit < 1:
        raise InvalidSettings("limit must be at least 1.", "Leave it out to take every image.")
    tested = dataset.split("test")
    numbers: list[int] = []
    for category in tested.categories:
        own = [n for n, sample in enumerate(tested.samples) if sample.category == category]
        numbers += _thinned(own, limit)
    return Chosen(tuple(tested.samples[number] for number in numbers), tuple(numbers))


def _thinned(numbers: Sequence[int], limit: int | None) -> Sequence[int]:
    if limit is None or len(numbers) <= limit:
        return numbers
    return [numbers[at] for at in np.linspace(0, len(numbers) - 1, limit).round().astype(int)]


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictions(GroundTruth):
    """What one model says of a set's images, beside what is known of them.

    Attributes:
        dataset: Name of the set.
        content_digest: Of the set; None where nothing was kept, so that nobody needed it.
        image_size: Rows and columns of the images, in pixels.
        model: As it describes itself, plain JSON values.
        categories: The category of each image; each category stands in one piece.
        logits: Log-odds of the maps before smoothing; see ``Prediction``.
        global_scores: In [0, 1]; see ``Prediction``.
        samples: Where each image and its mask can be read again.
        side_maps: How both sides of what is seen differ, in [0, 1]; None where none are compared.
        side_scores: The same of each image; NaN of those that show no two sides.
    """

    dataset: str
    content_digest: str | None
    image_size: int
    model: Mapping[str, object]
    categories: tuple[str, ...]
    logits: Float[np.ndarray, "images size size"]
    global_scores: Float[np.ndarray, "images"]
    samples: tuple[Sample, ...] = ()
    side_maps: Float[np.ndarray, "images size size"] | None = None
    side_scores: Float[np.ndarray, "images"] | None = None

    @property
    def patch_px(self) -> int:
        """Rows and columns of the patches that the model's maps are stretched from.

        Raises:
            InvalidSettings: The model knows no patches.
        """
        patch = self.model.get("patch_px")
        if not isinstance(patch, int):
            raise InvalidSettings(*NO_PATCHES, code="no-patches")
        return patch

    def parts(self) -> dict[str, slice]:
        """Say where each category's images stand."""
        return parts_of(self.categories)


def predict_dataset(  # noqa: PLR0913 - what, by whom, where it is kept and how, each by its name
    dataset: Dataset,
    models: Sequence[AnomalyModel],
    *,
    store: Path | None = None,
    batch_size: int = 8,
    image_size: int | None = None,
    limit: int | None = None,
    symmetry: Symmetry = "off",
    seen: Callable[[int], None] = lambda count: None,
) -> list[Predictions]:
    """Show a set's test images to models, each to each once.

    Images are resized to a square (bicubic, antialiased), masks with them (bilinear, cut at one
    half). Every image is read once for all models, those on the same backbone that see it alike
    share its passes (``predict_together``), and a model whose sentences name what is looked at is
    told the category.

    Args:
        dataset: Its ``test`` split is used.
        models: Who is asked.
        store: A folder where predictions are kept and looked up, by the digests of model and set.
            By default nothing is kept. In either case large arrays are mapped from files, which
            are temporary ones by default, and not held in memory.
        batch_size: Images per forward pass.
        image_size: Rows and columns of all models' input; each one's own by default.
        limit: At most this many images of each category, evenly spread over its list.
        symmetry: Whether both sides of what is seen are compared; ``auto`` where the set declares
            itself CT or MR of the head.
        seen: Is told after each batch how many images that was.

    Returns:
        The predictions of each model, in their order.

    Raises:
        InvalidSettings: ``limit`` or ``batch_size`` is below 1.
        UnreadableInput: A file of the set cannot be used.
        OutOfMemory: A batch does not fit the device.
        HeadClipError: The store cannot be written, or its disk is full.
    """
    settings, chosen = ScreenSettings(batch_size=batch_size), choose(dataset, limit)
    sides = [image_size or model.image_size for model in models]
    found: dict[int, Predictions] = {}
    for side in dict.fromkeys(sides):
        numbers = [number for number, one in enumerate(sides) if one == side]
        predicting = _Predicting(dataset, chosen, side, limit, settings, symmetry, seen)
        group = predicting.predict([models[number] for number in numbers], store)
        found.update(zip(numbers, group, strict=True))
    return [found[number] for number in range(len(models))]


@dataclass(frozen=True)
class _Predicting:
    """Predicts with models that see images of the same size."""

    dataset: Dataset
    chosen: Chosen
    side: int
    limit: int | None
    settings: ScreenSettings
    symmetry: Symmetry
    seen: Callable[[int], None]

    def predict(self, models: Sequence[AnomalyModel], root: Path | None) -> list[Predictions]:
        digest = None if root is None else self.dataset.split("test").content_digest
        if root is None:
            truth = self._blank_truth(for_now)
            found = [self._blank(for_now) for _ in models]
            self._fill(truth, dict(enumerate(found)), models)
        else:
            identity = {
                "form": FORM,
                "dataset": self.dataset.name,
                "content_digest": digest,
                "image_size": self.side,
                "limit": self.limit,
            }
            truth, found = self._from_store(root, identity, models)
        return [
            Predictions(
                dataset=self.dataset.name,
                content_digest=digest,
                image_size=self.side,
                model=dict(self._described(model)),
                categories=self.chosen.categories,
                samples=self.chosen.samples,
                **vars(truth),
                **arrays,
            )
            for model, arrays in zip(models, found, strict=True)
        ]

    def _from_store(
        self, root: Path, identity: Mapping[str, object], models: Sequence[AnomalyModel]
    ) -> tuple[GroundTruth, list[dict[str, Any]]]:
        """Map what is kept, and compute what is not, all of it in one pass over the images."""
        folder = Entry.of(root, self.dataset.name, identity).folder
        of_truth = Entry(folder / "ground_truth", identity)
        entries = [
            Entry.of(
                folder,
                str(model.describe().get("method", "unnamed")),
                {**identity, **self._compares, "model_digest": model_digest(model)},
            )
            for model in models
        ]
        kept = {entry.folder: entry.read() for entry in (of_truth, *entries)}
        missing = {place for place, one in kept.items() if one is None}
        # Models that are alike share an entry, and the first of them fills it.
        first = {entry.folder: number for number, entry in reversed(list(enumerate(entries)))}
        with ExitStack() as stack:
            truth = None
            if of_truth.folder in missing:
                truth = self._blank_truth(stack.enter_context(of_truth.write()))
            new = {
                number: self._blank(stack.enter_context(entries[number].write()))
                for number in sorted(first[place] for place in missing - {of_truth.folder})
            }
            if missing:
                self._fill(truth, new, models)
        kept |= {one.folder: one.read() for one in (of_truth, *entries) if one.folder in missing}
        truth = GroundTruth(**{"masks": None, **_whole(kept[of_truth.folder])})
        return truth, [_whole(kept[entry.folder]) for entry in entries]

    def _fill(
        self,
        truth: GroundTruth | None,
        predictions: Mapping[int, Mapping[str, Any]],
        models: Sequence[AnomalyModel],
    ) -> None:
        """Look at every image once, for all that is to be known."""
        if truth is not None:
            truth.fill(self.chosen)
        for category, part in self.chosen.parts().items():
            content = content_of_category(self.dataset.name, category)
            named = [name_content(models[number], content) for number in predictions]
            for start in range(part.start, part.stop, self.settings.batch_size):
                rows = slice(start, min(start + self.settings.batch_size, part.stop))
                samples = self.chosen.samples[rows]
                images = torch.stack([prepare_image(sample, self.side) for sample in samples])
                if truth is not None:
                    truth.grey[rows] = images.mean(dim=1).numpy()
                    release(truth.grey)
                with memory_advice(self.settings.batch_size, self.side), torch.no_grad():
                    found = predict_together(named, images)
                for arrays, prediction in zip(predictions.values(), found, strict=True):
                    arrays["logits"][rows] = prediction.logits.float().cpu().numpy()
                    arrays["global_scores"][rows] = prediction.global_score.cpu().numpy()
                    release(arrays["logits"])
                if wants_symmetry(self.symmetry, content) in SYMMETRIC:
                    mirrored = [mirror_image(sample, self.side) for sample in samples]
                    for arrays, model, one in zip(predictions.values(), named, found, strict=True):
                        self._compare(arrays, rows, mirrored, model, one)
                self.seen(len(samples))
            count = part.stop - part.start
            _log.info("%s, %s: %d images predicted", self.dataset.name, category, count)

    def _compare(
        self,
        arrays: Mapping[str, Any],
        rows: slice,
        mirrored: Sequence[MirroredImage],
        model: AnomalyModel,
        seen: Prediction,
    ) -> None:
        """Compare some images' sides."""
        with memory_advice(self.settings.batch_size, self.side), torch.no_grad():
            maps, scores = compare_images(mirrored, model, seen.patches)
        arrays["side_maps"][rows], arrays["side_scores"][rows] = maps, scores
        release(arrays["side_maps"])

    @property
    def _compares(self) -> dict[str, int]:
        """What tells predictions apart that have more: nothing, where sides are not compared."""
        contents = (
            content_of_category(self.dataset.name, one) for one in set(self.chosen.categories)
        )
        wanted = [wants_symmetry(self.symmetry, one) in SYMMETRIC for one in contents]
        return {"sides": SIDES_FORM} if any(wanted) else {}

    def _described(self, model: AnomalyModel) -> Mapping[str, object]:
        # With several categories no single content describes the run.
        names = set(self.chosen.categories)
        if len(names) > 1:
            return model.describe()
        return name_content(model, content_of_category(self.dataset.name, names.pop())).describe()

    def _blank_truth(self, make: MakeArray) -> GroundTruth:
        has_masks = self.dataset.level == "pixel"
        return GroundTruth.blank(len(self.chosen.samples), self.side, make, has_masks=has_masks)

    def _blank(self, make: MakeArray) -> dict[str, Any]:
        count = len(self.chosen.samples)
        square = (count, self.side, self.side)
        names = {"logits": square, "global_scores": (count,)}
        if self._compares:
            names |= {"side_maps": square, "side_scores": (count,)}
        made = {name: make(name, shape, np.float32) for name, shape in names.items()}
        if "side_scores" in made:
            made["side_scores"][:] = np.nan
        return made


def model_digest(model: AnomalyModel) -> str:
    """Tell models apart by what their logits follow from: not by how maps become scores.

    A network is told by its weights as well as by what it says of itself, so that one whose weights
    were changed after loading is another; anything else only by what it says of itself.

    Returns:
        SHA-256, 64 hexadecimal digits.
    """
    described = {name: one for name, one in model.describe().items() if name not in OF_NO_LOGITS}
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    digest = hashlib.sha256(json.dumps([kind, described], sort_keys=True).encode())
    if isinstance(model, nn.Module):
        for name, tensor in model.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            # As bytes, since numpy knows no bfloat16.
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _whole(kept: Kept | None) -> dict[str, Any]:
    if kept is None:
        raise AssertionError("an entry that was just written is whole")
    return dict(kept.arrays)
