"""Training samples: fixed-size crops, most of them around a face, changed at random.

Every sample has its own random generator, seeded by (seed, sample number): a sample does not depend
on what came before it, so an interrupted run goes on with the samples it would have had.
"""
import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

GREY = (127, 127, 127)  # what the detector's padding is, after normalisation


@dataclass
class Sample:
    """A crop (3 × size × size uint8), its faces and what to ignore (rows x1 y1 x2 y2), a seed."""
    image: torch.Tensor
    faces: torch.Tensor
    ignored: torch.Tensor
    seed: int


class Samples:
    """An endless sequence of samples; `samples[i]` is always the same for the same arguments.

    Photos are drawn in rounds, each with weight (number of faces)^crowds: with 0 all are equal, with
    1 all faces are. scale: the range of the resize factor; min_face: faces lower than this after
    it, in pixels, are ignored, neither face nor background. anywhere: the share of crops that hold
    a random point of the photo instead of a face, so that what is not near faces is seen too.
    blank: the share of samples that are made up and hold nothing at all. cut: the share of those
    and of the crops whose right and lower margins are padding, as in a photo whose size is no
    multiple of 32. raster: WIDER's boxes count pixels of photos 1024 wide, the first being 0, so that
    a box's edges lie half such a pixel to the left of and above what they bound; a mirrored box must
    lie so as well. 0 where boxes bound areas, as COCO's do.
    """

    def __init__(self, photos, size, seed, crowds=0.5, scale=(0.55, 1.9), min_face=4.0,
                 anywhere=0.2, blank=0.08, cut=0.3, raster=1024):
        self.photos = [photo for photo in photos if len(photo.faces)]
        if not self.photos:
            raise ValueError("no photo has a valid face")
        self.size, self.seed, self.scale, self.min_face = size, seed, scale, min_face
        self.anywhere, self.blank, self.cut, self.raster = anywhere, blank, cut, raster
        weights = np.array([min(len(photo.faces), 100) for photo in self.photos]) ** crowds
        self.bounds = np.cumsum(weights / weights.sum())

    def __getitem__(self, number):
        rng = np.random.default_rng([self.seed, 2, number])
        if rng.random() < self.blank:
            image = made_up(self.size, rng)
            faces = ignored = np.zeros((0, 4), np.float32)
            pixel = 0
        else:
            photo = self.photos[self._photo(number)]
            with Image.open(photo.path) as file:
                image = file.convert("RGB")
            image, faces, ignored, pixel = self._crop(image, photo, rng)
        if rng.random() < 0.5:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
            for boxes in (faces, ignored):
                boxes[:, [0, 2]] = self.size - pixel - boxes[:, [2, 0]]
        image = degrade(recolour(image, rng), rng)
        if rng.random() < self.cut:
            width, height = (int(side) for side in self.size - rng.integers(32, size=2))
            faces, ignored = cut_off(image, faces, ignored, width, height, self.min_face)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return Sample(pixels, torch.from_numpy(faces), torch.from_numpy(ignored),
                      int(rng.integers(1 << 62)))

    def _photo(self, number):
        """Which photo a sample shows: a round takes one at random from each of its N strata."""
        count = len(self.photos)
        round_, place = divmod(number, count)
        rng = np.random.default_rng([self.seed, 1, round_])
        stratum = rng.permutation(count)[place]
        shift = np.random.default_rng([self.seed, 3, number]).random()
        return min(int(np.searchsorted(self.bounds, (stratum + shift) / count)), count - 1)

    def _crop(self, image, photo, rng):
        """A resized window that holds a random face or point, the boxes in its pixels, and the size
        there of a pixel that the labels count."""
        factor = float(np.exp(rng.uniform(*np.log(self.scale))))
        face = photo.faces[rng.integers(len(photo.faces))]
        # A face much larger than the crop teaches nothing.
        factor = min(factor, 0.9 * self.size / max(face[2] - face[0], face[3] - face[1]))
        if rng.random() < self.anywhere:
            x, y = rng.random() * image.width, rng.random() * image.height
            face = np.array([x, y, x, y], np.float32)
        width = max(1, round(image.width * factor))
        height = max(1, round(image.height * factor))
        ratio = np.array([width / image.width, height / image.height] * 2, np.float32)
        image = resize(image, width, height, rng)
        left = _offset(face[0] * ratio[0], face[2] * ratio[0], width, self.size, rng)
        top = _offset(face[1] * ratio[1], face[3] * ratio[1], height, self.size, rng)
        canvas = Image.new("RGB", (self.size, self.size), GREY)
        window = image.crop((max(left, 0), max(top, 0), min(left + self.size, width),
                             min(top + self.size, height)))
        canvas.paste(window, (max(-left, 0), max(-top, 0)))
        shift = np.array([left, top] * 2, np.float32)
        faces, ignored = sort_boxes(photo.faces * ratio - shift, photo.ignored * ratio - shift,
                                    self.size, self.min_face)
        return canvas, faces, ignored, width / self.raster if self.raster else 0


