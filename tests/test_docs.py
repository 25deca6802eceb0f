"""Every code block of README and docs runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from forecache import Cache

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: Path) -> None:
    source = "\n".join(blocks(page, "python"))
    exec(compile(source, str(page), "exec"), {"__name__": "page"})


def test_the_toml_of_the_configuration_page_is_a_configuration(tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "docs" / "configuration.md", "toml")
    file = tmp_path / "cache.toml"
    file.write_text(block)
    with Cache.from_toml(file) as cache:
        assert (cache.config.capacity, cache.config.policy, cache.config.ttl) == (512_000_000, "lru", 3600.0)


def test_the_tables_of_the_pages_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "tables.py", "--check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_example_of_a_tier_keeps_what_a_tier_promises() -> None:
    source = ROOT / "examples" / "sqlite_tier.py"
    done = subprocess.run([sys.executable, source], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
