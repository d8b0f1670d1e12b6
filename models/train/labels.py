"""Face labels as WIDER FACE writes them (`bbx_gt` text).

File name, number of faces, then one line per face: x y w h blur expression illumination invalid
occlusion pose. A photo without faces has the count 0 and one line of zeros.
"""
import os
from dataclasses import dataclass

import numpy as np


@dataclass
class Photo:
    """One labelled photo: valid faces and regions to ignore, as rows x1 y1 x2 y2 in its pixels."""
    path: str
    faces: np.ndarray
    ignored: np.ndarray


def _corners(rows):
    boxes = np.array(rows, np.float32).reshape(-1, 10)[:, :4].copy()
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def read(labels, folder):
    """The labelled photos, in the file's order. Raises ValueError that names file and line."""
    with open(labels) as file:
        lines = [line.strip() for line in file]
    photos, i = [], 0
    while i < len(lines):
        if not lines[i]:
            i += 1
            continue
        try:
            count = int(lines[i + 1])
            rows = [[int(word) for word in line.split()[:10]]
                    for line in lines[i + 2:i + 2 + max(count, 1)]]
            if len(rows) != max(count, 1) or any(len(row) != 10 for row in rows):
                raise ValueError
        except (IndexError, ValueError):
            raise ValueError(f"{labels}:{i + 1}: not in WIDER FACE's form") from None
        rows = [row for row in rows[:count] if row[2] > 0 and row[3] > 0]
        photos.append(Photo(os.path.join(folder, lines[i]),
                            _corners([row for row in rows if not row[7]]),
                            _corners([row for row in rows if row[7]])))
        i += 2 + max(count, 1)
    if not photos:
        raise ValueError(f"{labels}: no labels in it")
    return photos


def thin_out(photos, limit):
    """At most `limit` of the photos, evenly spread; all of them where limit is None or 0."""
    if not limit or limit >= len(photos):
        return photos
    return [photos[i * len(photos) // limit] for i in range(limit)]
