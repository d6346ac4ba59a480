"""The images that a file sees differently from the first one."""

import base64
import binascii
from collections.abc import Sequence

from ..measured import Flip
from .losses import class_name
from .naming import Named
from .parts import text
from .wording import count

SHOWN = 24  # images of one file
BYTES = 600_000  # of all thumbnails of a page, as base64: ten files stay far below its 2 MB
_PNG = b"\x89PNG\r\n\x1a\n"


def gallery(named: Sequence[Named], labels: Sequence[str]) -> str:
    """Return the galleries of all files; empty where no image changed."""
    kept = [one for one in named if one.record.agreement and one.record.agreement.flips]
    return "".join(_of(one, named[0], labels, BYTES // len(kept)) for one in kept)


def thumbnail_of(flip: Flip) -> str:
    """Return a flip's thumbnail if it is what it should be, a PNG in base64; else nothing."""
    try:
        data = base64.b64decode(flip.thumbnail, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return flip.thumbnail if data.startswith(_PNG) else ""


def _of(one: Named, first: Named, labels: Sequence[str], budget: int) -> str:
    assert one.record.agreement is not None, "chosen by the caller"
    flips = one.record.agreement.flips
    items: list[str] = []
    for flip in flips[:SHOWN]:
        picture = thumbnail_of(flip)
        budget -= len(picture)
        if budget < 0:
            break
        items.append(_item(flip, picture, one, first, labels))
    shown = f"{len(items)} of {count(len(flips), 'kept image')} shown" if len(items) < len(flips) else count(len(flips), "image")
    title = f"{first.key} against {one.label}: {shown}"
    return f'<h4>{text(title)}</h4>\n<ul class="gallery">{"".join(items)}</ul>\n'


def _item(flip: Flip, picture: str, one: Named, first: Named, labels: Sequence[str]) -> str:
    truth, before, after = (class_name(label, labels) for label in (flip.label, flip.before, flip.after))
    told = f"{flip.id}: labelled {truth}" if flip.label is not None else flip.id
    seen = f"{first.key} says {before}{_mark(flip, flip.before)}, {one.key} says {after}{_mark(flip, flip.after)}"
    shown = (
        f'<img src="data:image/png;base64,{picture}" alt="{text(f"{told}; {seen}")}" width="64" height="64">'
        if picture
        else '<span class="blank">no picture</span>'
    )
    return f'<li>{shown}<p><strong>{text(truth)}</strong><br>{text(seen)}<br><span class="id">{text(flip.id)}</span></p></li>'


def _mark(flip: Flip, label: int) -> str:
    return "" if flip.label is None else " (right)" if label == flip.label else " (wrong)"
