#!/bin/sh
# Builds the kernels for arm64 with a cross compiler and tests them under emulation, on Debian or
# Ubuntu.
#
#     arm64.sh install  the packages that this needs (as root)
#     arm64.sh root     an arm64 Python with NumPy and pytest, in $FASTSEQ_ARM64_ROOT
#     arm64.sh ci       build, count multiply-adds, compare bits, a hundred tests
#     arm64.sh full     all tests of kernels and layers, for neon and generic
#
# "ci" and "full" make the root if it is missing. $PYTHON has setuptools and Cython, and for the
# comparison of bits NumPy, pytest and the kernels of this machine (avx2). Commands run in the root
# by chroot, hence as root. Under emulation nothing is timed.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
root=${FASTSEQ_ARM64_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/fastseq/arm64-root}
release=bookworm # its Python is 3.11
compiler=aarch64-linux-gnu-gcc

step() {
    printf '\n=== %s (%ss)\n' "$*" "$(($(date +%s) - start))"
}

install() {
    apt-get update
    apt-get install -y --no-install-recommends qemu-user-static binfmt-support debootstrap \
        debian-archive-keyring gcc-aarch64-linux-gnu libc6-dev-arm64-cross unzip
}

# Programs for arm64 then start as if they were programs for this processor.
enable_emulation() {
    handlers=/proc/sys/fs/binfmt_misc
    test -e $handlers/register || mount -t binfmt_misc binfmt_misc $handlers
    test -e $handlers/qemu-aarch64 || update-binfmts --enable qemu-aarch64
}

# Packages are unpacked, not configured: that would take many minutes under emulation, and Python
# does not need it.
make_root() {
    test ! -e "$root/complete" || return 0
    rm -rf "$root" "$root.packages" "$root.wheels"
    mkdir -p "$root" "$root.packages"
    debootstrap --arch=arm64 --foreign --variant=minbase --include=python3,libgomp1 \
        $release "$root.packages" >"$root.log"
    for package in "$root.packages"/var/cache/apt/archives/*.deb; do
        dpkg-deb -x "$package" "$root"
    done
    mkdir -p "$root/site" "$root/fastseq"
    tags=
    for tag in manylinux2014 manylinux_2_17 manylinux_2_24 manylinux_2_26 manylinux_2_27 \
        manylinux_2_28 manylinux_2_31 manylinux_2_34; do
        tags="$tags --platform ${tag}_aarch64"
    done
    # shellcheck disable=SC2086  # a word for each
    "$python" -m pip download -q -d "$root.wheels" --only-binary=:all: --python-version 3.11 \
        --implementation cp --abi cp311 --abi abi3 --abi none $tags \
        "numpy>=1.26" "safetensors>=0.5" "tqdm>=4.66" "pytest>=8" "hypothesis>=6.100"
    for wheel in "$root.wheels"/*.whl; do unzip -qo "$wheel" -d "$root/site"; done
    rm -rf "$root.packages" "$root.wheels"
    chmod -R a+rX "$root" # so that a cache of CI can keep it
    touch "$root/complete"
}

# Only root can make these, hence they are not kept.
make_devices() {
    trap 'rm -f "$root/dev/null" "$root/dev/urandom"' EXIT
    rm -f "$root/dev/null" "$root/dev/urandom"
    mknod -m 666 "$root/dev/null" c 1 3
    mknod -m 666 "$root/dev/urandom" c 1 9
}

# Run a command in the root: inside BUILD "COMMAND". Under emulation NumPy's own products raise
# floating-point warnings where OpenBLAS uses SVE; it is told not to.
inside() {
    chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp LANG=C.UTF-8 \
        PYTHONPATH=/fastseq:/site OPENBLAS_NUM_THREADS=1 OPENBLAS_CORETYPE=ARMV8 \
        FASTSEQ_BACKEND="$1" sh -c "cd /fastseq && $2"
}

cross_build() {
    rm -rf "$root/fastseq"
    mkdir "$root/fastseq"
    tar -c --exclude-vcs --exclude='*.so' --exclude='*.pyc' --exclude='./.*' --exclude=./build \
        --exclude=./runs --exclude=./data . | tar -x -C "$root/fastseq"
    (
        cd "$root/fastseq"
        _PYTHON_HOST_PLATFORM=linux-aarch64 CC=$compiler LDSHARED="$compiler -shared" \
            "$python" setup.py -q build_ext --inplace
    )
}

# At least some hundreds of fused multiply-adds in each module, and none in generic.
count_multiply_adds() {
    for module in "$root"/fastseq/fastseq/_kernels/*_float*.so; do
        count=$(aarch64-linux-gnu-objdump -d "$module" | grep -c '\sfmla\s' || true)
        echo "$(basename "$module"): $count fmla"
        case $module in
        */neon_*) test "$count" -ge 500 ;;
        *) test "$count" -eq 0 ;;
        esac
    done
}

# What avx2 computes here and neon there has the same bits.
compare_bits() {
    PYTHONPATH=. "$python" tests/emulated/bits.py avx2 "$1" >"$root/tmp/avx2"
    inside neon "python3 tests/emulated/bits.py neon $1" >"$root/tmp/neon"
    cmp "$root/tmp/avx2" "$root/tmp/neon"
    echo "$(wc -l <"$root/tmp/neon") arrays of equal bits"
}

start=$(date +%s)
case ${1:-} in
install)
    install
    exit
    ;;
root | ci | full) ;;
*)
    echo "usage: tests/emulated/arm64.sh install|root|ci|full" >&2
    exit 2
    ;;
esac

enable_emulation
step "An arm64 root in $root"
make_root
test "$1" != root || exit 0
make_devices

step "Cross build"
cross_build
count_multiply_adds

step "The build that is chosen"
inside auto "python3 -c 'import fastseq; print(fastseq.show_config())'" | tee "$root/tmp/config"
grep -q "'backend': 'neon'" "$root/tmp/config"

step "Equal bits"
compare_bits small

if [ "$1" = ci ]; then
    step "A hundred tests of kernels"
    inside neon "python3 -m pytest -q -p no:cacheprovider tests/kernels/test_builds.py \
        -k 'neon and test_cells and (H8 or H9 or H16 or H17 or H33 or H65)'"
else
    step "Equal bits of large work"
    compare_bits large
    # A comparison of two durations means nothing under emulation.
    for build in neon generic; do
        step "All tests of kernels and layers by $build"
        inside $build "python3 -m pytest -q -p no:cacheprovider tests/kernels tests/nn \
            -k 'not oracle and not test_subnormals_cost_nothing'"
    done
fi
step "Done"
