"""Writes the API reference, one HTML page for each module, from the docstrings.

    .venv/bin/python docs/reference.py [FOLDER]

FOLDER is docs/reference where none is given; open its index.html. A warning of pdoc is an
error, and so is a public name of lindyn that has no place in the pages.
"""

import argparse
import pathlib
import pkgutil
import sys
import warnings
from importlib.metadata import version

import pdoc
import pdoc.render

import lindyn


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = pathlib.Path(__file__).parent / "reference"
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=default)
    folder = parser.parse_args().folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"{folder}: cannot write there ({error.strerror})")
    rooms = [module.name for module in pkgutil.iter_modules(lindyn.__path__) if module.ispkg]
    for name in lindyn.__all__:  # pdoc does not see names that are imported on first use
        setattr(lindyn, name, getattr(lindyn, name))
    lindyn.__all__ = list(dict.fromkeys([*lindyn.__all__, *rooms]))
    pdoc.render.configure(docformat="markdown", footer_text=f"lindyn {version('lindyn')}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # A type of optax that names itself, which no reader of annotations can resolve.
        warnings.filterwarnings("ignore", message=".*Import of ArrayTree failed")
        pdoc.pdoc("lindyn", output_directory=folder)
    pages = {str(page.relative_to(folder)) for page in folder.rglob("*.html")}
    first = (folder / "lindyn.html").read_text()
    for name in lindyn.__all__:
        module = getattr(lindyn, name, None)
        page = f"{getattr(module, '__name__', '').replace('.', '/')}.html"
        if page not in pages and f'id="{name}"' not in first:
            sys.exit(f"{name}: has no place in {folder}")
    print(folder / "index.html")


if __name__ == "__main__":
    main()
