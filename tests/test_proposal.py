"""Settings proposed for pictures whose objects and ground are known."""

import numpy as np
import pytest
from PIL import Image

from air_tf import cli
from air_tf.config import Config
from air_tf.data.proposal import FAINT, FOR_FAINT, MOST_OBJECTS, Given, look, propose
from air_tf.parts import flat
from examples.blobs import Blobs, draw_blobs

SIZE = 80
Y, X = np.mgrid[:SIZE, :SIZE]


def save(folder, number, ground, values, most=3, size=SIZE, radius=7, first=0):
    """Pictures of discs on a grid of places, so that none touch."""
    folder.mkdir()
    random = np.random.default_rng(0)
    places = [(y, x) for y in range(15, size - 10, 25) for x in range(15, size - 10, 25)]
    y, x = np.mgrid[:size, :size]
    for i in range(first, number):
        picture = np.zeros((size, size, 3)) + ground(random)
        for place in random.permutation(len(places))[: i % (most + 1)]:
            top, left = places[place]
            picture[np.hypot(y - top, x - left) <= radius] = values[random.integers(len(values))]
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{i:03}.png")
    return folder


def proposed(folder, **given):
    return propose(look(sorted(folder.glob("*"))), Given(**given))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "pictures"


def test_light_discs_on_black_are_what_air_was_made_for(folder):
    proposal = proposed(save(folder, 120, lambda random: 0, [(255, 255, 255)]))
    assert proposal.preset == "few_objects"
    assert proposal.model == {"background": "none", "composition": "add", "max_objects": 4}
    assert proposal.data == {
        "ground": "subtract", "invert": "no", "channels": 1, "object_size": 15.0, "crop": 0,
        "image_size": (48, 48),
    }  # fmt: skip
    assert all("(sure)" in line for line in proposal.lines if line.startswith(("Obj", "Colour", "Size")))


def test_dark_discs_on_paper_of_any_lightness_are_inverted(folder):
    proposal = proposed(save(folder, 120, lambda random: random.integers(180, 250), [(40, 40, 40)]))
    assert proposal.data["invert"] == "yes" and proposal.data["ground"] == "subtract"
    assert proposal.model["background"] == "none"


def test_a_slope_of_light_in_each_picture_asks_for_a_vae(folder):
    def slope(random):
        angle = random.uniform(0, 2 * np.pi)
        return (150 + 60 / SIZE * (np.cos(angle) * Y + np.sin(angle) * X))[..., None]

    proposal = proposed(save(folder, 40, slope, [(30, 30, 30)]))
    assert proposal.data["invert"] == "no" and proposal.data["ground"] == "keep"
    assert proposal.model["background"] == "vae" and proposal.model["composition"] == "over"


def test_a_fixed_camera_asks_for_a_mean_image(folder):
    tiles = np.kron(np.random.default_rng(1).integers(40, 120, (8, 8, 1)), np.ones((10, 10, 1)))
    proposal = proposed(save(folder, 40, lambda random: tiles, [(250, 250, 250)]))
    assert proposal.model["background"] == "mean" and "the same in all" in "".join(proposal.lines)
    assert proposal.model["max_objects"] == 4 and proposal.data["object_size"] in (14.0, 15.0)


def test_mixed_objects_need_a_background_that_is_kept(folder):
    proposal = proposed(save(folder, 40, lambda random: 120, [(20, 20, 20), (230, 230, 230)]))
    assert proposal.model["background"] == "mean" and proposal.model["composition"] == "over"
    assert proposal.data["ground"] == "keep" and proposal.data["invert"] == "no"


