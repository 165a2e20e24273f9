"""The published datasets in miniature, as their authors lay them out: real names and encodings, and every oddity."""

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from yoso_cli.datasets.spec import read_categories
from yoso_cli.panoptic import annotations, png
from yoso_cli.panoptic.files import id_to_rgb
from yoso_cli.panoptic.types import ImageRecord, Segment, measured


def save(path, pixels, **options):
    """A PNG or JPEG by Pillow, as the datasets' authors wrote theirs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)


def patches(random, height, width, values):
    """A uint16 map (H, W) of overlapping polygons with these values."""
    canvas = Image.new("I", (width, height), int(values[0]))
    pen = ImageDraw.Draw(canvas)
    for value in values:
        corners = random.integers(-3, max(height, width) + 3, (5, 2))
        pen.polygon([(int(x), int(y)) for x, y in corners], fill=int(value))
    return np.array(canvas).astype(np.uint16)


# Void, stuff, things, groups (24, 26), an instance 0, classes that are not evaluated with and without instances.
CITYSCAPES_VALUES = (0, 3, 7, 11, 21, 23, 24, 26, 26000, 26001, 24007, 33012, 27999, 29, 29003, 30001, 9, 1, 17)


def cityscapes(root, splits=("train", "val"), count=3, *, size=(24, 40), seed=0):
    """gtFine/ and leftImg8bit/, several cities."""
    random = np.random.default_rng(seed)
    for split in splits:
        for index in range(count):
            city = ("aachen", "bad-city")[index % 2]
            stem = f"{city}_{index:06d}_000019"
            values = random.permutation(CITYSCAPES_VALUES)
            save(root / "gtFine" / split / city / f"{stem}_gtFine_instanceIds.png", patches(random, *size, values))
            photo = random.integers(0, 256, (*size, 3), dtype=np.uint8)
            save(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", photo)
    return root


def ade20k(root, splits=("training", "validation"), count=3, *, seed=0):
    """ADEChallengeData2016/ and annotations_instance/; sizes differ, and instances reach over stuff."""
    random = np.random.default_rng(seed)
    classes = np.array([0, 1, 2, 3, 4, 5, 13, 8, 20])  # void, stuff from 1 on, and things (13, 8, 20) as well
    for split in splits:
        for index in range(count):
            size = (20 + 3 * index, 31 - 4 * index)
            stem = f"ADE_{split[:5]}_{index:08d}"
            base = root / "ADEChallengeData2016"
            semantic = patches(random, *size, random.permutation(classes)).astype(np.uint8)
            # The 1st, 4th and 9th countable classes are 8 (bed), 13 (person) and 21 (car); green numbers them.
            order = random.permutation([(0, 0), (1, 1), (4, 2), (4, 3), (9, 200), (100, 255)])
            numbers = patches(random, *size, [0, *range(len(order))])
            colors = np.zeros((*size, 3), np.uint8)
            colors[..., :2] = order[numbers]
            save(base / "images" / split / f"{stem}.jpg", random.integers(0, 256, (*size, 3), dtype=np.uint8))
            save(base / "annotations" / split / f"{stem}.png", semantic)
            save(root / "annotations_instance" / split / f"{stem}.png", colors)
    return root


def mapillary(root, version="v1.2", *, flat=True, count=3, splits=("training", "validation"), seed=0):
    """training/ and validation/, with the maps beside the images or below the version's name; keys are strings."""
    random = np.random.default_rng(seed)
    labels = {"v1.2": 66, "v2.0": 124}[version]
    for split in splits:
        folder = root / split if flat else root / split / version
        for index in range(count):
            size = (18 + 5 * index, 30 - 2 * index)
            key = f"{'_-Aa'[index % 4]}{split[:3]}{index:018d}"
            chosen = random.integers(0, labels, 12)
            # Numbers from 0 on, of things and, as a trap, of stuff; bird (label 0) and unlabeled (the last) always.
            values = [0, 1, (labels - 1) * 256, *(chosen * 256 + random.integers(0, 256, 12))]
            instances = patches(random, *size, random.permutation(values))
            save(root / split / "images" / f"{key}.jpg", random.integers(0, 256, (*size, 3), dtype=np.uint8))
            save(folder / "instances" / f"{key}.png", instances)
            indices = Image.fromarray((instances >> 8).astype(np.uint8))
            indices.putpalette(list(range(256)) * 3)
            save(folder / "labels" / f"{key}.png", indices)
    return root


def coco(root, split="val2017", count=3, *, pngs="annotations/panoptic_{}", pictures="{}"):
    """annotations/ and pictures: a person, a crowd of them, and sky."""
    picture_dir, png_dir = root / pictures.format(split), root / pngs.format(split)
    records = []
    for number in range(1, count + 1):
        id_map = np.full((6, 8), 70_000 + number, np.int32)
        id_map[2:5, 1:4], id_map[0, 5:], id_map[5] = 9, 300, 0
        segments = (Segment(9, 1, 0), Segment(300, 1, 0, iscrowd=True), Segment(70_000 + number, 187, 0))
        name = f"{number:012d}"
        records.append(ImageRecord(number, f"{name}.jpg", f"{name}.png", 6, 8, measured(id_map, segments)))
        save(png_dir / f"{name}.png", id_to_rgb(id_map))
        save(picture_dir / f"{name}.jpg", Image.new("RGB", (8, 6)))
    listing = annotations.to_json(read_categories("coco"), records)
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(listing))
    return root


def zipped(root, archive, *folders, below=""):
    """Packs folders of `root` into a zip there and removes them; `below` is a folder to put before the names."""
    with zipfile.ZipFile(root / archive, "w") as file:
        for folder in folders:
            for path in sorted((root / folder).rglob("*")):
                file.write(path, Path(below) / path.relative_to(root))
    remove(root, *folders)
    return root / archive


def tarred(root, archive, *folders):
    """Packs folders of `root` into a tar there and removes them."""
    with tarfile.open(root / archive, "w") as file:
        for folder in folders:
            file.add(root / folder, folder)
    remove(root, *folders)
    return root / archive


def remove(root, *folders):
    for folder in folders:
        path = root / folder
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_png(path, pixels, palette=()):
    path.write_bytes(png.encode(pixels, palette))


def as_palette(path):
    """Saves a map anew as a picture with a palette, as image editors do."""
    with Image.open(path) as image:
        image.convert("RGB").convert("P").save(path)


def of_content(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)
