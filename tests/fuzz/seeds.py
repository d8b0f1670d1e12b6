#!/usr/bin/python3
"""Makes small files of every kind to start fuzzing from: seeds.py FOLDER, which gets a folder per harness.

Needs python3-pil, exiftool and heif-enc; the same files each time, but for what those write of themselves."""
import json
import pathlib
import random
import struct
import subprocess
import sys

from PIL import Image, ImageCms, PngImagePlugin

FORMATS = ("jpg", "png", "webp", "tif", "heic", "avif")  # the order of container.c


def picture(width, height, mode="RGB"):
    draw = random.Random(width)
    bands = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4, "P": 1}[mode]
    return Image.frombytes(mode, (width, height), draw.randbytes(width * height * bands))


def profile(space, connected, tags):
    """A profile of version 2 (ICC.1:2001-04) of a space's four bytes, to XYZ or Lab."""
    at, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags:
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, at + len(data), len(content))
        data += content
    length = at + len(data)
    head = struct.pack(">II", length, 0) + b"\2\0\0\0" + b"mntr" + space + connected + bytes(12) + b"acsp"
    return head.ljust(68, b"\0") + struct.pack(">3I", 0xf6d6, 0x10000, 0xd32d) + bytes(48) + struct.pack(">I", len(tags)) + table + data


def table(inputs):
    """The tag of a table of two points per colour, with straight curves: type lut8, to three numbers."""
    draw, straight = random.Random(inputs), bytes(range(256))
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    return (b"mft1" + bytes(4) + bytes((inputs, 3, 2, 0)) + identity + straight * inputs + draw.randbytes(2 ** inputs * 3) + straight * 3)


def profiles():
    """One of each way a profile can say what its numbers mean: curves of each kind and a matrix, tables, and grey."""
    power = b"curv" + bytes(4) + struct.pack(">IH", 1, 563)
    bent = b"curv" + bytes(4) + struct.pack(">I4H", 4, 0, 9000, 30000, 65535)
    formula = b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, 157286, 62119, 3416, 5072, 2651)
    xyz = [b"XYZ " + bytes(4) + struct.pack(">3i", *column)
        for column in ((33760, 15807, -69), (19135, 45367, 2745), (10296, 4369, 51384))]
    white = (b"wtpt", b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061))
    columns = list(zip((b"rXYZ", b"gXYZ", b"bXYZ"), xyz))
    return {"matrix.jpg": profile(b"RGB ", b"XYZ ", [white, *columns, *((t, power) for t in (b"rTRC", b"gTRC", b"bTRC"))]),
        "curves.png": profile(b"RGB ", b"XYZ ", [white, *columns, (b"rTRC", bent), (b"gTRC", formula), (b"bTRC", power)]),
        "table.webp": profile(b"RGB ", b"Lab ", [white, (b"A2B0", table(3)), (b"B2A0", table(3))]),
        "table.tif": profile(b"RGB ", b"Lab ", [white, (b"A2B0", table(3)), (b"B2A0", table(3))]),
        "ink.jpg": profile(b"CMYK", b"Lab ", [white, (b"A2B0", table(4))]),
        "ink.tif": profile(b"CMYK", b"Lab ", [white, (b"A2B0", table(4))]),
        "dim.png": profile(b"GRAY", b"XYZ ", [white, (b"kTRC", bent)]),
        "dim.jpg": profile(b"GRAY", b"XYZ ", [white, (b"kTRC", power)])}


