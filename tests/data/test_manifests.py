import csv
import json

import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.data import manifest_rows
from keensight.data.folders import LEADS_OUT
from keensight.data.sources import open_dataset, reader
from keensight.errors import DataError, UsageError


@pytest.fixture
def root(tmp_path):
    for i in range(4):
        (tmp_path / "pics").mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / f"pics/{i}.png")
    return tmp_path


def csv_file(root, text, encoding="utf-8"):
    (root / "pets.csv").write_text(text, encoding=encoding)
    return root / "pets.csv"


def jsonl_file(root, *lines):
    (root / "pets.jsonl").write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return root / "pets.jsonl"


def rows(dataset):
    return [(s.path, dataset.class_names[s.label], s.split, s.group) for s in dataset.samples]


FULL = [
    ("pics/0.png", "cat", "train", "a"),
    ("pics/1.png", "big, dog", "train", None),
    ("pics/2.png", "cat", "val", None),
    ("pics/3.png", "big, dog", "val", "b"),
]


def test_csv_as_a_spreadsheet_writes_it(root):
    path = csv_file(
        root,
        "File, label,notes,Split,group\r\npics/0.png,cat,x,train,a\r\npics/1.png,\"big, dog\",x,Training,\r\n\r\n"
        "pics\\2.png,cat,x,valid\r\n./pics/../pics/3.png,\"big, dog\",,val,b\r\n",
        "utf-8-sig",
    )  # fmt: skip
    dataset = open_dataset(path)
    assert rows(dataset) == FULL
    assert (dataset.name, dataset.kind, dataset.root) == ("pets", "folder", root)
    with reader(dataset) as read:
        assert read(dataset.samples[3]) == (root / "pics/3.png").read_bytes()


def test_json_lines(root):
    keys = ("file", "label", "split", "group")
    path = jsonl_file(root, *(dict(zip(keys, row, strict=True), other=[1]) for row in FULL), "")
    assert rows(open_dataset(path)) == FULL


def test_numbers_are_labels_too_in_natural_order(root):
    path = jsonl_file(root, *({"file": f"pics/{i}.png", "label": label} for i, label in enumerate([10, 2, "2", 10])))
    assert open_dataset(path).class_names == ("2", "10")
    assert open_dataset(path).samples[0].split is None


def test_an_absolute_path_inside_is_fine(root):
    path = csv_file(root, f"file,label\n{root}/pics/0.png,a\npics/1.png,b\n")
    assert rows(open_dataset(path))[0][0] == "pics/0.png"


HEAD = "file,label,split,group\n"
GOOD = "pics/0.png,a\npics/1.png,b\n"
BOTH = HEAD + "pics/0.png,a,train\npics/1.png,b,train\n"


@pytest.mark.parametrize(
    "text,message",
    [
        ("", r"The first row of .*pets\.csv is ''\. A manifest has the columns file and label"),
        ("picture;class\n", "The first row of .* is 'picture;class'"),
        ("file,label,file\n", "has the column file twice"),
        (HEAD + GOOD + "../x.png,a", r"Line 4 of .* names the file '\.\./x\.png', which lies outside"),
        (HEAD + "/etc/passwd,a", r"Line 2 of .*'/etc/passwd', which lies outside"),
        (HEAD + "a/../../x.png,a", "which lies outside"),
        (HEAD + "C:\\x.png,a", r"names 1 file not found in .*C:/x\.png \(line 2\)"),
        (HEAD + GOOD + "pics,a", r"names 1 file not found in .*: pics \(line 4\)"),
        (HEAD + GOOD + ",a", r"Line 4 of .* has no file"),
        (HEAD + GOOD + "pics/2.png,", r"Line 4 of .* has no label"),
        (HEAD + GOOD + "pics/2.png", r"Line 4 of .* has no label"),
        (HEAD + "".join(f"no{i}.png,a\n" for i in range(9)),
         r"names 9 files not found in .*: no0\.png \(line 2\), no1\.png .* and 4 more\..*Correct the paths"),
        (HEAD + "pics/0.png,a,trian", r"Line 2 .* has the split 'trian'\. Did you mean 'train'\? These are accepted"),
        (HEAD + "pics/0.png,a,train\npics/1.png,b,", "gives a split in 1 rows and none in 1"),
        (HEAD + GOOD + "pics/0.png,b", r"lists pics/0\.png twice, in lines 2 and 4, with different labels: 'a' and"),
        (HEAD + "pics/0.png,a,train\npics/0.png,a,test", "with different splits"),
        (HEAD + GOOD + "pics/2.png,a,,,,,extra", r"Line 4 of .* has 7 values, but the header has 4 columns"),
        (HEAD + '"pics/0.png,a', r"is not CSV"),
        (HEAD + GOOD + "x" * (2**20 + 1), r"Line 4 of .* is longer than 1,048,576 characters"),
        (HEAD + 'p,"' + "x\n" * 200_000, r"is not CSV: field larger than field limit"),
        (HEAD + "pics/\x1b[2J.png,a", r"control characters in 'pics/\\x1b\[2J\.png'"),
        (HEAD + "pics/0.png,a\npics/1.png,a", r"of only one class \('a'\)"),
        (HEAD, "holds no pictures at all"),
        (BOTH + "pics/2.png,a,val\npics/3.png,c,val", r"unknown label c: the train"),
    ],
)  # fmt: skip
def test_csv_files_that_cannot_be_used(root, text, message):
    with pytest.raises(DataError, match=message):
        open_dataset(csv_file(root, text))


