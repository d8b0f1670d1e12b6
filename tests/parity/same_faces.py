"""Whether two detectors say the same of a photo."""
import numpy as np


def compare(ours, theirs, threshold):
    """Pairs detections (rows x1, y1, x2, y2, score) by nearest box; returns the largest differences of boxes, in pixels, and of
    scores. What only one of them has must lie at the threshold."""
    worst_box = worst_score = 0.0
    free = list(range(len(theirs)))
    for row in ours:
        distances = [np.abs(theirs[i, :4] - row[:4]).max() for i in free]
        if not free or min(distances) > 0.5:
            assert row[4] < threshold + 1e-3, f"only ours: {row}"
            continue
        # of equally near ones (there are none in practice) the nearest score
        best = free.pop(int(np.argmin(distances)))
        worst_box = max(worst_box, np.abs(theirs[best, :4] - row[:4]).max())
        worst_score = max(worst_score, abs(theirs[best, 4] - row[4]))
    for i in free:
        assert theirs[i, 4] < threshold + 1e-3, f"only theirs: {theirs[i]}"
    return worst_box, worst_score
