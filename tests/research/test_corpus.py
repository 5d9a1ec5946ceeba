import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from headclip_med.synthetic.development import development_volume
from research.mini.corpus import Samples, draw_samples, industrial_samples, organ_samples
from research.mini.corpus.acquisition import draw_camera
from research.mini.corpus.canvas import Canvas, FamilyDrawing, ellipse, inside, paint
from research.mini.corpus.captions import (
    KIND_WORDS,
    NOUNS,
    abnormal_caption,
    normal_caption,
    state_sentences,
    vocabulary,
)
from research.mini.corpus.defects import DEFECTS
from research.mini.corpus.moles import draw_mole
from research.mini.corpus.objects import draw_object
from research.mini.corpus.organs import ORGANS
from research.mini.corpus.places import rim
from research.mini.corpus.samples import EMPHASIS_UNIT, _emphasis, _visible
from research.mini.corpus.textures import TEXTURES, draw_texture
from research.mini.development import KINDS, development_volumes, windowed

SIZE = 48


@pytest.fixture
def canvas() -> Canvas:
    return Canvas(4, SIZE, (7, 1))


@pytest.fixture(scope="module")
def samples() -> Samples:
    return draw_samples(3, 0, 192, SIZE)


def _digest(samples: Samples) -> str:
    content = samples.images.numpy().tobytes() + samples.masks.numpy().tobytes()
    return hashlib.sha256(content + "".join(samples.captions).encode()).hexdigest()


def test_an_ellipse_is_minus_one_at_its_centre_and_zero_on_its_rim() -> None:
    x, y = torch.tensor([0.2, 0.5, 0.2]), torch.tensor([-0.1, -0.1, 0.4])

    distance = ellipse(x, y, (0.2, -0.1), (0.3, 0.5))

    assert distance.tolist() == pytest.approx([-1, 0, 0], abs=1e-6)


def test_inside_is_a_half_on_the_border_and_rises_inwards() -> None:
    assert inside(torch.tensor([1.0, 0.0, -1.0])).tolist() == pytest.approx([0, 0.5, 1], abs=1e-6)


def test_paint_covers_by_the_share_of_the_mask() -> None:
    painted = paint(torch.tensor([0.2, 0.2, 0.2]), torch.tensor([0.0, 0.5, 1.0]), 0.8)

    assert painted.tolist() == pytest.approx([0.2, 0.5, 0.8])


def test_a_canvas_draws_the_same_numbers_for_the_same_key_only() -> None:
    first, again, other = (Canvas(3, 16, key).fractal(4, 2) for key in ((1, 2), (1, 2), (2, 1)))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_drawing_leaves_the_global_random_stream_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    draw_samples(1, 0, 16, SIZE)

    assert torch.equal(torch.rand(3), expected)


def test_fractal_noise_has_unit_deviation(canvas: Canvas) -> None:
    deviations = canvas.fractal(8, 3).flatten(1).std(1)

    assert deviations.tolist() == pytest.approx([1] * 4, abs=1e-4)


@pytest.mark.parametrize("kind", TEXTURES)
def test_a_texture_fills_the_picture_and_varies(kind: str, canvas: Canvas) -> None:
    drawing = draw_texture(canvas, (kind,))

    assert drawing.foreground.min() == 1
    assert drawing.image.min() >= 0
    assert drawing.image.max() <= 1
    assert (drawing.image.flatten(1).std(1) > 1e-3).all()
    assert set(drawing.nouns) <= set(NOUNS[kind])


@pytest.mark.parametrize("organ", ORGANS)
def test_an_organ_has_room_for_a_defect_and_known_nouns(organ: str) -> None:
    drawing = ORGANS[organ][0](Canvas(16, SIZE, (1, 4)))

    assert drawing.image.shape == (16, 3, SIZE, SIZE)
    assert torch.isfinite(drawing.image).all()
    # A slice near the vertex may have none, but most pictures of every organ do.
    assert (drawing.foreground.flatten(1).mean(1) > 0.02).float().mean() > 0.5
    assert set(drawing.nouns) <= set(NOUNS[organ])


def test_an_object_leaves_ground_around_it(canvas: Canvas) -> None:
    share = draw_object(canvas).foreground.flatten(1).mean(1)

    assert (share > 0.01).all()
    assert (share < 0.9).all()


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defect_changes_the_picture_where_it_says_so(kind: str) -> None:
    canvas = Canvas(6, SIZE, (2, 9))
    image = torch.full((6, 3, SIZE, SIZE), 0.5) + 0.1 * canvas.noise(10, channels=3)
    whole = torch.ones(6, 1, SIZE, SIZE)

    defect = DEFECTS[kind][0](canvas, image, whole)

    change = (defect.image - image).abs().amax(1, keepdim=True)
    assert defect.mask.min() >= 0
    assert defect.mask.max() <= 1
    within = (change * defect.mask).sum() / defect.mask.sum()
    beyond = (change * (1 - defect.mask)).sum() / (1 - defect.mask).sum()
    assert within > 5 * beyond
    assert defect.x.abs().max() <= 1.5


