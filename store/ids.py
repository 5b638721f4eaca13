"""Identity by content.

Everything that must be the same when it is made twice (a chunk, an anchor, a pair, a policy version, a judge, a
build) is named by a tagged hash of its canonical JSON: `chunk_5f3c...`. The tag keeps two kinds with the same
content apart; canonical JSON keeps `None` and the empty string, or 1 and "1", apart.
"""

import hashlib
import json
from json.encoder import encode_basestring

HASH_DIGITS = 32  # 128 bits: a collision among 10 billion rows has a chance below 1e-18


def canonical_json(value: object) -> str:
    """Serialise `value` so that equal values give equal text: keys sorted, no white space, UTF-8, no NaN.

    Raises:
        ValueError: `value` holds NaN or an infinity.
        TypeError: `value` holds something that JSON has no form for.
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def content_id(tag: str, *parts: object) -> str:
    """Name content by `tag` and the SHA-256 of its canonical JSON, e.g. `pair_0a1b...` (32 hex digits)."""
    digest = hashlib.sha256(canonical_json([tag, *parts]).encode("utf-8", "surrogatepass"))
    return f"{tag}_{digest.hexdigest()[:HASH_DIGITS]}"


def anchor_id(text: str) -> str:
    """Id of an anchor with this text."""
    return _text_id("anchor", text)


def chunk_id(text: str) -> str:
    """Id of a chunk with this text. The id that a log gives it is its `external_id`."""
    return _text_id("chunk", text)


def text_id(text: str) -> str:
    """Id of a text whatever it is, an anchor or a chunk."""
    return _text_id("text", text)


def pair_id(anchor: str, chunk: str) -> str:
    """Id of the pair of an anchor id and a chunk id."""
    return content_id("pair", anchor, chunk)


def _text_id(tag: str, text: str) -> str:
    """Return `content_id(tag, text)`, without building a JSON encoder for each of millions of texts."""
    digest = hashlib.sha256(f'["{tag}",{encode_basestring(text)}]'.encode("utf-8", "surrogatepass"))
    return f"{tag}_{digest.hexdigest()[:HASH_DIGITS]}"
