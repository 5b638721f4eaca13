"""Texts from logs on a terminal: shown letter by letter, never obeyed.

A chunk may hold escape sequences that move the cursor, rewrite what was printed, set the title or even type commands,
and direction marks that show a line other than it is. Every such character becomes one that can be seen.
"""

import re
import unicodedata

_PICTURES = 0x2400  # U+2400 SYMBOL FOR NULL, and one for each further control character up to U+241F
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_KEPT_FORMATS = frozenset("\u200c\u200d")  # joiners: scripts of India and Persian are written with them
_SUSPECT = re.compile(r"[^\n -~]")


def visible(text: str) -> str:
    r"""Return `text` with every character that a terminal might obey replaced; only "\n" stays, tabs are spaces.

    Control characters become their pictures (ESC: ␛), direction marks and other invisible ones U+FFFD.
    """
    return _SUSPECT.sub(_seen, text.replace("\r\n", "\n").expandtabs(4))


def one_line(text: str, limit: int) -> str:
    """Return at most `limit` characters of `text`, on one line, harmless."""
    flat = " ".join(visible(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _seen(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if code < 0x20:
        return chr(_PICTURES + code)
    if code == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    category = unicodedata.category(character)
    if category in ("Zl", "Zp"):
        return " "
    harmless = category not in ("Cc", "Cf", "Cs", "Cn") or character in _KEPT_FORMATS
    return character if harmless else _REPLACEMENT