def made_up(size, rng):
    """A picture of nothing: a plain colour, colours that run into each other, stripes or checks, with
    or without noise."""
    cells = int(rng.choice([1, 2, 3, 8, 40]))
    colours = rng.integers(0, 256, (cells, cells, 3)).astype(np.uint8)
    if rng.random() < 0.5:  # all of one hue, nearly
        colours = (colours // 8 + rng.integers(0, 224, 3)).astype(np.uint8)
    if rng.random() < 0.3:
        colours[:] = colours[:, :1] if rng.random() < 0.5 else colours[:1]
    kind = (Image.NEAREST, Image.BILINEAR, Image.BICUBIC)[rng.integers(3)]
    image = Image.fromarray(colours).resize((size, size), kind)
    if rng.random() < 0.3:
        grain = max(1, size // int(rng.integers(1, 8)))
        noise = rng.normal(0, rng.uniform(2, 60), (grain, grain, 3))
        noise = Image.fromarray((noise + 128).clip(0, 255).astype(np.uint8)).resize((size, size))
        image = Image.fromarray((np.array(image, np.int16) + np.array(noise, np.int16) - 128)
                                .clip(0, 255).astype(np.uint8))
    return image


def cut_off(image, faces, ignored, width, height, min_face):
    """Pads the image beyond width × height, in place; returns what becomes of the boxes."""
    image.paste(GREY, (width, 0, image.width, image.height))
    image.paste(GREY, (0, height, image.width, image.height))
    return sort_boxes(faces, ignored, np.array([width, height] * 2, np.float32), min_face)


def _offset(first, last, length, size, rng):
    """Where a window of `size` starts that holds first…last and, if it can, no padding."""
    low, high = int(np.floor(last)) - size, int(np.ceil(first))
    if length >= size:
        low, high = max(low, 0), min(high, length - size)
    else:  # padding is unavoidable: anywhere, with the whole photo inside
        low, high = length - size, 0
    return int(rng.integers(min(low, high), max(low, high) + 1))


def sort_boxes(faces, ignored, size, min_face):
    """Clips the boxes to the crop, whose size is one number or a box's upper bounds; faces cut by more
    than half or too small become ignored."""
    clipped = faces.clip(0, size)
    edges = clipped[:, 2:] - clipped[:, :2]
    area = edges.prod(1)
    inside = area / np.maximum((faces[:, 2:] - faces[:, :2]).prod(1), 1e-6)
    kept = (inside >= 0.5) & (edges[:, 1] >= min_face) & (edges[:, 0] >= min_face / 2)
    others = np.concatenate([clipped[~kept & (area > 0)], ignored.clip(0, size)])
    others = others[(others[:, 2:] > others[:, :2]).all(1)]
    return clipped[kept], others


def resize(image, width, height, rng):
    """Plain bilinear (what the detector does to its input) or one of the usual smoother filters."""
    if rng.random() < 0.6:
        return image.transform((width, height), Image.EXTENT, (0, 0) + image.size, Image.BILINEAR)
    kind = (Image.BILINEAR, Image.BICUBIC, Image.LANCZOS, Image.BOX)[rng.integers(4)]
    return image.resize((width, height), kind)


def recolour(image, rng):
    """Brightness, contrast, saturation; grey now and then."""
    for kind, spread in ((ImageEnhance.Brightness, 0.4), (ImageEnhance.Contrast, 0.4),
                         (ImageEnhance.Color, 0.5)):
        if rng.random() < 0.4:
            image = kind(image).enhance(rng.uniform(1 - spread, 1 + spread))
    if rng.random() < 0.08:
        image = image.convert("L").convert("RGB")
    return image


def degrade(image, rng):
    """Blur, shrinking and enlarging, JPEG: each now and then."""
    if rng.random() < 0.06:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    if rng.random() < 0.06:
        small = round(image.width * rng.uniform(0.6, 0.95))
        image = image.resize((small, small), Image.BILINEAR).resize(image.size, Image.BICUBIC)
    if rng.random() < 0.25:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(35, 96)))
        image = Image.open(buffer).convert("RGB")
    return image
