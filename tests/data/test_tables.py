"""Tables of patients and labels, as spreadsheets and other people's scripts write them."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from jaxgen.data import load
from jaxgen.data.source import patients_of
from jaxgen.data.tables import look_up, parts_of, read_table
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)


def images(root, names):
    for name in names:
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(RNG.integers(0, 256, (6, 7), dtype=np.uint8)).save(path)


def write(path, text):
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "name,patient\na.png,p 1\nb,2\n",
        "a.png,p 1\n\nb,2\n",
        "\ufeffname,patient\r\na.png, p 1\r\nb.png,2\r\n",
        "patient_id,filename\np 1,a.png\n2,b.png\n",
        "PatientID;Age;File Name\np 1;63;images/a.png\n2;;images/b.png\n",
        "image\tsubject\na\tp 1\nb\t2\n",
        "id,age,case\n./a.png,3,p 1\nC:\\data\\images\\b.png,4,2\n",
        'name,patient\n"a.png","p 1"\n"b.png","2"\n',
    ],
)
def test_tables_in_many_forms(text, tmp_path):
    path = write(tmp_path / "patients.csv", text)
    assert look_up(read_table(path, "patient"), ["a", "b"], path, "patient") == ["p 1", "2"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,patient\na,1\n", "no line for the image b; add one"),
        ("name,patient\nc,1\n", "no line for the image a and 1 more of 2"),
        ("name,patient\na,\nb,1\n", "the line 'a,' has no patient"),
        ("a,1,x\nb,2,y\n", "has not two columns"),
        ("name,patient\na,1\nb,2\na,3\n", "gives the image a more than one patient \\(1 and 3\\)"),
        ("", "no line for the image a"),
    ],
)
def test_tables_that_do_not_fit(text, says, tmp_path):
    path = write(tmp_path / "patients.csv", text)
    with pytest.raises(UserError, match=rf"patients\.csv: .*{says}"):
        look_up(read_table(path, "patient"), ["a", "b"], path, "patient")


def test_the_whole_name_comes_before_the_last_part_of_it():
    rows = [(("train", "a"), "1"), (("test", "a"), "2"), (("b",), "3")]
    path = Path("t.csv")
    assert look_up(rows, ["train/a", "test/a", "test/b"], path, "patient") == ["1", "2", "3"]
    with pytest.raises(UserError, match="no line for the image val/a"):
        look_up(rows, ["train/a", "test/a", "val/a"], path, "patient")
    with pytest.raises(UserError, match="more than one patient"):
        look_up(rows, ["a"], path, "patient")


def test_a_class_may_be_called_none(tmp_path):
    path = write(tmp_path / "labels.csv", "a,none\nb,nan\n")
    assert look_up(read_table(path, "label"), ["a", "b"], path, "label") == ["none", "nan"]


def test_parts():
    assert parts_of(r"..\x\images\scan.1.nii.gz") == ("..", "x", "scan.1")


@pytest.mark.parametrize("name", ["patients.csv", "Patients.CSV", "patients.tsv"])
def test_a_table_beside_the_images_is_found(name, tmp_path):
    images(tmp_path, [f"im{i}" for i in range(6)])
    write(tmp_path / name, "".join(f"im{i},p{i // 2}\n" for i in range(6)).replace(",", "\t" if "tsv" in name else ","))
    held = [set(patients_of(part)) for part in load(tmp_path, wants=("image",))[:3]]
    assert sum(map(len, held)) == len(set.union(*held)) == 3


def test_two_tables(tmp_path):
    images(tmp_path / "images", "abc")
    for name in ("patients.csv", "patients.tsv"):
        write(tmp_path / name, "a,1\nb,2\nc,3\n")
    with pytest.raises(UserError, match=r"has both patients\.csv and patients\.tsv; keep one"):
        load(tmp_path, wants=("image",))


def test_patients_of_class_folders_by_whole_name_or_not(tmp_path):
    names = [f"{name}/{i}" for name in ("sick", "well") for i in range(6)]
    images(tmp_path, names)
    for text in (
        "".join(f"{n}.png,{n[:-2]}{int(n[-1]) // 2}\n" for n in names),
        "".join(f"{i},{i // 2}\n" for i in range(6)),
    ):
        write(tmp_path / "patients.csv", text)
        held = [set(patients_of(part)) for part in load(tmp_path, wants=("image", "label"))[:3]]
        assert sum(map(len, held)) == len(set.union(*held)) == (6 if "sick" in text else 3)
