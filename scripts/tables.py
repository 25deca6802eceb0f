"""Writes the tables of the documentation, which are made of the code's own: `make docs`. With `--check` says which are old.

A table stands between `<!-- table NAME -->` and `<!-- end -->`.
"""

import re
import sys
from pathlib import Path

from forecache import presets
from forecache.options import TIERS, UPPER, table
from forecache.urls import schemes_of

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = (DOCS / "configuration.md", DOCS / "tiers.md")
PLACE = re.compile(r"<!-- table (\w+) -->\n(?:(?!<!--).)*<!-- end -->", re.DOTALL)


def schemes() -> str:
    """Which scheme means which kind of tier."""
    rows = (
        f"| `[{kind}]`, `FORECACHE_{kind.upper()}` | {', '.join(f'`{each}://`' for each in schemes_of(kind))} |" for kind in TIERS
    )
    return "\n".join(("| tier | its URLs begin with |", "|---|---|", *rows)) + "\n"


def tables() -> dict[str, str]:
    """All tables by their names."""
    of_tiers = {kind: table(options) for kind, options in TIERS.items() if kind != "memory"}
    return {"cache": table(UPPER), "presets": presets.table(), "schemes": schemes(), **of_tiers}


def main() -> None:
    """See the head of this file."""
    made = tables()
    old = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        new = PLACE.sub(lambda place: f"<!-- table {place[1]} -->\n\n{made[place[1]]}\n<!-- end -->", text)
        if new != text:
            old.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(new, encoding="utf-8")
    named = {name for page in PAGES for name in PLACE.findall(page.read_text(encoding="utf-8"))}
    if named != set(made):
        sys.exit(f"tables that no page has, or that nobody makes: {named ^ set(made)}")
    if old and "--check" in sys.argv:
        sys.exit(f"not as the code says, so run 'make docs': {', '.join(old)}")


if __name__ == "__main__":
    main()
