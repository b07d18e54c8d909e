"""The API reference, made from the docstrings: `python docs/build.py [FOLDER]` (extra `docs`).

Writes HTML into docs/api, or FOLDER. Ends with an error where a public module cannot be imported,
or one of its public names is missing from its page.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

# Every module whose names users may call; an interop module is named after the library it needs.
PUBLIC = (
    "padchol",
    "padchol.assembly",
    "padchol.gmrf",
    "padchol.inla",
    "padchol.inla.priors",
    "padchol.interop",
    "padchol.interop.blackjax",
    "padchol.interop.lineax",
    "padchol.interop.numpyro",
    "padchol.interop.optimistix",
    "padchol.interop.pymc",
    "padchol.interop.pytensor",
    "padchol.laplace",
    "padchol.likelihoods",
    "padchol.mixed",
    "padchol.mixed.families",
    "padchol.mixed.structures",
    "padchol.plot",
    "padchol.precisions",
    "padchol.precisions.mesh",
    "padchol.splines",
    "padchol.testing",
)


def public_names(module) -> list[str]:
    """What `__all__` says; without one, what is defined in the module and not private."""
    own = [
        name
        for name, x in vars(module).items()
        if not name.startswith("_") and getattr(x, "__module__", None) == module.__name__
    ]
    return list(getattr(module, "__all__", own))


def build(folder: Path) -> int:
    """Write the pages; the number of problems, each of which is printed."""
    modules = {name: importlib.import_module(name) for name in PUBLIC}
    import pdoc

    pdoc.render.configure(
        docformat="markdown", footer_text=f"padchol {modules['padchol'].__version__}"
    )
    with warnings.catch_warnings():
        # Of constructors that NamedTuple makes, whose annotations pdoc reads as text.
        warnings.filterwarnings("ignore", message="Error parsing type annotation")
        pages = {name: pdoc.doc.Module(module) for name, module in modules.items()}
        for name, page in pages.items():
            path = folder.joinpath(*name.split(".")).with_suffix(".html")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pdoc.render.html_module(page, pages), encoding="utf-8")
        (folder / "index.html").write_text(pdoc.render.html_index(pages), encoding="utf-8")
        (folder / "search.js").write_text(pdoc.render.search_index(pages), encoding="utf-8")
    problems = 0
    for name, module in modules.items():
        text = folder.joinpath(*name.split(".")).with_suffix(".html").read_text(encoding="utf-8")
        for each in public_names(module):
            if f"{name}.{each}" not in PUBLIC and f'id="{each}"' not in text:
                print(f"{name}.{each} is public and not on its page", file=sys.stderr)
                problems += 1
    return problems


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("api")
    found = build(target)
    print(f"{len(PUBLIC)} pages in {target}; {found} problems")
    sys.exit(1 if found else 0)
