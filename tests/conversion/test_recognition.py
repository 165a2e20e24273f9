"""What lies there is recognised by what it is, and never guessed."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from yoso_cli.conversion.recognition import Recognised, recognised
from yoso_cli.errors import UsageError


def file(name: str, content: str = "x") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return write


LABELME = json.dumps({"version": "5.0.1", "shapes": [], "imagePath": "a.jpg"})
INSTANCES = json.dumps({"images": [], "annotations": [{"segmentation": []}], "categories": []})
PANOPTIC = json.dumps({"images": [], "annotations": [{"segments_info": []}], "categories": []})

VIA = json.dumps({"a.jpg1": {"filename": "a.jpg", "regions": [{"shape_attributes": {"name": "rect"}}]}})
LABEL_STUDIO = json.dumps([{"data": {}, "annotations": [{"result": [{"original_width": 3}]}]}])
CVAT = "<?xml version='1.0'?>\n<annotations>\n<version>1.1</version></annotations>"

FORMS = [
    ("via", (file("via_export_json.json", VIA), file("a.jpg"))),
    ("label-studio", (file("project-1-at-2024.json", LABEL_STUDIO),)),
    ("cvat", (file("annotations.xml", CVAT), file("images/a.jpg"))),
    ("labelme", (file("x/a.json", LABELME), file("x/a.jpg"))),
    ("yolo-seg", (file("data.yaml", "train: images\nnames:\n- car\n"), file("labels/a.txt"), file("images/a.jpg"))),
    ("yolo-seg", (file("classes.txt", "car"), file("labels/a.txt"), file("images/a.jpg"))),
    ("yolo-seg", (file("coco8-seg.yaml", "names: {0: car}\n"),)),
    ("coco-instances", (file("annotations.json", INSTANCES),)),
    ("coco-panoptic", (file("val.json", PANOPTIC), file("val/a.png"))),
    ("coco-panoptic", (file("panoptic.json", PANOPTIC), file("panoptic/a.png"))),
    ("prepared", (file("panoptic.json", PANOPTIC), file("manifest.json", "{}"))),
    ("maps", (file("images/a.jpg"), file("semantic/a.png"), file("instances/a.png"))),
    ("voc", (file("JPEGImages/a.jpg"), file("SegmentationClass/a.png"), file("labelmap.txt"))),
    ("voc", (file("VOCdevkit/VOC2012/SegmentationClass/a.png"),)),
    ("kitti", (file("training/image_2/a.png"), file("training/instance/a.png"), file("training/semantic/a.png"))),
    ("kitti-step", (file("panoptic_maps/train/0000/000000.png"),)),
    ("bdd100k", (file("labels/pan_seg/bitmasks/train/a.png"), file("images/10k/train/a.jpg"))),
    ("masks", (file("abc/images/abc.png"), file("abc/masks/1.png"))),
    ("masks", (file("images/a.jpg"), file("masks/a/car_1.png"))),
    ("masks", (file("masks.json", "{}"),)),
    ("rgb", (file("images/a.jpg"), file("semantic/a.png", "x" * 25 + "\x02"))),
    ("cityscapes", (file("aachen/aachen_0_1_gtFine_instanceIds.png"),)),
]


@pytest.mark.parametrize(("form", "files"), FORMS)
def test_each_form_is_recognised(tmp_path: Path, form: str, files: tuple[Callable[[Path], None], ...]) -> None:
    for write in files:
        write(tmp_path)
    found = recognised(tmp_path)
    assert found.form == form
    assert found.why.startswith("by ")


def test_a_file_is_recognised_by_its_content(tmp_path: Path) -> None:
    for name, content, form in (("a.json", LABELME, "labelme"), ("b.json", INSTANCES, "coco-instances")):
        file(name, content)(tmp_path)
        assert recognised(tmp_path / name) == Recognised(form, tmp_path / name, f"by the content of {name}")
    for names, form in ((("a.json", "a/1.png"), "submission"), (("annotations.xml", "images/1.png"), "")):
        with zipfile.ZipFile(tmp_path / "results.zip", "w") as archive:
            for name in names:
                archive.writestr(name, "")
        if form:
            assert recognised(tmp_path / "results.zip").form == form
        else:
            with pytest.raises(UsageError, match=r"is recognised there\. Unpack it, and name the folder"):
                recognised(tmp_path / "results.zip")


def test_maps_in_a_folder_of_any_name_are_suggested(tmp_path: Path) -> None:
    file("images/a.jpg")(tmp_path)
    file("masks/a.png")(tmp_path)
    with pytest.raises(UsageError, match=r"--from maps --images .*images --semantic .*masks; --from rgb if it"):
        recognised(tmp_path)


def test_the_file_that_has_the_labels_is_found_in_its_folder(tmp_path: Path) -> None:
    file("annotations/val.json", INSTANCES)(tmp_path)
    file("annotations/old/val.json", PANOPTIC)(tmp_path)
    assert recognised(tmp_path).source == tmp_path / "annotations/val.json"
    file("annotations/train.json", INSTANCES)(tmp_path)
    with pytest.raises(UsageError, match=r"coco-instances \(.*train.json\), coco-instances \(.*val.json\)"):
        recognised(tmp_path)


def test_two_forms_are_asked_about(tmp_path: Path) -> None:
    file("a.json", LABELME)(tmp_path)
    file("b.json", INSTANCES)(tmp_path)
    with pytest.raises(UsageError, match=r"coco-instances \(.*b.json\).*labelme \(.*\).*Name the right one"):
        recognised(tmp_path)


@pytest.mark.parametrize("write", [file("a.json", ""), file("a.json", "{}"), file("a.txt"), file("a.yaml", "x: 1")])
def test_nothing_is_guessed(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    with pytest.raises(UsageError, match=r"no label format is recognised there\. Name it with --from"):
        recognised(tmp_path)


def test_the_folder_of_the_pngs_stands_for_the_json_beside_it(tmp_path: Path) -> None:
    """As the official scripts leave them, gtFine/cityscapes_panoptic_val and its JSON."""
    (tmp_path / "panoptic_val").mkdir()
    (tmp_path / "panoptic_val" / "a.png").touch()
    (tmp_path / "panoptic_val.json").write_text('{"categories": [], "annotations": [{"segments_info": []}]}')
    found = recognised(tmp_path / "panoptic_val")
    assert (found.form, found.source) == ("coco-panoptic", tmp_path / "panoptic_val.json")
