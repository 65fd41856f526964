"""`python -m docsite`: writes the reference from the code and builds the site into build/site."""

from __future__ import annotations

import sys

import click

from docsite import reference
from docsite.pages import finish_french
from docsite.parts import PartMissing
from docsite.site import SiteNotBuilt, build


@click.command()
@click.option("--reference", "only_reference", is_flag=True, help="Do not build the site.")
def main(only_reference: bool) -> None:
    """Write docs/reference from the code, finish the French pages, and build the site."""
    for path in [*reference.write(), *finish_french()]:
        click.echo(f"written: {path}")
    if only_reference:
        return
    try:
        click.echo(f"The site is there: {build() / 'index.html'}")
    except (PartMissing, SiteNotBuilt) as error:
        click.echo(error, err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
