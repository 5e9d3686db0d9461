"""``warmup`` and ``doctor``."""

from __future__ import annotations

import time

import typer

from imgtheranostics.cli import options, terminal

_PARTS = (
    ("numpy", "numpy", True),
    ("numba", "numba", True),
    ("scipy", "scipy", True),
    ("nibabel", "nibabel", True),
    ("pydicom", "pydicom", True),
    ("SimpleITK", "SimpleITK", True),
    ("scikit-image", "skimage", True),
    ("pandas", "pandas", True),
    ("h5py", "h5py", True),
    ("highdicom", "highdicom", True),
    ("python-gdcm (codec)", "gdcm", True),
    ("pylibjpeg-openjpeg (codec)", "openjpeg", True),
    ("pylibjpeg-rle (codec)", "rle", True),
    ("pyjpegls (codec)", "jpeg_ls", True),
)


def warmup(as_json: options.AsJson = False, quiet: options.Quiet = False) -> None:
    """Compile every kernel once, so that later commands start in about a second."""
    from imgtheranostics.kernels.warmup import compile_all

    seconds: dict[str, float] = {}
    for name, compile_one in compile_all():
        start = time.perf_counter()
        compile_one()
        seconds[name] = round(time.perf_counter() - start, 3)
        terminal.progress(f"{name}: {seconds[name]:.2f} s", quiet=quiet or as_json)
    if as_json:
        terminal.print_json({"command": "warmup", "seconds": seconds})
    elif not quiet:
        typer.echo(f"{len(seconds)} kernels ready in {sum(seconds.values()):.1f} s")


def doctor(as_json: options.AsJson = False) -> None:
    """Check the installation: libraries, codecs, threads, cache, memory."""
    checks = _checks()
    healthy = all(check["ok"] for check in checks)
    if as_json:
        terminal.print_json({"command": "doctor", "ok": healthy, "checks": checks})
    else:
        for check in checks:
            typer.echo(f"{'ok  ' if check['ok'] else 'FAIL'}  {check['name']}: {check['detail']}")
    if not healthy:
        raise typer.Exit(1)


def _checks() -> list[dict[str, object]]:
    import importlib
    import os
    import platform
    import tempfile
    from importlib import metadata
    from pathlib import Path

    checks: list[dict[str, object]] = [
        {"name": "python", "ok": True, "detail": f"{platform.python_version()} on {platform.machine()}"}
    ]
    for label, module, needed in _PARTS:
        try:
            importlib.import_module(module)
            distribution = label.split(" ")[0]
            checks.append({"name": label, "ok": True, "detail": metadata.version(distribution)})
        except (ImportError, metadata.PackageNotFoundError) as error:
            checks.append({"name": label, "ok": not needed, "detail": f"cannot be imported: {error}"})
    import numba

    from imgtheranostics.io.budget import memory_budget_bytes
    from imgtheranostics.kernels import region_statistics

    checks.append({"name": "threads", "ok": True, "detail": str(numba.get_num_threads())})
    cache = Path(region_statistics.region_means.stats.cache_path or tempfile.gettempdir())
    nearest = next(folder for folder in (cache, *cache.parents) if folder.exists())
    checks.append(
        {
            "name": "kernel cache",
            "ok": os.access(nearest, os.W_OK),
            "detail": "writable"
            if os.access(nearest, os.W_OK)
            else "not writable; kernels compile each time",
        }
    )
    checks.append(
        {"name": "memory budget", "ok": True, "detail": f"{memory_budget_bytes() / 2**30:.1f} GiB per load"}
    )
    return checks
