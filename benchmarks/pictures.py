"""The pictures of the README: the top of a report, as it looks on a desk and on a phone, by day and by night.

    python benchmark.py --compare
    python benchmarks/pictures.py --results-dir results

They go into docs/pictures/, with as few colours as the eye does not miss. Needs a Chromium.
"""

import base64
import io
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import chromium  # noqa: E402
from finetune.errors import UserError  # noqa: E402
from finetune.records import files  # noqa: E402
from finetune.settings import command_line  # noqa: E402
from finetune.settings.fields import option  # noqa: E402

_SHOWN = {"desk": (1120, "main > .charts"), "phone": (390, "nav")}  # CSS pixels, and down to what
_MARGIN = 24  # CSS pixels below it
_COLOURS = 48
_MOST = 120_000  # bytes of a picture


@dataclass(frozen=True)
class PicturesConfig:
    results_dir: Path = option(Path("results"), "folder with the report.html of benchmark.py")
    output_dir: Path = option(ROOT / "docs" / "pictures", "folder for the pictures")


def main(config: PicturesConfig) -> None:
    report = config.results_dir / files.REPORT
    if not report.is_file():
        raise UserError(f"{report}: not found (run: python benchmark.py --compare)")
    path = chromium.find()
    if path is None:
        raise UserError(f"no Chromium is installed ({', '.join(chromium.NAMES)})")
    files.make_folder(config.output_dir)
    with chromium.browser(path, "--hide-scrollbars") as tab:
        for name, (width, last) in _SHOWN.items():
            for scheme in ("light", "dark"):
                target = config.output_dir / f"report-{name}-{scheme}.png"
                small = _small(_shot(tab, report.resolve().as_uri(), width, last, scheme))
                with files.atomic(target) as temporary:
                    temporary.write_bytes(small)
                print(f"{target}: {len(small) / 1e3:.0f} kB")


def _shot(tab: chromium.Tab, url: str, width: int, last: str, scheme: str) -> bytes:
    """The page down to the element ``last`` as PNG, two pixels for each of CSS."""
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=2, mobile=False)
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    tab.open(url)
    tab.drawn()
    height = tab.run(f"document.querySelector('{last}').getBoundingClientRect().bottom") + _MARGIN
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    return base64.b64decode(
        tab.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
    )


def _small(png: bytes) -> bytes:
    """The same picture with a palette; with fewer colours where it would be larger than it may be."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    colours = _COLOURS
    while True:
        file = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        if file.tell() <= _MOST or colours <= 8:
            return file.getvalue()
        colours //= 2


if __name__ == "__main__":
    command_line.run(main, PicturesConfig)
