"""`edgerec cache`: what is kept, where, and away with it."""

from typing import Annotated

import typer

from . import options
from .console import print_json, print_table, say

EXAMPLE = "Example: edgerec cache --clear teacher-logits"


def cache(
    clear: Annotated[str | None, typer.Option("--clear", help="Remove the entries of this kind, or `all`.")] = None,
    json: options.Json = False,
) -> None:
    """List or clear the cache of downloads, teacher logits and measurements."""
    from ..runtime import cache as store

    if clear:
        freed = store.clear(None if clear == "all" else clear)
        say(f"freed {freed / 1e6:.1f} MB")
    kinds: dict[str, list[int]] = {}
    for entry in store.entries():
        kinds.setdefault(entry.kind, []).append(entry.size_bytes)
    if json:
        print_json(
            {
                "folder": str(store.cache_folder()),
                "kinds": {kind: {"files": len(sizes), "size_bytes": sum(sizes)} for kind, sizes in kinds.items()},
            }
        )
        return
    if not kinds:
        say(f"the cache is empty: {store.cache_folder()}")
        return
    print_table(
        str(store.cache_folder()),
        ["kind", "files", "MB"],
        [[kind, str(len(sizes)), f"{sum(sizes) / 1e6:.1f}"] for kind, sizes in sorted(kinds.items())],
    )
