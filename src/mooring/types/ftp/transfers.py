"""What the operations do in a session, whichever protocol it speaks."""

from __future__ import annotations

from dataclasses import dataclass

from mooring.errors import Misconfigured
from mooring.types.ftp.faults import Cut
from mooring.types.ftp.messages import PIECE_BYTES, Deleted, GetRequest, Piece, PutRequest, Stored
from mooring.types.ftp.paths import parents, partial_path
from mooring.types.ftp.sessions import Files


async def read(files: Files, request: GetRequest) -> Piece:
    """The part of a file that *request* asks for, or all of it."""
    size = await files.size(request.path)
    limit = PIECE_BYTES if request.length is None else request.length
    if request.length is None and size is not None and size - request.offset > PIECE_BYTES:
        raise _too_long(request.path, size)
    data = bytearray()
    # Where the server does not say how much there is, a byte too many shows it.
    asked = limit + 1 if size is None else max(size - request.offset, 0)
    if request.length is not None:
        asked = min(asked, limit)
    async with files.reading(request.path, request.offset, asked) as blocks:
        async for block in blocks:
            data += block
    if len(data) > limit:
        raise _too_long(request.path, None)
    end = request.offset + len(data)
    if size is not None and end < min(size, request.offset + limit):
        raise Cut(f"ended a transfer at byte {end} of {size}")
    complete = len(data) < asked or (size is not None and end >= size)
    return Piece(content=bytes(data), complete=complete, next_offset=end, size=size)


@dataclass
class Upload:
    """
    One part of an upload, or all of it.

    Attributes:
        begun: Whether something may lie on the server.
    """

    request: PutRequest
    token: str
    begun: bool = False

    @property
    def partial(self) -> str:
        """Where the bytes lie until the file is complete."""
        return partial_path(self.request.path, self.token)

    @property
    def is_whole(self) -> bool:
        """Whether there is no other part."""
        return self.request.upload is None and not self.request.more

    @property
    def is_repeatable(self) -> bool:
        """Whether doing it again does the same: not once the last part may have become the file."""
        return self.request.more or (self.is_whole and self.request.overwrite)

    async def into(self, files: Files) -> Stored:
        """Store it; with the last part the file appears under its name."""
        request, data = self.request, self.request.data
        await make_way(files, request.path, request.overwrite, request.make_directories and not request.offset)
        self.begun = True
        async with files.writing(self.partial, request.offset) as write:
            await write(data)
        total = request.offset + len(data)
        if request.more:
            return Stored(path=request.path, size=total, complete=False, upload=self.token)
        await appear(files, self.partial, request.path, total, request.overwrite)
        return Stored(path=request.path, size=total, complete=True)


async def make_way(files: Files, path: str, overwrite: bool, make_directories: bool) -> None:
    """See to it that *path* may be written. Raises `Misconfigured` where a file stands there that must stay."""
    if make_directories:
        for directory in parents(path):
            await files.make(directory)
    if not overwrite and await files.exists(path):
        raise Misconfigured(f"there is a file {path} already", hint="Choose another name, or allow overwrite.")


async def appear(files: Files, partial: str, path: str, size: int, overwrite: bool) -> None:
    """Give an upload its name, if all *size* bytes of it are there."""
    there = await files.size(partial)
    if there is not None and there != size:
        raise Cut(f"holds {there} bytes of an upload of {size}; it was not given its name")
    await files.rename_file(partial, path, overwrite)


async def remove(files: Files, path: str, missing_ok: bool) -> Deleted:
    """Delete a file."""
    if missing_ok and not await files.exists(path):
        return Deleted(deleted=False)
    await files.delete(path)
    return Deleted(deleted=True)


def _too_long(path: str, size: int | None) -> Misconfigured:
    have = f"has {size} bytes" if size is not None else "is longer"
    return Misconfigured(
        f"{path} {have}, and one answer holds {PIECE_BYTES} at the most",
        hint="Fetch it in parts, with offset and length; Python programs may stream it with the native client.",
    )