def photos(folder):
    wide, small, alpha = picture(48, 40), picture(17, 9), picture(20, 20, "RGBA")
    wide.save(folder / "base.jpg", quality=80)
    wide.save(folder / "fine.jpg", quality=97, subsampling=0)
    wide.save(folder / "progressive.jpg", progressive=True, quality=60)
    picture(16, 16, "L").save(folder / "grey.jpg")
    for name in ("cmyk.jpg", "cmyk.tif"):
        picture(16, 16, "CMYK").save(folder / name)
    wide.save(folder / "restart.jpg", restart_marker_blocks=2)
    small.save(folder / "small.png")
    alpha.save(folder / "alpha.png")
    picture(16, 8, "P").convert("P").save(folder / "palette.png")
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "hello")
    text.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    small.save(folder / "text.png", pnginfo=text)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, icc in ({name: srgb for name in ("profile.jpg", "profile.png", "profile.webp")} | profiles()).items():
        mode = {"ink": "CMYK", "dim": "L"}.get(name.split(".")[0], "RGB")
        picture(17, 9, mode).save(folder / name, icc_profile=icc)
    colours = PngImagePlugin.PngInfo()
    colours.add(b"cHRM", b"".join(n.to_bytes(4, "big") for n in (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)))
    colours.add(b"gAMA", (45455).to_bytes(4, "big"))
    small.save(folder / "colours.png", pnginfo=colours)
    small.save(folder / "lossy.webp", quality=70)
    alpha.save(folder / "lossless.webp", lossless=True)
    small.save(folder / "two.webp", save_all=True, append_images=[small.rotate(180)])
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg"):
        wide.save(folder / f"{compression}.tif", compression=compression)
    small.save(folder / "pages.tif", save_all=True, append_images=[small])
    for name in ("deep.png", "deep.tif"):
        small.convert("I").point(lambda level: level * 257).convert("I;16").save(folder / name)
    for name, options in (("phone.heic", ["-t", "16"]), ("web.avif", ["-A"])):
        subprocess.run(["heif-enc", "-q", "60", *options, folder / "alpha.png", "-o", folder / name], check=True,
            capture_output=True, timeout=120)
    small.crop((0, 0, small.width - 3, small.height - 5)).save(folder / "ragged.jpg", quality=80)
    second = folder / "second.jpg"
    small.save(second, quality=30)
    subprocess.run(["exiftool", "-q", "-m", "-overwrite_original", "-n", "-Orientation=6", "-Artist=A", "-GPSLatitude=48",
        "-GPSLatitudeRef=N", "-DateTimeOriginal=2024:05:06 07:08:09", f"-ThumbnailImage<={second}", "-XMP-dc:Subject=Anna",
        "-XMP-mwg-rs:RegionName=Anna", "-IPTC:CopyrightNotice=A", folder / "fine.jpg", folder / "ragged.jpg", folder / "alpha.png",
        folder / "lossy.webp", folder / "lossless.webp", folder / "raw.tif", folder / "phone.heic", folder / "web.avif"],
        check=True, timeout=120)


def texts(folder):
    settings = {"preset": "standard", "eps": 5 / 255, "max_steps": 40, "restarts": 1, "encoder_rounds": 2, "region": 3,
        "metadata": "safe", "targets": "yunet@0123456789ab", "survive": "jpeg75,x0.6+jpeg75", "seed": 0, "polish": 0}
    record = {"schema": 1, "album": "0b81b8a4-0000-4000-8000-000000000000", "index": 3, "job": "a:3", "key": "a.jpg",
        "outcome": "cloaked", "faces_before": 2, "psnr_db": 41.5, "sha256_out": "0" * 64, "ap_before": "1,2;3"}
    page = ("<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><IsTruncated>true"
        "</IsTruncated><EncodingType>url</EncodingType><NextContinuationToken>a+/=</NextContinuationToken><Contents><Key>a%20b"
        "</Key><Size>5</Size><LastModified>2026-01-31T12:00:00.123Z</LastModified></Contents></ListBucketResult>")
    error = "<Error><Code>NoSuchKey</Code><Message>&lt;gone&gt;</Message></Error>"
    for i, text in enumerate((json.dumps(record), json.dumps(settings), "yunet@0123456789ab,centerface:320@abcdef012345",
            "jpeg75,x0.6+blur1+jpeg75,view1.25", "a%25b%FF\u00fc.jpg", page)):
        (folder / f"{i}.txt").write_bytes(bytes([i]) + text.encode())
    (folder / "error.txt").write_bytes(bytes([5]) + error.encode())


def main():
    into = pathlib.Path(sys.argv[1])
    for name in ("photo", "container", "text"):
        (into / name).mkdir(parents=True, exist_ok=True)
    photos(into / "photo")
    for path in (into / "photo").iterdir():
        (into / "container" / path.name).write_bytes(bytes([FORMATS.index(path.suffix[1:])]) + path.read_bytes())
    texts(into / "text")


if __name__ == "__main__":
    main()
