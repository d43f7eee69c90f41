"""Ids of new resources: as their owner wishes, or made from a name."""

import re
import secrets
import unicodedata

# Leaves room for the suffix below the contract's 63 characters.
LONGEST_STEM = 50
SUFFIX_CHARACTERS = 4
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # without those that people confuse


def stem_of(name: str, otherwise: str) -> str:
    """A name as an id: small letters, digits and hyphens; `otherwise` if nothing of it can be one."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST_STEM].rstrip("-")
    return stem or otherwise


def with_suffix(stem: str) -> str:
    """The stem with a short random end, for when the stem alone is taken."""
    return f"{stem}-{random_word(SUFFIX_CHARACTERS)}"


def random_word(length: int) -> str:
    """Random characters of an id."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
