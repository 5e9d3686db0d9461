"""The child process that decodes compressed pixels: crashes, hangs and memory hunger stay in it.

Requests are JSON lines on standard input, each answered by a JSON line and, where it announces them, the
decoded frames as raw bytes. Run as ``python -P -m imgtheranostics.io.dicom.decoder BYTES``.
"""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO


def main(arguments: list[str]) -> int:
    """Serve requests until standard input closes."""
    _limit_memory(int(arguments[0]))
    _import_decoders()
    output = sys.stdout.buffer
    for line in sys.stdin.buffer:
        try:
            _answer(json.loads(line), output)
        except BrokenPipeError:
            return 0
        except MemoryError:
            _reply(output, {"error": "memory limit reached"})
        except Exception as error:
            _reply(output, {"error": type(error).__name__})
    return 0


def _limit_memory(n_bytes: int) -> None:
    try:
        import resource
    except ImportError:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _import_decoders() -> None:
    import numpy  # noqa: F401
    import pydicom.pixels  # noqa: F401


def _answer(request: dict[str, Any], output: BinaryIO) -> None:
    import numpy as np

    expected = tuple(request["shape"])
    sent = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for pixels in _frames(request["path"], request["frames"], palette=request["palette"]):
            values = np.ascontiguousarray(pixels)
            if values.shape != expected:
                _reply(output, {"error": f"decoded shape {values.shape}"})
                return
            kind = values.dtype.newbyteorder("<").str
            _reply(output, {"dtype": kind, "bytes": values.nbytes})
            output.write(values.astype(kind, copy=False).tobytes())
            sent += 1
    _reply(output, {"done": sent})


def _frames(path: str, count: int, *, palette: bool) -> Iterator[Any]:
    """Decoded frames one by one, colour spaces turned into RGB, at most `count`."""
    from pydicom import dcmread
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import iter_pixels, pixel_array

    lookup = dcmread(path, stop_before_pixels=True) if palette else None
    # one frame at a time saves memory, but pydicom cannot correct signs in the read-only frames it yields
    frames = iter([pixel_array(path, raw=False)]) if count == 1 else iter_pixels(path, raw=False)
    for frame in itertools.islice(frames, count):
        yield frame if lookup is None else apply_color_lut(frame, lookup)


def _reply(output: BinaryIO, message: dict[str, Any]) -> None:
    output.write(json.dumps(message).encode() + b"\n")
    output.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
