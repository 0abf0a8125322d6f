"""The hub: what a repository would take, and getting its files, with ``huggingface_hub`` alone."""

from __future__ import annotations

import errno
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, cast

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from script_exp.errors import UserError

# Of the hub's HTTP client, which differs between its releases.
_NETWORK_ERROR: type[Exception] = cast(type[Exception], HfHubHTTPError.__bases__[0])
PARTS = Path(".cache/fetch")
"""In a folder: what was fetched so far of files that are not whole."""
_KEPT = "what was fetched so far is kept, and the same command continues"


def allow_network() -> None:
    """Let this process download, whatever ``HF_HUB_OFFLINE`` says: ``runners/data.py fetch`` asks for it."""
    constants.HF_HUB_OFFLINE = False
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # else it tells of every attempt it repeats


@dataclass(frozen=True)
class Repository:
    """A repository of the hub, at a revision; None for its main one."""

    name: str
    kind: Literal["dataset", "model"]
    revision: str | None = None

    @property
    def page(self) -> str:
        """Its address."""
        part = "datasets/" if self.kind == "dataset" else ""
        return f"{constants.ENDPOINT}/{part}{self.name}"


@dataclass(frozen=True)
class Offer:
    """What the hub has of a repository.

    Attributes:
        repository: the repository.
        commit: the commit that its revision stands for.
        sizes: bytes of each wanted file.
        hashes: SHA-256 of the large ones.
        license: as its page says; ``not stated`` if it does not.
        gated: whether one has to accept terms first.
    """

    repository: Repository
    commit: str
    sizes: dict[str, int]
    hashes: dict[str, str]
    license: str
    gated: bool


def look_up(repository: Repository, is_wanted: Callable[[str], bool]) -> Offer:
    """Ask the hub for a repository's wanted files, sizes and license; download nothing.

    Raises:
        UserError: if there is no such repository, its files may not be read, or it has none of them.
    """
    with _asking(repository, "its list of files"):
        api = huggingface_hub.HfApi()
        ask = api.dataset_info if repository.kind == "dataset" else api.model_info
        found = ask(repository.name, revision=repository.revision, files_metadata=True)
    sizes = {one.rfilename: one.size or 0 for one in found.siblings or () if is_wanted(one.rfilename)}
    for name in sizes:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(
                f"{repository.page}: its file {name!r} leads out of the folder; nothing is fetched"
            )
    if not sizes:
        raise UserError(f"{repository.page}: none of the expected files is there")
    if found.gated and huggingface_hub.get_token() is None:
        raise _gated(repository)
    license_name = getattr(found.card_data, "license", None) or "not stated"
    large = {one.rfilename: one.lfs.sha256 for one in found.siblings or () if one.lfs is not None}
    hashes = {name: large[name] for name in sizes if name in large}
    return Offer(repository, str(found.sha), sizes, hashes, str(license_name), bool(found.gated))


def get(offer: Offer, name: str, folder: Path) -> Path:
    """Download a file, or continue its download, into ``folder`` under its own name; return its path.

    The hub's client starts a file over in each process, and a part of a video archive has gigabytes.

    Raises:
        UserError: if it cannot be had as a whole.
    """
    repository, size, path = offer.repository, offer.sizes[name], folder / name
    part = folder / PARTS / f"{offer.commit[:12]}-{name.replace('/', '--')}"
    for parent in (path.parent, part.parent):
        parent.mkdir(parents=True, exist_ok=True)
    with _asking(repository, name):
        url = huggingface_hub.hf_hub_url(
            repository.name, name, repo_type=repository.kind, revision=offer.commit
        )
        with part.open("ab") as file:
            if file.tell() > size:
                file.truncate(0)
            http_get(
                url,
                file,
                resume_size=part.stat().st_size,
                headers=build_hf_headers(),
                expected_size=size,
                displayed_filename=name,
            )
    if (expected := offer.hashes.get(name)) is not None:
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            part.unlink()
            raise UserError(f"{repository.page}: {name} came with other contents than the hub says; repeat")
    part.replace(path)
    return path


def get_into_cache(offer: Offer, name: str) -> Path:
    """Download a file into the hub's cache, unless it is there; return its path.

    Raises:
        UserError: if it cannot be had as a whole.
    """
    repository, size = offer.repository, offer.sizes[name]
    path = Path()
    for force in (False, True):  # the second time if the one that is there is damaged
        with _asking(repository, name):
            path = Path(
                huggingface_hub.hf_hub_download(
                    repository.name, name, repo_type=repository.kind, revision=repository.revision,
                    force_download=force,
                )
            )  # fmt: skip
        if path.stat().st_size == size:
            return path
    raise UserError(f"{path}: {path.stat().st_size:,} bytes, but the hub says {size:,}")


def check_space(folder: Path, needed: int) -> None:
    """Raise a :class:`UserError` unless the disk of ``folder``, which may be missing, has space."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise UserError(f"no space: {in_bytes(needed)} are needed in {folder}, {in_bytes(free)} are free")


def in_bytes(count: float) -> str:
    """Return a number of bytes for the eye."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


@contextmanager
def _asking(repository: Repository, what: str) -> Iterator[None]:
    """Turn what the hub's client raises into one sentence, without the token."""
    try:
        yield
    except GatedRepoError as error:
        raise _gated(repository) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{repository.page}: the hub has no such {repository.kind}, or not for you; is the name right, "
            "and if it is private, is HF_TOKEN set?"
        ) from error
    except (OSError, _NETWORK_ERROR) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{what}: no space left on the disk; free some: {_KEPT}") from error
        raise UserError(f"{repository.page}: cannot get {what} ({_reason(error)}); {_KEPT}") from error


def _gated(repository: Repository) -> UserError:
    return UserError(
        f"{repository.page}: gated: accept its terms there, then run hf auth login, or set HF_TOKEN to a "
        "token of that account"
    )


def _reason(error: BaseException) -> str:
    """Return an error and what it comes from, on one line."""
    first = error
    while first.__cause__ is not None:
        first = first.__cause__
    text = " ".join(f"{type(first).__name__}: {first}".split())
    token = huggingface_hub.get_token()
    return text.replace(token, "***") if token else text
