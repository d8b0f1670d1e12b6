#!/usr/bin/env python3
"""Draw one photo before and after, with what the detector finds on each (python3-pil).

    docs/picture.py ALBUM OUT KEY PICTURE.png

KEY is the photo's path below both folders. Runs `cloak eval detector` on the two files.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

from PIL import Image, ImageDraw, ImageOps

CLOAK = os.path.join(os.path.dirname(__file__), "../build/release/bin/cloak")


def main():
    album, out, key, picture = sys.argv[1:5]
    name = os.path.basename(key)
    with tempfile.TemporaryDirectory() as folder:
        sides = []
        for side, source in (("before", album), ("after", out)):
            os.makedirs(f"{folder}/{side}")
            shutil.copy(os.path.join(source, key), f"{folder}/{side}/{name}")
            with open(f"{folder}/labels", "w") as labels:
                labels.write(f"{name}\n0\n0 0 0 0 0 0 0 0 0 0\n")
            subprocess.run(
                [CLOAK, "eval", "detector", "--photos", f"{folder}/{side}", "--labels",
                 f"{folder}/labels", "--per-photo", f"{folder}/{side}.jsonl"],
                check=True, stderr=subprocess.DEVNULL)
            with open(f"{folder}/{side}.jsonl") as lines:
                boxes = json.loads(lines.readline())["boxes"]
            image = ImageOps.exif_transpose(Image.open(f"{folder}/{side}/{name}")).convert("RGB")
            draw = ImageDraw.Draw(image)
            for x1, y1, x2, y2, score in boxes:
                draw.rectangle((x1, y1, x2, y2), outline=(255, 40, 40) if score > 0.5 else
                               (255, 180, 0), width=max(2, image.width // 300))
            draw.text((8, 8), f"{side}: {len(boxes)} detections above 0.05", fill=(255, 255, 0))
            sides.append(image)
    both = Image.new("RGB", (sides[0].width + sides[1].width + 8, sides[0].height), (255,) * 3)
    both.paste(sides[0], (0, 0))
    both.paste(sides[1], (sides[0].width + 8, 0))
    both.save(picture)


if __name__ == "__main__":
    main()
