"""rclip's own indexing with its model replaced by a near-null one; run by bench.pipeline.

Runs in rclip's environment, not in ours: `python rclip_pipeline.py FOLDER SCRATCH` prints JSON.
"""

import json
import resource
import sys
from pathlib import Path

import numpy as np
from rclip import db, main, model


def null_features(self, images, **_):
    rows = np.stack([image.reshape(-1)[:: image.size // 512][:512] for image in images])
    rows = rows.astype(np.float32) + 1e-3
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def seconds() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def index(folder: str, scratch: Path) -> float:
    database = db.DB(scratch / "rclip.sqlite3")
    program = main.RClip(model.Model(), database, 8, None)
    start = seconds()
    program.ensure_index(folder)
    if hasattr(program, "close"):
        program.close()
    return seconds() - start


if __name__ == "__main__":
    folder, scratch = str(Path(sys.argv[1]).resolve()), Path(sys.argv[2])
    model.Model.compute_preprocessed_image_features = null_features
    first, again = index(folder, scratch), index(folder, scratch)
    pictures = sum(1 for path in Path(folder).rglob("*.jpg"))
    print(json.dumps({"pictures": pictures, "first": first, "again": again}))