def test_a_mole_is_large_darker_than_the_skin_and_near_the_middle() -> None:
    canvas = Canvas(16, SIZE, (4, 4))
    skin = torch.tensor([0.8, 0.6, 0.5]).view(1, 3, 1, 1).expand(16, 3, SIZE, SIZE)

    mole = draw_mole(canvas, skin, torch.ones(16, 1, SIZE, SIZE))

    assert 0.08 < (mole.mask > 0.5).float().mean() < 0.5
    assert (mole.x**2 + mole.y**2).max() < 0.7**2
    inner = (mole.image * mole.mask).sum((2, 3)) / mole.mask.sum((2, 3))
    assert (inner.mean(1) < 0.6).float().mean() > 0.9  # a few are pink
    assert torch.allclose(*(one[mole.mask.expand_as(skin) < 1e-6] for one in (mole.image, skin)))


def test_skin_comes_with_moles_and_is_an_organ() -> None:
    samples = draw_samples(3, 0, 64, SIZE, "skin")
    assert samples.organs.all()
    assert 0.3 < samples.labels.float().mean() < 0.7
    assert samples.masks[samples.labels].float().mean() > 0.08


def test_a_rim_defect_hugs_the_edge_of_the_organ() -> None:
    canvas = Canvas(8, 64, (3, 3))
    disc = inside(ellipse(canvas.x, canvas.y, (0.0, 0.0), (0.8, 0.8)))

    mask = (rim(canvas, disc).distance < 0) & (disc > 0.5)

    depth = 0.8 - (canvas.x**2 + canvas.y**2).sqrt()
    assert mask.flatten(1).any(1).sum() >= 6
    assert depth[mask].max() < 0.4


def test_a_camera_takes_two_pictures_alike() -> None:
    canvas = Canvas(4, SIZE, (5, 5))
    drawing = draw_texture(canvas)
    camera = draw_camera(canvas, drawing.foreground, organ=True)

    assert torch.equal(camera.expose(drawing.image), camera.expose(drawing.image.clone()))


def test_part_of_a_camera_is_the_camera_of_those_pictures() -> None:
    canvas = Canvas(4, SIZE, (5, 6))
    drawing = draw_texture(canvas)
    camera = draw_camera(canvas, drawing.foreground, organ=False)

    part = camera.part(slice(1, 3)).expose(drawing.image[1:3])

    assert torch.equal(part, camera.expose(drawing.image)[1:3])


def test_a_defect_too_faint_to_see_is_refused_and_a_bold_one_is_kept() -> None:
    canvas = Canvas(2, SIZE, (5, 7))
    clean = torch.full((2, 3, SIZE, SIZE), 0.5)
    camera = draw_camera(canvas, torch.ones(2, 1, SIZE, SIZE), organ=False)
    mask = torch.zeros(2, 1, SIZE, SIZE)
    mask[:, :, 10:20, 10:20] = 1
    altered = clean + mask * torch.tensor([0.01, 0.4]).view(2, 1, 1, 1)
    from research.mini.corpus.defects import Defect

    where, visible = _visible(camera, clean, Defect(altered, mask, *[torch.zeros(2, 1, 1, 1)] * 2))

    assert visible.tolist() == [False, True]
    assert where[1].sum() == 100


def test_emphasis_is_one_at_three_percent_and_grows_for_smaller_pieces() -> None:
    mask = torch.zeros(100, 100, dtype=torch.bool)
    mask[10:30, 10:25] = True  # 300 pixels: 3 %
    mask[60:62, 60:62] = True  # 4 pixels: sqrt(300 / 4) = 8.7, held at 6
    mask[80:90, 80:95] = True  # 150 pixels: sqrt 2

    emphasis = _emphasis(mask).float() / EMPHASIS_UNIT

    assert emphasis[15, 15] == 1
    assert emphasis[60, 60] == 6
    assert emphasis[85, 85] == pytest.approx(2**0.5, abs=1 / EMPHASIS_UNIT)
    assert emphasis[0, 0] == 0


def test_equal_seed_and_index_give_equal_samples_and_others_do_not() -> None:
    first, again = draw_samples(3, 4, 32, SIZE), draw_samples(3, 4, 32, SIZE)

    assert _digest(first) == _digest(again)
    assert _digest(first) != _digest(draw_samples(3, 5, 32, SIZE))
    assert _digest(first) != _digest(draw_samples(4, 4, 32, SIZE))


def test_labels_masks_and_emphasis_agree(samples: Samples) -> None:
    assert torch.equal(samples.labels, samples.masks.flatten(1).any(1))
    assert torch.equal(samples.emphasis > 0, samples.masks)


