"""Compressed pixels through a child process with limits on time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

import imgtheranostics
from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.pixels import PixelFormat

BASE_MEMORY = 3 * 2**30
"""Address space of the child before its frames: the interpreter, NumPy and the codecs map much of it."""

START_SECONDS = 30.0
SECONDS_PER_MEGABYTE = 2.0


class Decoder:
    """A child process that decodes the files of one load, started when the first one needs it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._limit = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def decode(self, header: Header, found: PixelFormat, *, indices: bool = False) -> list[npt.NDArray[Any]]:
        """Decoded frames of a file, each (rows, columns), or (rows, columns, 3) in colour.

        With `indices`, a palette is not applied: frames are (rows, columns) of its indices.

        Raises
        ------
        CorruptInput
            If the codec fails, crashes, takes too long or too much memory, or decodes another size than
            the header declares.
        """
        palette = found.photometric == "PALETTE COLOR" and not indices
        colour = palette or found.samples > 1
        shape = (found.rows, found.columns, 3) if colour else (found.rows, found.columns)
        request = {
            "path": str(header.path.resolve()),
            "shape": shape,
            "frames": found.frames,
            "palette": palette,
        }
        megabytes = found.frame_pixels * found.samples * found.frames * found.bits_allocated / 8 / 2**20
        process = self._running(BASE_MEMORY + 16 * found.frame_pixels * found.samples * 4)
        expired = threading.Event()
        timer = threading.Timer(time_limit_s(megabytes), _expire, (process, expired))
        timer.start()
        try:
            return self._exchange(process, request, shape, found.frames, header.path)
        except (OSError, EOFError, ValueError) as error:
            self._stop()
            raise CorruptInput(
                "the compressed pixel data cannot be decoded",
                where=f"{header.path}: PixelData (7FE0,0010)",
                found="the time limit was reached" if expired.is_set() else str(error) or "the decoder ended",
                next_step="export the series uncompressed",
            ) from None
        finally:
            timer.cancel()

    def _exchange(
        self,
        process: subprocess.Popen[bytes],
        request: dict[str, Any],
        shape: tuple[int, ...],
        frames: int,
        path: Path,
    ) -> list[npt.NDArray[Any]]:
        stdin, stdout = _pipes(process)
        stdin.write(json.dumps(request).encode() + b"\n")
        stdin.flush()
        decoded: list[npt.NDArray[Any]] = []
        while True:
            line = stdout.readline(4096)
            if not line:
                code = process.wait(timeout=5)
                raise EOFError(f"the decoder ended by signal {-code}" if code < 0 else "the decoder ended")
            answer = json.loads(line)
            if "error" in answer:
                raise ValueError(str(answer["error"])[:80])
            if "done" in answer:
                break
            kind = np.dtype(answer["dtype"])
            size = int(np.prod(shape)) * kind.itemsize
            if answer["bytes"] != size or len(decoded) >= frames:
                raise ValueError(f"{answer['bytes']} bytes where {size} are declared")
            raw = stdout.read(size)
            if len(raw) != size:
                raise EOFError("the decoder ended")
            decoded.append(np.frombuffer(raw, dtype=kind).reshape(shape))
        if len(decoded) != frames:
            raise ValueError(f"{len(decoded)} frames where {frames} are declared")
        return decoded

    def _running(self, limit: int) -> subprocess.Popen[bytes]:
        if self._process is not None and (self._process.poll() is not None or limit > self._limit):
            self._stop()
        if self._process is None:
            self._limit = limit
            package = Path(imgtheranostics.__file__).parent.parent
            path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
            environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-P", "-m", "imgtheranostics.io.dicom.decoder", str(limit)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in _pipes(process):
            try:
                pipe.close()
            except OSError:
                continue
        process.wait()


def _expire(process: subprocess.Popen[bytes], expired: threading.Event) -> None:
    expired.set()
    process.kill()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise OSError("the decoder has no pipes")
    return process.stdin, process.stdout


def time_limit_s(megabytes: float) -> float:
    """Seconds that a file of that many decoded megabytes may take."""
    return float(os.environ.get("IMGTHERANOSTICS_DECODE_SECONDS", START_SECONDS)) + (
        SECONDS_PER_MEGABYTE * megabytes
    )
