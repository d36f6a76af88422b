"""Products of long builds, kept by the hash of everything that went into them."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path


def default_root() -> Path:
    """The user's cache on this platform, one for all working directories."""
    # those who never build need not have it installed
    import platformdirs

    return platformdirs.user_cache_path("codesign") / "builds"


def digest(parts: Iterable[str | bytes]) -> str:
    """Hash of a sequence of texts; their boundaries count."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()[:20]


def cached(root: Path | None, key: str, make: Callable[[Path], object]) -> Path:
    """The directory ``root/key``, filled by ``make`` if it is not there yet.

    Without a ``root`` it is ``default_root()``.

    ``make`` writes into a scratch directory that takes its place only when complete, so a
    build that was interrupted is never used; of several processes that want the same product
    one builds and the others wait.
    """
    root = default_root() if root is None else root
    final = root / key
    if final.is_dir():
        return final
    root.mkdir(parents=True, exist_ok=True)
    lock_path = root / f"{key}.lock"
    with lock_path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if final.is_dir():
            return final
        # whoever held the lock before and was killed could not clean up
        for left in root.glob(f"{key}.*/"):
            shutil.rmtree(left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=root))
        try:
            make(scratch)
            scratch.rename(final)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    return final
