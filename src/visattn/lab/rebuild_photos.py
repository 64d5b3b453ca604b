"""Make the photographs of the package from those of scikit-image.

    python -m visattn.lab.rebuild_photos [--output DIR]

Needs scikit-image 0.26, which is not a dependency of this package. Each picture is
scaled to at most 256 pixels a side and written as JPEG of quality 90.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

CREDITS = {
    "astronaut": "Eileen Collins. NASA, Great Images collection; public domain.",
    "brick": "Brick wall. CC0Textures (Bricks25); CC0.",
    "camera": "Cameraman. Lav Varshney; CC0.",
    "chelsea": "Chelsea the cat. Stefan van der Walt; CC0.",
    "coffee": "Coffee cup. Rachel Michetti, courtesy of Pikolo Espresso Bar; CC0.",
    "grass": "Grass. linolafett (DeviantArt); CC0.",
    "gravel": "Gravel. CC0Textures (Gravel04); CC0.",
    "rocket": "Falcon 9 launch with DSCOVR. SpaceX; released into the public domain.",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pictures and their credits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    default = Path(__file__).parent / "assets" / "photos"
    parser.add_argument("--output", type=Path, default=default)
    folder = parser.parse_args(arguments).output
    try:
        from PIL import Image
        from skimage import data  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise SystemExit(
            f"{error.name} is missing: pip install scikit-image==0.26.*"
        ) from error

    folder.mkdir(parents=True, exist_ok=True)
    for name in CREDITS:
        picture = Image.fromarray(getattr(data, name)()).convert("RGB")
        picture.thumbnail((256, 256), Image.Resampling.LANCZOS)
        picture.save(folder / f"{name}.jpg", quality=90, optimize=True)
    text = json.dumps(CREDITS, indent=2) + "\n"
    (folder / "credits.json").write_text(text, encoding="utf-8")
    print(f"wrote {len(CREDITS)} pictures to {folder}")


if __name__ == "__main__":
    main()
