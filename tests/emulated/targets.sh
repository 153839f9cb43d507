#!/bin/sh
# Compiles and links all modules for the systems that this machine cannot run: macOS, Linux with
# musl, Windows. Clang and the systems' headers come from the wheel "ziglang". $PYTHON has it,
# setuptools and Cython. Nothing is run; what the modules take from Python is left open.
set -eu
cd "$(dirname "$0")/../.."
python=$(command -v "${PYTHON:-python3}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export FASTSEQ_REQUIRE_COMPILED=1 ZIG_GLOBAL_CACHE_DIR="${ZIG_GLOBAL_CACHE_DIR:-$work/cache}"

# An own copy: the translated sources of this one belong to its compiled modules.
mkdir "$work/source"
tar -c --exclude='*.so' --exclude='*.pyc' setup.py pyproject.toml README.md LICENSE fastseq \
    tests/emulated | tar -x -C "$work/source"
cd "$work/source"

# For a system like Unix setup.py does it: build PLATFORM TARGET [LINKER FLAG...]
build() {
    platform=$1 compiler="$python -m ziglang cc -target $2"
    shift 2
    _PYTHON_HOST_PLATFORM=$platform CC=$compiler LDSHARED="$compiler -shared $*" \
        "$python" setup.py -q build_ext --build-lib "$work/$platform" --build-temp "$work/objects" \
        >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    echo "$platform: $(find "$work/$platform" -name '*.so' | wc -l) modules"
}

# For Windows the compiler is called here, as setup.py needs Windows there:
# build_windows MACHINE MODULE [FLAG...]
build_windows() {
    machine=$1 module=$2 object="$work/windows/$1-$2.obj"
    shift 2
    "$python" -m ziglang cc -target "$machine-windows-gnu" -O3 -ffp-contract=off -fno-math-errno \
        -fno-trapping-math -g0 -w -DPy_LIMITED_API=0x030B0000 "$@" -I "$work/include" \
        -I fastseq/_kernels -I build/cython/fastseq/_kernels -c "$work/windows/$module.c" -o "$object"
    { # the functions of Python that it needs
        echo "LIBRARY python3.dll"
        echo "EXPORTS"
        grep -a -o '__imp__\{0,1\}Py[A-Za-z0-9_]*' "$object" | sed 's/^__imp_//' | sort -u
    } >"$object.def"
    "$python" -m ziglang dlltool -m "$machine" -d "$object.def" -l "$object.lib"
    "$python" -m ziglang cc -target "$machine-windows-gnu" -shared -s "$object" "$object.lib" \
        -o "${object%.obj}.pyd"
}

kernels() { # BUILD: the sources of its two modules
    for dtype in float32 float64; do
        {
            echo "#define FS_BUILD \"$1\""
            echo "#define FS_BUILD_$1"
            test $dtype = float32 || echo "#define FS_DOUBLE"
            echo "#define PyInit__build PyInit_$1_$dtype"
            echo '#include "_build.c"'
        } >"$work/windows/$1_$dtype.c"
    done
}

build macosx-11.0-arm64 aarch64-macos.11.0 -undefined dynamic_lookup
build macosx-11.0-x86_64 x86_64-macos.11.0 -undefined dynamic_lookup
build linux-aarch64 aarch64-linux-musl
build linux-x86_64 x86_64-linux-musl

mkdir "$work/windows" "$work/include"
cp -R "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/." "$work/include"
cp tests/emulated/windows_pyconfig.h "$work/include/pyconfig.h"
cp build/cython/fastseq/_kernels/_cpu.c build/cython/fastseq/_kernels/_team.c "$work/windows"
for build in generic avx2 avx512 neon; do kernels $build; done
for machine in x86_64 aarch64; do
    for module in _cpu _team generic_float32 generic_float64; do
        build_windows "$machine" "$module"
    done
done
for dtype in float32 float64; do
    build_windows aarch64 neon_$dtype
    build_windows x86_64 avx2_$dtype -mavx2 -mfma
    build_windows x86_64 avx512_$dtype -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma
done
echo "windows: $(find "$work/windows" -name '*.pyd' | wc -l) modules"
