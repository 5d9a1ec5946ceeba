"""Digests of published files: those that open_clip's own table states, and a hub's cache."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headclip_med.atomic import sha256_of
from headclip_med.models.clip.hub import known_models, known_tags, stated_activation
from headclip_med.models.clip.library import tables
from headclip_med.models.clip.snapshots import Activation

OPENAI_HOST = "openaipublic"
"""OpenAI's addresses name a file's whole SHA-256 as the folder it lies in."""

_HEX = re.compile(r"[0-9a-f]{8,64}")
_BLOB = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PublishedFile:
    """One file of open_clip's table whose digest is stated there.

    Attributes:
        model: Of open_clip's registry.
        tag: Of its pretrained weights.
        file: What the file is called.
        digest: SHA-256 or its beginning, at least eight hexadecimal digits.
        activation: What the table states that it was trained with.
    """

    model: str
    tag: str
    file: str
    digest: str
    activation: Activation


@dataclass(frozen=True)
class FileDigest:
    """What a file's digest tells.

    Attributes:
        sha256: Of the whole file.
        status: ``known`` where a published file or the hub's cache has this digest, ``wrong`` where
            the file's name or place promises another, ``unknown`` where nothing states one.
        published: Which published files it is.
    """

    sha256: str
    status: Literal["known", "wrong", "unknown"]
    published: tuple[PublishedFile, ...] = ()


def published_files() -> Iterator[PublishedFile]:
    """List the published files of usable models whose digest the installed open_clip states.

    Its addresses hold them: of OpenAI's files as a folder, of others behind the last hyphen.
    """
    for model in known_models():
        for tag in known_tags(model):
            url = str(tables().get_pretrained_cfg(model, tag).get("url", ""))
            folder, _, file = url.rpartition("/")
            stem = file.rpartition(".")[0]
            stated = folder if OPENAI_HOST in url else stem.replace("-", "/")
            digest = stated.rpartition("/")[2]
            if _HEX.fullmatch(digest):
                yield PublishedFile(model, tag, file, digest, stated_activation(model, tag))


def digest_file(path: Path) -> FileDigest:
    """Compare a file with what is stated of it.

    A file that is called like a published one must be that one; so must one in a hub's cache, whose
    blobs are called by their digest.
    """
    sha256, table = sha256_of(path), tuple(published_files())
    published = tuple(one for one in table if sha256.startswith(one.digest))
    blob = path.resolve().name
    if published or sha256 == blob:
        return FileDigest(sha256, "known", published)
    promised = _BLOB.fullmatch(blob) or path.name in {one.file for one in table}
    return FileDigest(sha256, "wrong" if promised else "unknown")
