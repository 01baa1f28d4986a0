"""URLs of databases, as they may be shown and written down."""

from __future__ import annotations

import re


def without_password(url: str) -> str:
    """The same URL without what is secret in it, also when it is not written as it should be."""
    place, mark, options = url.partition("?")
    place = re.sub(r"^([^:/@]*://[^:/@]*):.*@", r"\1@", place)
    kept = [option for option in options.split("&") if not re.match(r"\w*password=", option)]
    return place + mark * bool(kept) + "&".join(kept)
