"""A disk that is full, with a real Chromium: the page says so, nothing is lost, and with more space it goes on."""

import io

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.thorough


def noise(seed):
    """A picture of 200 kB that no compression makes smaller."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (256, 256, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def give(page, numbers):
    files = [{"name": f"{i}.png", "mimeType": "image/png", "buffer": noise(i)} for i in numbers]
    page.set_input_files('[data-name="cup"] input', files)


def files_in(folder):
    return {each.name: each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_a_full_disk_loses_nothing_and_with_more_space_it_goes_on(changed_studio, small_disk):
    disk = small_disk("size=2m")
    folder = disk / "mine"
    page = changed_studio(folder=folder)
    page.fill("#class-name", "cup")
    page.keyboard.press("Enter")
    page.locator('[data-name="cup"]').wait_for()

    give(page, range(16))
    page.locator("#progress", has_text="refused.").wait_for()
    there = files_in(folder)
    assert 0 < len(there) < 16
    assert there == {name: noise(int(name.split(".")[0])) for name in there}  # none is cut short, nothing lies beside
    assert page.locator("#progress").inner_text() == f"{len(there)} pictures added, {16 - len(there)} refused."
    assert all("The disk is full. Free some space" in each for each in page.locator("#refused li").all_text_contents())
    page.locator('[data-name="cup"] p', has_text=f"{len(there)} pictures").first.wait_for()

    with pytest.raises(OSError, match="No space"):
        (disk / "filler").write_bytes(bytes(2**21))  # to the last byte
    page.click('[data-key="cup/look"]')
    page.locator("#grid .tile").first.click()
    page.click("#remove")  # what cannot be noted is not done
    page.locator("#trouble", has_text="The disk is full").wait_for()
    assert files_in(folder) == there

    (disk / "filler").unlink()
    page.get_by_role("button", name="Undo").click()  # moves the pictures: it takes no space
    page.locator('[data-name="cup"] p', has_text="0 pictures").first.wait_for()
    assert files_in(folder) == there
    for each in (folder / "removed").rglob("*.png"):
        each.unlink()
    give(page, range(3))
    page.locator("#progress", has_text="3 pictures added.").wait_for()
    assert files_in(folder / "pictures") == {f"{i}.png": noise(i) for i in range(3)}
