"""The photographs of the package."""

import pytest
import torch
from PIL import Image

from visattn.lab import list_photos, load_photo, photo_credit


@pytest.mark.parametrize("name", list_photos())
def test_every_photograph_loads_and_has_a_credit(name):
    photo = load_photo(name)
    assert max(photo.shape[1:]) == 256
    assert photo.shape[0] == 3
    assert photo.min() >= 0
    assert photo.max() <= 1
    assert photo.std() > 0.05, "a photograph, not a constant"
    assert any(word in photo_credit(name) for word in ("CC0", "public domain"))


def test_there_are_eight():
    assert len(list_photos()) == 8


@pytest.mark.parametrize("size", [7, 40, 256, 300])
def test_size_is_the_longer_side(size):
    photo = load_photo("coffee", size=size)
    assert photo.shape[2] == size
    assert photo.shape[1] == round(size * 171 / 256)
    assert load_photo("coffee", size=size, square=True).shape == (3, size, size)


def test_a_file_of_the_readers_own(tmp_path):
    path = tmp_path / "own.png"
    Image.new("RGB", (10, 20), (255, 0, 0)).save(path)
    photo = load_photo(path, size=10)
    assert photo.shape == (3, 10, 5)
    torch.testing.assert_close(photo[0], torch.ones(10, 5))


def test_a_photograph_taken_on_its_side_is_turned(tmp_path):
    picture, exif = Image.new("RGB", (10, 20)), Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    picture.save(tmp_path / "own.jpg", exif=exif)
    assert load_photo(tmp_path / "own.jpg", size=20).shape == (3, 10, 20)


@pytest.mark.bad_input
def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"'lena'.*astronaut"):
        load_photo("lena")
    with pytest.raises(ValueError, match=r"'lena'.*astronaut"):
        photo_credit("lena")
    with pytest.raises(ValueError, match="got 0"):
        load_photo("coffee", size=0)
    with pytest.raises(TypeError, match=r"2\.5"):
        load_photo("coffee", size=2.5)
    with pytest.raises(ValueError, match="no file"):
        load_photo(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png is not a picture"):
        load_photo(tmp_path / "text.png")
