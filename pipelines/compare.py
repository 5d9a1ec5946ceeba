"""Images beside the truth and what every method sees in them: the paper's figure 3, of any sets."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float
from PIL import Image
from pydantic import Field

from headclip_med.atomic import check_writable
from headclip_med.datasets import Dataset
from headclip_med.errors import UnreadableInput
from headclip_med.evaluation.datasets import open_datasets
from headclip_med.evaluation.examples import prepare_image
from headclip_med.evaluation.measure import ModelMaps
from headclip_med.evaluation.predictions import Predictions, predict_dataset
from headclip_med.evaluation.results import title_of
from headclip_med.models.model import AnomalyModel
from headclip_med.models.registry import METHODS
from headclip_med.models.request import ModelRequest
from headclip_med.pipelines.loading import load_models
from headclip_med.settings import Count, ImageSize, Seed, Settings, Words, checked, require
from headclip_med.write.pictures.comparison import ComparedRow, draw_comparison
from headclip_med.write.tables import Document, Drawing, Line, Number, Table, write_document

NAME = "compare"
"""Of the files."""

RULE = (
    "Of each set's abnormal test images {count} were drawn at random, with seed {seed}, before any "
    "method saw them; no image was chosen for how it looks. Numbers count the set's test images, "
    "from 1."
)
SCALE = (
    "Maps have one scale for all methods, black at 0 to yellow at 1, and are laid over the image; "
    "none is stretched to its own range. White outlines the truth, where the set has it."
)


@checked
class CompareRequest(Settings):
    """What is asked of a comparison."""

    data: tuple[Words, ...] = ()
    """Sets, as ``LAYOUT:FOLDER``."""
    model: ModelRequest = Field(default_factory=ModelRequest)
    """Who is compared."""
    examples: Annotated[int, Field(ge=1, le=50)] = 3
    """Abnormal images of each set."""
    seed: Seed = 0
    """Of their choice."""
    batch_size: Count = 8
    """Images per forward pass."""
    image_size: ImageSize | None = None
    """Rows and columns of every model's input, in pixels; each one's own by default."""
    out: Path = Path(NAME)
    """Folder for picture, page and table."""

    def __post_init__(self) -> None:
        """Check that there is something to look at."""
        require(bool(self.data), "Nothing to compare on was named.", "Name a set: LAYOUT:FOLDER.")


@dataclass(frozen=True, eq=False)
class Comparison:
    """A finished comparison.

    Attributes:
        document: The scores that stand beside the picture.
        paths: Files by kind; ``grid`` is the picture, ``html`` the page.
    """

    document: Document
    paths: Mapping[str, Path]


def compare(
    request: CompareRequest,
    *,
    say: Callable[[str], None],
    seen: Callable[[int, int], None] = lambda count, total: None,
) -> Comparison:
    """Show the same images to all methods, and draw what each sees, row by row.

    Args:
        request: What is asked for.
        say: Is told which methods are missing, and what comes next.
        seen: Is told after each batch how many images that was, and of how many in all, each size
            of the models' input again.

    Raises:
        InvalidSettings: A method or a layout is unknown.
        UnreadableInput: A set cannot be read, or has no abnormal image.
        UnusableWeights: There are no weights, or they do not fit.
        UnwritableOutput: The folder takes no files.
    """
    chosen = [choose_examples(_tested(spec), request.examples, request.seed)
              for spec in request.data]  # fmt: skip
    check_writable(request.out)
    loaded = load_models(request.model)
    for method, reason in loaded.missing.items():
        say(f"without {method}: {reason}")
    sizes = {request.image_size or model.image_size for model in loaded.models.values()}
    total = len(sizes) * sum(len(numbers) for _, numbers in chosen)
    rows, lines = [], []
    for dataset, numbers in chosen:
        say(f"comparing on {dataset.name} ...")
        predicted = predict_dataset(
            dataset, list(loaded.models.values()),
            batch_size=request.batch_size, image_size=request.image_size,
            seen=lambda count: seen(count, total),
        )  # fmt: skip
        found = list(_rows(dataset, numbers, loaded.models, predicted))
        rows += [row for row, _ in found]
        lines += [Line(row.heads, tuple(map(Number, scores))) for row, scores in found]
    titles = tuple(map(title_of, loaded.models))
    missing = tuple(f"Without {METHODS[name].title}: {why}" for name, why in loaded.missing.items())
    picture = draw_comparison(titles, rows)
    document = Document(
        name=NAME,
        title="What each method sees",
        introduction=(RULE.format(count=request.examples, seed=request.seed), SCALE, *missing),
        facts=tuple(_facts(chosen, loaded.models)),
        tables=(_scores(titles, lines),),
        drawings=(Drawing("grid", "Image, truth, and the map of each method", _png(picture)),),
    )
    return Comparison(document, write_document(document, request.out))


def choose_examples(dataset: Dataset, count: int, seed: int) -> tuple[Dataset, list[int]]:
    """Draw abnormal images of a set, by chance and before anybody has seen them.

    Args:
        dataset: Its ``test`` split is drawn from.
        count: How many; all, where there are fewer.
        seed: Of the draw, which depends on nothing else but how many abnormal images there are.

    Returns:
        The set of these images, in its order, and the number of each, from 1.

    Raises:
        UnreadableInput: There is no abnormal image.
    """
    samples = dataset.split("test").samples
    abnormal = [number for number, one in enumerate(samples) if one.label != 0]
    if not abnormal:
        raise UnreadableInput(
            f"{dataset.name} has no abnormal test image to look at.",
            "Name a set that has some.",
            code="no-abnormal-image",
        )
    draw = np.random.default_rng(seed)
    places = sorted(draw.choice(len(abnormal), min(count, len(abnormal)), replace=False))
    numbers = [abnormal[place] for place in places]
    return replace(dataset, samples=tuple(samples[one] for one in numbers)), [
        one + 1 for one in numbers
    ]


def _tested(spec: str) -> Dataset:
    return open_datasets([spec]).split("test")


def _rows(
    dataset: Dataset,
    numbers: Sequence[int],
    models: Mapping[str, AnomalyModel],
    predicted: Sequence[Predictions],
) -> Iterator[tuple[ComparedRow, list[float]]]:
    """Give every image with its maps, and its scores in percent."""
    number_of = {
        id(sample): number for sample, number in zip(dataset.samples, numbers, strict=True)
    }
    pairs = zip(predicted, models.values(), strict=True)
    drawn = [ModelMaps(one, model.scores) for one, model in pairs]
    scores = [_scores_of(one, model) for one, model in zip(drawn, models.values(), strict=True)]
    largest = max(predicted, key=lambda one: one.image_size)
    for index, sample in enumerate(predicted[0].samples):
        picture = prepare_image(sample, largest.image_size).permute(1, 2, 0).numpy()
        truth = None if largest.masks is None else np.asarray(largest.masks[index])
        maps = tuple(one.read(slice(index, index + 1))[1][0] for one in drawn)
        heads = (dataset.name, sample.category, f"no. {number_of[id(sample)]}")
        yield (
            ComparedRow(heads, picture, truth, maps),
            [100 * float(one[index]) for one in scores],
        )


def _scores_of(maps: ModelMaps, model: AnomalyModel) -> Float[np.ndarray, "images"]:
    """Score every image as the method is used."""
    whole = slice(0, len(maps.predictions.labels))
    return maps.image_scores(whole, maps.local_scores())[model.scores.image_score]


def _scores(titles: tuple[str, ...], lines: Sequence[Line]) -> Table:
    return Table(
        "scores",
        "Image scores",
        ("set", "category", "image"),
        titles,
        tuple(lines),
        ("Percent; each method's own score, and no two methods share a scale.",),
    )


def _facts(
    chosen: Sequence[tuple[Dataset, Sequence[int]]], models: Mapping[str, AnomalyModel]
) -> Iterator[tuple[str, str]]:
    for dataset, numbers in chosen:
        yield f"Images of {dataset.name}", ", ".join(map(str, numbers))
    for name, model in models.items():
        backbone = model.describe().get("backbone")
        known = backbone if isinstance(backbone, Mapping) else {}
        about = f"{known.get('name', '')}, digest {str(known.get('digest', ''))[:16]}"
        yield title_of(name), f"{about}; images of {model.image_size} px"


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
