import json
import shutil

import keensight


def test_the_command_says_what_was_done_and_how_to_undo_it(draw, tmp_path, warm):
    folder = draw(tmp_path / "pets", ["cat", "dog"], 4, 0)
    shutil.copy(folder / "cat/0-0.png", folder / "cat/copy.png")
    sha256 = keensight.open_dataset(folder).samples[-1].sha256
    file = tmp_path / "decisions.jsonl"
    file.write_text(json.dumps({"sha256": sha256, "action": "relabel", "label": "cat"}) + "\n")
    done = warm("clean", folder, file, "--auto")
    assert done.status == 0, done.err
    said = done.out.splitlines()
    assert said[0] == "left out 1, relabelled 1; files moved: 2."
    assert said[1:3] == [f"noted  {tmp_path / 'pets.decisions.jsonl'}", f"kept   {tmp_path / '.pets.quarantine'}"]
    assert "--undo" in said[3]
    back = warm("clean", folder, "--undo", "--json").json()
    assert (back["moved"], back["undone"]) == (2, True)
    assert warm("clean", folder).status == 2
