import struct

import pytest

from keensight.data.orientation import of_exif, of_xmp


def block(order, kind, value, offset=8):
    number = struct.pack(order + ("HH" if kind == 3 else "I"), *([value, 0] if kind == 3 else [value]))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", offset)
    return head + struct.pack(f"{order}HHHI", 1, 0x112, kind, 1) + number + bytes(4)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [3, 4])
def test_both_byte_orders_and_both_whole_numbers_are_read(order, kind):
    for number in range(1, 9):
        assert of_exif(block(order, kind, number)) == of_exif(b"Exif\0\0" + block(order, kind, number)) == number


def test_what_is_no_orientation_is_none():
    assert [of_exif(block("<", 3, number)) for number in (0, 9, 65535)] == [0, 0, 0]
    whole = block(">", 3, 6)
    assert {of_exif(whole[:length]) for length in range(len(whole) - 4)} == {0}
    assert of_exif(block("<", 3, 6, offset=2**32 - 1)) == of_exif(block("<", 5, 6)) == of_exif(b"noise" * 9) == 0


def test_xmp_says_it_as_an_attribute_or_an_element():
    assert of_xmp(b'<a tiff:Orientation="6">') == of_xmp(b"<tiff:Orientation>6</tiff:Orientation>") == 6
    assert of_xmp(b"<a tiff:Orientation='9'>") == of_xmp(b"") == 0
