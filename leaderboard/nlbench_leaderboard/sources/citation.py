"""How nlbench is cited, and where its code is; the same as `CITATION.cff` of the repository."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata

TITLE = "nlbench: The fair benchmark for finding clean labels in noisy data"
AUTHORS = "The nlbench developers"
YEAR = 2026
LICENCE = "MIT"

_CODE_LABELS = ("repository", "source", "source code", "code", "homepage")


def installed_version() -> str:
    """Return the version of nlbench that made a page; "" where it is not installed as a package."""
    try:
        return str(metadata("nlbench")["Version"])
    except PackageNotFoundError:
        return ""


def code_url() -> str:
    """Return the address of the code that the package's metadata names; "" where it names none."""
    try:
        entries = metadata("nlbench").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    return url_of(entries)


def url_of(entries: list[str]) -> str:
    """Return the first address of code among entries ``Label, URL``; only https counts.

    >>> url_of(["Documentation, https://a.test", "Source, https://b.test", "Code, http://c.test"])
    'https://b.test'
    """
    by_label = {
        label.strip().lower(): url.strip() for label, _, url in (e.partition(",") for e in entries)
    }
    urls = (by_label.get(label, "") for label in _CODE_LABELS)
    return next((url for url in urls if url.startswith("https://")), "")


def bibtex(version: str, url: str = "") -> str:
    """Return the BibTeX entry of a version.

    >>> print(bibtex("1.0"))
    @software{nlbench,
      title = {{nlbench: The fair benchmark for finding clean labels in noisy data}},
      author = {{The nlbench developers}},
      year = {2026},
      version = {1.0}
    }
    """
    fields = {
        "title": f"{{{TITLE}}}",
        "author": f"{{{AUTHORS}}}",
        "year": str(YEAR),
        "version": version,
        "url": url,
    }
    lines = [f"  {key} = {{{value}}}" for key, value in fields.items() if value]
    return "@software{nlbench,\n" + ",\n".join(lines) + "\n}"
