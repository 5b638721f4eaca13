"""The words that a reviewer sees in a field, for the text index: without HTML's tags, with its entities decoded.

Argilla's page renders every text field as HTML, whether or not it is a Markdown field.
"""

import html
import re
from typing import Any

# A tag of HTML. Angle brackets around anything else, as in `List<String>`, are text. What is bounded here keeps a
# hostile text from costing more than its length.
_TAG = re.compile(
    r"<!--(?:(?!<!--|-->).)*+-->"
    r"|<(?P<close>/?)(?P<name>[a-zA-Z][a-zA-Z0-9]{0,19})(?=[\s/>])"
    r"(?:[^\"'<>]|\"[^\"]{0,9999}+\"|'[^']{0,9999}+'){0,9999}+>",
    re.DOTALL,
)
_INLINE = frozenset(
    """
    a abbr b bdi bdo big cite code del dfn em font i ins kbd mark q s samp small span strike strong sub sup tt u var wbr
    """.split()  # noqa: SIM905 - a literal would take a page
)
_BLOCK = frozenset(
    """
    address article aside audio base blockquote body br button canvas caption center col colgroup data datalist dd
    details dialog div dl dt embed fieldset figcaption figure footer form frame h1 h2 h3 h4 h5 h6 head header hr html
    iframe img input label legend li link main map math menu meta meter nav noscript object ol optgroup option output
    p param picture pre progress section select slot source summary svg table tbody td textarea tfoot th thead time
    tr track ul video
    """.split()  # noqa: SIM905
)
_HIDDEN = frozenset(("script", "style", "template", "title"))  # with all that stands in them


def visible_text(value: Any) -> str:  # noqa: ANN401 - a field holds whatever JSON holds
    """Return the text of a field's value; of a list (chat) or an object (custom field) that of all the values in it."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        return _without_tags(value) if "<" in value or "&" in value else value
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return str(value)
    return "\n".join(map(visible_text, value))


def _without_tags(text: str) -> str:
    pieces = []
    at = 0
    hidden_until: str | None = None
    for tag in _TAG.finditer(text):
        name = (tag["name"] or "").lower()
        if hidden_until is not None:
            if not (tag["close"] and name == hidden_until):
                continue
            hidden_until = None
        elif name in _INLINE:  # a word may be marked in part
            pieces.append(text[at : tag.start()])
        elif name in _BLOCK or name in _HIDDEN or not name:
            pieces.append(text[at : tag.start()] + " ")
            hidden_until = name if name in _HIDDEN and not tag["close"] else None
        else:
            continue
        at = tag.end()
    if hidden_until is None:
        pieces.append(text[at:])
    return html.unescape("".join(pieces))
