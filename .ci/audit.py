"""Print size, tag and contents of the wheel in a folder; fail where it is not as it should be."""

import sys
import zipfile
from pathlib import Path

MAX_BYTES = 3_000_000
OLDEST_GLIBC = (2, 28)
SOURCES = (".c", ".h", ".pyx", ".pxi", ".pxd")
NEEDED = ("fastseq/py.typed", "fastseq/_kernels/_build.pyi", "fastseq/_kernels/_team.pyi")


def glibc(tag: str) -> tuple[int, int]:
    """The oldest glibc that a manylinux tag stands for."""
    _, major, minor = next(t for t in tag.split(".") if t.startswith("manylinux_2")).split("_")[:3]
    return int(major), int(minor)


def problems(wheel: Path) -> list[str]:
    names = zipfile.ZipFile(wheel).namelist()
    tag, size = wheel.stem.split("-")[-1], wheel.stat().st_size
    found = [f"source inside: {name}" for name in names if name.endswith(SOURCES)]
    found += [f"missing: {name}" for name in NEEDED if name not in names]
    modules = [name for name in names if name.endswith((".so", ".pyd"))]
    print(f"{wheel.name}: {size / 1e6:.2f} MB, {len(names)} files, {len(modules)} compiled")
    if size > MAX_BYTES:
        found.append(f"size: expected at most {MAX_BYTES}, got {size}")
    if not any("generic_float32" in name for name in modules):
        found.append("no compiled kernels")
    if "linux" in tag and ("manylinux_2" not in tag or glibc(tag) > OLDEST_GLIBC):
        found.append(f"tag: expected at most manylinux_{OLDEST_GLIBC}, got {tag}")
    return found


def main() -> int:
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    found = problems(wheel)
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
