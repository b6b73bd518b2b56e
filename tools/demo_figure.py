#!/usr/bin/env python3
"""Makes the README's pictures out of what `make demo` has left.

    python3 tools/demo_figure.py [--demo build/demo] [--out docs/images]

demo.jpg: photo and bitmaps beside the rebuilt picture; window.jpg: Krita with the docker. Needs Pillow.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from tools.demo_layout import palette  # noqa: E402

SIDE = 384  # px, width of photo and bitmaps
GAP = 8  # px
SHEET = 820  # px, width of the sheet of bitmaps before it is shrunk
QUALITY = 90
WINDOW = 1200  # px, width of the window's picture


def shrunk(image: Image.Image, width: int) -> Image.Image:
    return image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)


def bitmaps(size: tuple[int, int]) -> Image.Image:
    """The sample bitmaps on white paper, laid out as in the sample document."""
    images = [Image.open(file) for file in sorted((CHECKOUT / "sample/bitmaps").glob("*.png"))]
    paper = Image.new("RGB", size, "white")
    for image, place in zip(images, palette([i.size for i in images], *size), strict=True):
        paper.paste(image, place, image)
    return paper


def figure(photo: Image.Image, result: Image.Image) -> Image.Image:
    """Photo above bitmaps on the left, the result as high as both on the right."""
    small = shrunk(photo, SIDE)
    sheet_of_bitmaps = shrunk(bitmaps((SHEET, round(SHEET * photo.height / photo.width))), SIDE)
    height = 2 * small.height + GAP
    large = result.resize((round(height * result.width / result.height), height), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (SIDE + GAP + large.width, height), "white")
    sheet.paste(small, (0, 0))
    sheet.paste(sheet_of_bitmaps, (0, small.height + GAP))
    sheet.paste(large, (SIDE + GAP, 0))
    return sheet


def save(image: Image.Image, file: Path) -> None:
    image.save(file, quality=QUALITY, subsampling=0, optimize=True)
    print(f"{file}: {image.width} x {image.height}, {file.stat().st_size / 1024:.0f} KB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=CHECKOUT / "build/demo", help="what the demo has left")
    parser.add_argument("--out", type=Path, default=CHECKOUT / "docs/images", help="folder for the pictures")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    photo = Image.open(CHECKOUT / "sample/photo.jpg").convert("RGB")
    result = Image.open(arguments.demo / "result.png").convert("RGB")
    save(figure(photo, result), arguments.out / "demo.jpg")
    save(shrunk(Image.open(arguments.demo / "screenshot.png").convert("RGB"), WINDOW), arguments.out / "window.jpg")


if __name__ == "__main__":
    main()