def test_how_much_objects_stand_out_is_the_sum_of_their_squared_contrasts(folder):
    seen = look(sorted(save(folder, 20, lambda random: 40, [(160, 160, 160)]).glob("*")))
    pixels = (np.hypot(Y - SIZE // 2, X - SIZE // 2) <= 7).sum()
    np.testing.assert_allclose(seen.objects.whiteness, pixels * (120 / 255) ** 2, rtol=0.05)


@pytest.mark.parametrize("level, more", [(80, {}), (80, {"crop": 45}), (160, {})])
def test_objects_that_hardly_stand_out_get_a_model_that_sees_more_detail(folder, level, more):
    proposal = proposed(save(folder, 120, lambda random: 0, [(level,) * 3]), **more)
    side = proposal.data["image_size"][0]
    white_pixels = np.pi * 7.5**2 * (side / (more.get("crop") or SIZE)) ** 2 * (level / 255) ** 2
    assert (white_pixels < FAINT) == (FOR_FAINT.items() <= proposal.model.items())
    assert abs(white_pixels - FAINT) > 2  # the discs' edges do not decide


def test_blobs_are_many_coloured_and_dark(folder):
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(100):
        draw_blobs(Blobs(), random)[0].save(folder / f"{i:03}.jpg", quality=85)
    proposal = proposed(folder)
    assert proposal.preset == "many_objects" and proposal.model["max_objects"] == 6
    assert proposal.data["channels"] == 3 and proposal.data["crop"] == 0
    assert proposal.data["object_size"] == pytest.approx(26, abs=1.5)  # diameters 22 to 32


def test_where_nothing_stands_out_the_defaults_are_kept(folder):
    proposal = proposed(save(folder, 4, lambda random: 200, [(20, 20, 20)], most=0))
    assert proposal.lines[1].startswith("Nothing stands out")
    flags = ["--dataset", "images", "--images", str(folder)]
    for preset in [], ["--preset", "few_objects"]:
        assert flat(cli.parse_run(flags + preset))["max_objects"] == 4


def test_one_photograph_is_cropped(folder):
    place = folder.parent / "one"
    save(place, 100, lambda random: 200, [(20, 20, 20)], most=99, size=300, first=99)  # a full one
    proposal = proposed(place)
    assert proposal.data["crop"] == 45 and proposal.data["image_size"] == (48, 48)
    # of places 25 pixels apart, 45 pixels hold two at most in each direction
    assert proposal.model["max_objects"] == 5


def test_few_pictures_with_large_objects_are_cropped_as_far_as_there_is_room(folder):
    save(folder, 60, lambda random: 200, [(20, 20, 20)], most=2, size=90, radius=17)
    chosen = flat(cli.parse_run(["--dataset", "images", "--images", str(folder)]))
    assert chosen["object_size"] == pytest.approx(35, abs=2) and chosen["crop"] == 90
    Image.new("L", (30, 30)).save(folder / "thumbnail.png")
    assert proposed(folder).data["crop"] == 0  # no object has room in the smallest picture


def test_what_is_given_decides_the_rest(folder):
    save(folder, 40, lambda random: 200, [(20, 20, 20)])
    proposal = proposed(folder, crop=0, object_size=20.0, background="vae")
    assert proposal.data["crop"] == 0 and proposal.data["object_size"] == 20.0
    assert proposal.model["background"] == "vae" and proposal.data["ground"] == "keep"


def test_flags_come_before_what_is_proposed(folder, capsys):
    save(folder, 120, lambda random: 200, [(20, 20, 20)], most=6)
    flags = ["--dataset", "images", "--images", str(folder)]
    config = cli.parse_run(flags)
    chosen = flat(config)
    assert chosen["invert"] == "yes" and chosen["max_objects"] == 7 and chosen["difference"] is True
    assert "Looked at 40 of 120 pictures." in capsys.readouterr().out
    chosen = flat(cli.parse_run([*flags, "--invert", "no", "--max-objects=2", "--background", "vae"]))
    assert (chosen["invert"], chosen["max_objects"], chosen["ground"]) == ("no", 2, "keep")
    assert chosen["background"] == "vae" and chosen["composition"] == "over"
    for name in "--scale-prior", "--scale_prior":
        chosen = flat(cli.parse_run([*flags, name, "4", "0.5"]))
        assert chosen["scale_prior"] == (4.0, 0.5) and chosen["object_size"] == 0


def test_a_preset_is_kept_and_its_images_are_still_looked_at(folder):
    save(folder, 120, lambda random: 200, [(20, 20, 20)])
    flags = ["--dataset", "images", "--images", str(folder), "--preset"]
    few, photographs = (flat(cli.parse_run([*flags, p])) for p in ("few_objects", "photographs"))
    assert few["background"] == "none" and few["invert"] == "yes" and few["composition"] == "add"
    assert photographs["background"] == "vae" and photographs["composition"] == "over"
    assert photographs["ground"] == "keep" and photographs["max_objects"] == 4
    assert few["object_size"] == photographs["object_size"] == 15.0
    sprites = flat(cli.parse_run([*flags, "sprites"]))  # whose scale's prior is that of other objects
    assert sprites["scale_prior"] == few["scale_prior"] and sprites["object_size"] == 15.0


def test_a_preset_decides_how_much_detail_is_seen(folder, capsys):
    save(folder, 120, lambda random: 0, [(60, 60, 60)])
    flags = ["--dataset", "images", "--images", str(folder)]
    assert FOR_FAINT.items() <= flat(cli.parse_run(flags)).items()
    assert "Detail: " in capsys.readouterr().out
    assert flat(cli.parse_run([*flags, "--preset", "few_objects"]))["attention_gain"] == 0
    printed = capsys.readouterr().out
    assert "Detail: " not in printed and "--preset few_objects. Flags that" in printed


def test_what_cannot_be_looked_at_is_refused_in_one_line(folder, tmp_path):
    with pytest.raises(ValueError, match="which names none"):
        cli.parse_run(["--dataset", "images", "--images", str(tmp_path)])
    folder.mkdir()
    (folder / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match="pictures that can be read. Received: 1 that cannot"):
        cli.parse_run(["--dataset", "images", "--images", str(folder)])
    assert cli.parse_run(["--dataset", "images"]).data.dataset == "images"  # refused when it is loaded


def test_a_part_that_there_is_not_is_refused_before_anything_is_proposed(folder, capsys):
    save(folder, 120, lambda random: 200, [(20, 20, 20)])
    with pytest.raises(ValueError, match="background.*none.*mean.*vae.*Received.*bogus"):
        cli.parse_run(["--dataset", "images", "--images", str(folder), "--background", "bogus"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("preset", ["few_objects", "many_objects", "photographs"])
def test_presets_of_models_leave_the_images_alone(preset):
    config = cli.parse_run(["--preset", preset, "--dataset", "omniglot"])
    assert isinstance(config, Config) and config.data.dataset == "omniglot"
    default = flat(cli.parse_run(["--preset", preset]).data)
    assert default == flat(Config().data)


def save_discs(folder, size, radius, corners):
    """One picture with light discs on a dark ground."""
    folder.mkdir()
    picture, side = np.full((size, size, 3), 30, np.uint8), 2 * radius + 1
    y, x = np.mgrid[:side, :side] - radius
    for top, left in corners:
        picture[top : top + side, left : left + side][np.hypot(y, x) <= radius] = 220
    Image.fromarray(picture).save(folder / "a.png")
    return [folder / "a.png"]


def test_small_objects_of_a_large_picture_are_looked_at_in_parts(folder):
    """Shrunk to 400 pixels a side, these discs of 11 pixels would have two."""
    random = np.random.default_rng(0)
    places = np.stack(np.divmod(random.permutation(60 * 60)[:1000], 60), axis=-1) * 40
    paths = save_discs(folder, 2400, 5, places + random.integers(0, 25, (1000, 2)))
    seen = look(paths)
    assert seen.parts and seen.chosen == seen.number == 1
    assert np.median(seen.objects.sizes) == pytest.approx(11, abs=1)
    proposal = propose(seen)
    assert "Looked at parts of 1 of 1 pictures." in proposal.lines
    assert proposal.data["crop"] == pytest.approx(33, abs=3) and proposal.data["invert"] == "no"
    assert proposal.model["max_objects"] < 10
    in_large_crops = propose(seen, Given(crop=1200)).model[
        "max_objects"
    ]  # of which a part shows a ninth
    assert in_large_crops == MOST_OBJECTS


def test_large_objects_of_a_large_picture_are_looked_at_whole(folder):
    seen = look(save_discs(folder, 900, 60, [(50, 80), (400, 300), (700, 600)]))
    assert not seen.parts and np.median(seen.objects.sizes) == pytest.approx(121, rel=0.05)