@pytest.mark.parametrize(
    "line,message",
    [
        ("[1]", "a JSON list, not an object"),
        ("{", "cannot be used: Expecting"),
        ('{"file": "pics/0.png", "label": "a", "label": "b"}', "it has a key twice"),
        ('{"file": "pics/0.png", "label": NaN}', "NaN is not JSON"),
        ('{"file": "pics/0.png", "label": true}', "its label is True, and text is accepted"),
        ('{"file": 3, "label": "a"}', "its file is 3"),
        ('{"file": "pics/0.png", "label": null}', "has no label"),
        ("[" * 100_000, "cannot be used"),
    ],
)
def test_json_lines_that_cannot_be_used(root, line, message):
    with pytest.raises(DataError, match=rf"Line 2 of .*{message}"):
        open_dataset(jsonl_file(root, {"file": "pics/0.png", "label": "a"}, line))


def test_text_that_is_not_utf8(root):
    with pytest.raises(DataError, match="is not UTF-8 text"):
        open_dataset(csv_file(root, "file,label\npics/0.png,é\n", "latin-1"))


def test_a_row_given_twice_is_kept_once(root):
    dataset = open_dataset(csv_file(root, HEAD + GOOD + "./pics/0.png,a\n"))
    assert len(dataset.samples) == 2
    assert [(s.path, s.reason) for s in dataset.skipped] == [("pics/0.png", "listed again in line 4")]


def test_links_out_of_the_folder_are_skipped(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "1.png").write_bytes(b"x")
    (root / "pics/out.png").symlink_to(outside / "1.png")
    (root / "linked").symlink_to(outside)
    (root / "pics/in.png").symlink_to("2.png")
    dataset = open_dataset(csv_file(root, HEAD + GOOD + "pics/out.png,a\nlinked/1.png,b\npics/in.png,a\n"))
    assert [s.path for s in dataset.samples] == ["pics/0.png", "pics/1.png", "pics/in.png"]
    assert {s.path: s.reason for s in dataset.skipped} == {"pics/out.png": LEADS_OUT, "linked/1.png": LEADS_OUT}


def test_empty_files_are_skipped(root):
    (root / "pics/empty.png").touch()
    dataset = open_dataset(csv_file(root, HEAD + GOOD + "pics/empty.png,a\n"))
    assert [(s.path, s.reason) for s in dataset.skipped] == [("pics/empty.png", "an empty file (0 bytes)")]


def test_a_label_pattern_has_no_place_here(root):
    with pytest.raises(UsageError, match="A label pattern is for folders and archives"):
        open_dataset(csv_file(root, HEAD + GOOD), label_pattern="{label}_*")


def test_too_many_rows(root, monkeypatch):
    monkeypatch.setattr(manifest_rows, "MAX_FILES", 1)
    with pytest.raises(DataError, match="more than 1 rows"):
        open_dataset(csv_file(root, HEAD + GOOD))


@pytest.mark.parametrize("name", ["pets.csv", "pets.tsv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_as_spreadsheets_of_many_countries_write_them(root, name, encoding, separator):
    table = [("file", "label"), ("pics/0.png", "Kätzchen"), ("pics/1.png", 'dog, "big"; bad')]
    with open(root / name, "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=separator).writerows(table)
    assert [row[:2] for row in rows(open_dataset(root / name))] == table[1:]


def test_excels_own_first_line_counts_as_a_line(root):
    text = "sep=;\r\nfile;label\r\npics/0.png;cat\r\npics/1.png;dog\r\n"
    assert [row[:2] for row in rows(open_dataset(csv_file(root, text)))] == [
        ("pics/0.png", "cat"),
        ("pics/1.png", "dog"),
    ]
    with pytest.raises(DataError, match="Line 5 of .*pets.csv has 3 values, but the header has 2 columns"):
        open_dataset(csv_file(root, text + "pics/2.png;dog;big\r\n"))


def test_semicolons_within_a_table_with_commas_are_text(root):
    path = csv_file(root, "file,label;s,label\npics/0.png,x;y,cat\npics/1.png,z,dog\n")
    assert [row[1] for row in rows(open_dataset(path))] == ["cat", "dog"]


def test_a_manifest_in_a_folder_that_was_cleaned_since_is_read_as_decided(draw, tmp_path):
    """As `gather` writes one: its rows follow what was moved, dropped and confirmed, however often."""
    pets = draw(tmp_path / "pets", ["cat", "dog"], 4, 0)
    known = {s.path: s.sha256 for s in open_dataset(pets).samples}
    manifest = jsonl_file(pets, *({"file": path, "label": path[:3]} for path in known)).rename(pets / "manifest.jsonl")
    decisions = tmp_path / "decisions.jsonl"
    for lines in (
        [{"file": "cat/0-0.png", "action": "relabel", "label": "dog"}, {"file": "cat/0-1.png", "action": "drop"}],
        [
            {"file": "dog/0-0-2.png", "action": "relabel", "label": "cat"},
            {"file": "dog/0-3.png", "action": "relabel", "label": "cat"},
        ],
    ):
        known = {s.path: s.sha256 for s in open_dataset(pets).samples}
        decisions.write_text("".join(json.dumps({"sha256": known[line["file"]], **line}) + "\n" for line in lines))
        keensight.clean(pets, decisions)
    assert sorted(map(str, rows(open_dataset(manifest)))) == sorted(map(str, rows(open_dataset(pets))))
    assert len(open_dataset(manifest).decisions) == 4  # a bundle is to say who took them
    record = tmp_path / "pets.decisions.jsonl"
    record.write_text(record.read_text().replace('"moved_to": "cat/0-3-2.png"', '"moved_to": "../secret.png"'))
    Image.new("L", (4, 4)).save(tmp_path / "secret.png")
    assert {each.reason for each in open_dataset(manifest).skipped if "secret" in each.path} == {LEADS_OUT}