def test_captions_tell_the_state(samples: Samples) -> None:
    healthy_words = {w for s in state_sentences(abnormal=False) for w in s.strip(".").split()}
    sick_words = {w for s in state_sentences(abnormal=True) for w in s.strip(".").split()}
    known = healthy_words - sick_words
    for caption, label in zip(samples.captions, samples.labels, strict=True):
        words = set(caption.strip(".").split())
        assert bool(words & (known | {"without"})) == (not label), caption


def test_fewer_organs_than_surfaces_and_objects_are_abnormal() -> None:
    organ = draw_samples(1, 0, 320, SIZE, "organ").labels.float().mean()
    industrial = draw_samples(1, 0, 320, SIZE, "industrial").labels.float().mean()

    # At this small size more defects are too small to count than at the corpus's own.
    assert 0.25 < organ < 0.45
    assert organ < industrial <= 0.56


def test_every_word_of_a_caption_is_in_the_vocabulary(samples: Samples) -> None:
    known = {word for phrase in vocabulary() for word in phrase.replace(".", " ").split()}

    used = {word for caption in samples.captions for word in caption.replace(".", " ").split()}

    assert used <= known


def test_a_caption_names_the_place_of_the_defect() -> None:
    canvas = Canvas(1, 8, (0, 0))

    captions = [abnormal_caption(canvas, "screw", "crack", (-0.8, 0.9)) for _ in range(60)]

    assert any("lower left" in caption for caption in captions)
    assert not any("upper" in caption or "right" in caption for caption in captions)


def test_every_kind_of_defect_has_words_and_captions_stay_short() -> None:
    assert set(KIND_WORDS) == {*DEFECTS, "mole"}
    canvas = Canvas(1, 8, (0, 1))
    longest = max(len(normal_caption(canvas, "perforated plate").split()) for _ in range(200))
    assert longest <= 14


def test_industrial_samples_show_no_organ_and_organ_samples_nothing_else() -> None:
    assert not draw_samples(2, 0, 160, SIZE, "industrial").organs.any()
    assert draw_samples(2, 0, 160, SIZE, "organ").organs.all()


@given(count=st.integers(1, 40), seed=st.integers(0, 2**20))
@settings(max_examples=5, deadline=None)
def test_samples_come_one_by_one_as_promised(count: int, seed: int) -> None:
    drawn = list(industrial_samples(seed, count, 32))

    assert len(drawn) == count
    for image, mask, label in drawn:
        assert image.shape == (32, 32, 3)
        assert image.dtype == np.uint8
        assert mask.shape == (32, 32)
        assert label == mask.any()


def test_the_first_of_a_longer_row_of_samples_are_those_of_a_shorter() -> None:
    short, long = list(organ_samples(5, 3, 32)), list(organ_samples(5, 20, 32))

    for (image, mask, label), (other, other_mask, other_label) in zip(short, long, strict=False):
        np.testing.assert_array_equal(image, other)
        np.testing.assert_array_equal(mask, other_mask)
        assert label == other_label


def test_a_grey_organ_has_no_coloured_lesion() -> None:
    from research.mini.corpus.defects import draw_defect

    canvas = Canvas(4, SIZE, (8, 8))
    grey = FamilyDrawing(
        torch.full((4, 3, SIZE, SIZE), 0.4), torch.ones(4, 1, SIZE, SIZE), ("x",) * 4
    )
    for _ in range(20):
        _, defect = draw_defect(canvas, grey.image, grey.foreground, organ=True)
        assert (defect.image[:, 0] - defect.image[:, 2]).abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_development_lesion_lies_in_the_brain_and_shows(kind: str) -> None:
    volume, healthy = (development_volume(11, k) for k in (kind, "healthy"))

    assert volume.lesion.any()
    assert not (volume.lesion & ~volume.brain).any()
    difference = np.abs(
        ndimage.uniform_filter(volume.voxels_hu - healthy.voxels_hu, 3)[volume.lesion]
    )
    assert difference.mean() > 3


def test_development_volumes_alternate_healthy_and_lesioned() -> None:
    volumes = development_volumes(4, 6)

    assert [volume.kind for volume in volumes][::2] == ["healthy"] * 3
    assert [volume.lesion.any() for volume in volumes] == [False, True] * 3


def test_a_window_maps_its_borders_to_black_and_white() -> None:
    volume = development_volume(1, "healthy")

    grey = windowed(volume, 40, 80)

    assert (grey[volume.voxels_hu <= 0] == 0).all()
    assert (grey[volume.voxels_hu >= 80] == 255).all()


def test_a_coronal_development_volume_stands_upright() -> None:
    volumes = development_volumes(4, 16)
    assert sum(volume.coronal for volume in volumes) == 2

    lying, standing = (development_volume(5, "healthy", coronal=c) for c in (False, True))
    # Eyes are in the lowest slices, in front; upright they are in the first slices, below.
    assert (lying.voxels_hu[-1] < -60).sum() > 0
    assert not np.array_equal(lying.voxels_hu, standing.voxels_hu)
