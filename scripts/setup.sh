#!/usr/bin/env bash
# Makes sure that what cargo can't bring itself is there: a C compiler, MPI, HDF5, libclang (bindings to MPI are
# generated while building), cargo. Installs what is missing with apt-get where it may, else names it and stops.
#
#     ./scripts/setup.sh                    what building and running needs
#     source scripts/setup.sh --build       the same, and keeps PATH and HDF5_DIR as found (what the other scripts do)
#     source scripts/setup.sh --tests       and what the tests need besides
#
# MPI and HDF5 of another make (a cluster's modules, MPICH, HDF5_DIR) are taken as they are.

_have() { command -v "$1" >/dev/null 2>&1; }

# Whether the first of these patterns that matches names a file.
_any_file() {
    local pattern
    for pattern in "$@"; do
        compgen -G "$pattern" >/dev/null && return 0
    done
    return 1
}

# cc links every Rust program; alone it is of no use without the C library's headers.
_have_compiler() {
    _have cc && printf '#include <stdlib.h>\n' | cc -E -x c - >/dev/null 2>&1
}

# A wrapper can be there without its headers: let it read one.
_have_mpi_headers() {
    [ -n "${MPI_PKG_CONFIG:-}${CRAY_MPICH_DIR:-}" ] && return 0
    local mpicc="${MPICC:-mpicc}"
    _have "$mpicc" && printf '#include <mpi.h>\n' | "$mpicc" -E -x c - >/dev/null 2>&1
}

# mpirun of the same make as mpicc: Debian names them mpirun.mpich and mpicc.mpich when several are installed.
mpi_launcher() {
    local mpicc="${MPICC:-mpicc}" name
    name="${mpicc##*/}"
    for name in "${name/mpicc/mpirun}" mpirun mpiexec; do
        case "$name" in *mpicc*) continue ;; esac
        _have "$name" && printf '%s\n' "$name" && return 0
    done
    return 1
}

_is_hdf5_headers() { [ -f "$1/H5pubconf.h" ] || [ -f "$1/H5pubconf-64.h" ]; }

# The same places that the build of the hdf5 crate looks at, then those that cluster modules name.
_have_hdf5() {
    local dir
    if [ -n "${HDF5_DIR:-}" ]; then
        _is_hdf5_headers "$HDF5_DIR/include"
        return
    fi
    for dir in "${HDF5_ROOT:-}" "${HDF5_HOME:-}" "${EBROOTHDF5:-}" "${CONDA_PREFIX:-}"; do
        if [ -n "$dir" ] && _is_hdf5_headers "$dir/include"; then
            export HDF5_DIR="$dir"
            return 0
        fi
    done
    # Debian can hold the serial and the MPI flavours side by side; the serial one is wanted.
    if _any_file '/usr/include/hdf5/openmpi/H5pubconf.h' '/usr/include/hdf5/mpich/H5pubconf.h'; then
        for dir in /usr/lib/*/hdf5/serial; do
            if _is_hdf5_headers "$dir/include"; then
                export HDF5_DIR="$dir"
                return 0
            fi
        done
        return 1
    fi
    # Elsewhere than x86-64 only pkg-config finds it.
    if _have pkg-config && pkg-config --exists hdf5; then
        return 0
    fi
    [ "$(uname -m)" = x86_64 ] && { _is_hdf5_headers /usr/include/hdf5/serial || _is_hdf5_headers /usr/include; }
}

# The library, and the C headers that come with clang.
_have_libclang() {
    if [ -n "${LIBCLANG_PATH:-}" ]; then
        [ -f "$LIBCLANG_PATH" ] || _any_file "$LIBCLANG_PATH/libclang*.so*"
        return
    fi
    _have clang || _any_file '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' '/usr/lib*/clang/*/include/stddef.h' || return 1
    _any_file '/usr/lib/*-linux-*/libclang*.so*' '/usr/lib/llvm-*/lib/libclang*.so*' '/usr/lib*/libclang*.so*' \
        '/usr/lib*/llvm*/lib*/libclang*.so*' '/usr/local/lib*/libclang*.so*' '/usr/local/llvm*/lib*/libclang*.so*' && return 0
    local dir dirs
    _have llvm-config && _any_file "$(llvm-config --libdir 2>/dev/null)/libclang*.so*" && return 0
    IFS=: read -ra dirs <<<"${LD_LIBRARY_PATH:-}"
    for dir in "${dirs[@]}"; do
        [ -n "$dir" ] && _any_file "$dir/libclang*.so*" && return 0
    done
    return 1
}

# Sets missing_things and the packages that bring them (Debian names; none for a wrong environment variable).
_look() {
    missing_packages=()
    missing_things=()
    local mpi_packages=(libopenmpi-dev openmpi-bin)
    _have mpicc.mpich && ! _have mpicc.openmpi && mpi_packages=(libmpich-dev mpich)

    _have_compiler || _miss 'a C compiler' gcc libc6-dev
    { _have pkg-config || _have pkgconf; } || _miss 'pkg-config' pkg-config
    { _have_mpi_headers && mpi_launcher >/dev/null; } || _miss 'MPI (mpicc, mpi.h, mpirun)' "${mpi_packages[@]}"
    if ! _have_hdf5; then
        if [ -n "${HDF5_DIR:-}" ]; then
            _miss "HDF5 headers in HDF5_DIR=$HDF5_DIR (correct it or unset it)"
        else
            _miss 'HDF5 with its headers' libhdf5-dev
        fi
    fi
    if ! _have_libclang; then
        if [ -n "${LIBCLANG_PATH:-}" ]; then
            _miss "libclang in LIBCLANG_PATH=$LIBCLANG_PATH (correct it or unset it)"
        else
            _miss 'libclang' libclang-dev clang
        fi
    fi
    if [ "$1" = --tests ]; then
        _have h5dump || _miss 'h5dump (for the tests)' hdf5-tools
        _have strace || _miss 'strace (for the tests of kills)' strace
        _have c++ || _miss 'a C++ compiler (for the tests of the GPU kernels)' g++
    fi
}

# A Python that writes the files that other programs would have written, reads ours and drives a browser; the tests try the
# same names.
_have_test_python() {
    local name
    for name in python3 /usr/bin/python3; do
        _have "$name" && "$name" -c 'import h5py, numpy, scipy.optimize, matplotlib, selenium' >/dev/null 2>&1 && return 0
    done
    return 1
}

# What the tests look at pages and terminals with.
_have_viewers() { _have chromium && _have chromedriver && _have tmux; }

# Without it a user's tests go on, leaving out those that need it; the CI's don't.
_bring_test_python() {
    _have_test_python && _have_viewers && return 0
    missing_things=('Python with h5py, numpy, scipy, matplotlib and selenium, Chromium and tmux (for the tests)')
    missing_packages=(python3 python3-h5py python3-numpy python3-scipy python3-matplotlib python3-selenium chromium chromium-driver tmux)
    if _may_install && _install; then
        hash -r
        _have_test_python && _have_viewers && return 0
    fi
    if [ "${CI:-}" = true ]; then
        _say_missing
        return 1
    fi
    echo "warning: missing: ${missing_things[*]}; tests that need them are left out (Debian, Ubuntu: ${missing_packages[*]})" >&2
}

_have_slurm() {
    local name
    for name in slurmctld slurmd munged; do
        _have "$name" || [ -x "/usr/sbin/$name" ] || return 1
    done
    _have srun && _have sbatch && { _any_file '/usr/lib/*/libpmix.so*' '/usr/lib*/libpmix.so*' '/usr/lib/*/pmix2/lib/libpmix.so*'; }
}

# For a Slurm of the tests' own, which has nothing to do with any other on this machine. Without it the tests in it are left out.
_bring_slurm() {
    [ "$(uname -s)" = Linux ] || return 0
    _have_slurm && return 0
    missing_things=('Slurm with munge (for the tests)')
    missing_packages=(munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins libpmix2 libpmi2-0)
    if _may_install && _install; then
        hash -r
        _have_slurm && return 0
    fi
    echo "warning: Slurm is missing, so the tests in a Slurm are left out (Debian, Ubuntu: ${missing_packages[*]})" >&2
}

# A compiler wrapper of another MPI than the one in use, where Debian's packages have brought both.
other_mpicc() {
    local own other
    own=$(readlink -f "$(command -v "${MPICC:-mpicc}")")
    for other in mpicc.mpich mpicc.openmpi; do
        _have "$other" && [ "$(readlink -f "$(command -v "$other")")" != "$own" ] && _have "${other/mpicc/mpirun}" || continue
        printf '%s\n' "$other"
        return 0
    done
    return 1
}

# The tests run with a second MPI too. Without it a user's tests leave that out; the CI's don't.
_bring_other_mpi() {
    other_mpicc >/dev/null && return 0
    missing_things=('a second MPI (for the tests)')
    missing_packages=(libmpich-dev mpich)
    # what is not Debian's own needn't go along with Debian's
    if [ -z "${MPICC:-}" ] && _have mpicc.openmpi && _may_install && _install; then
        hash -r
        other_mpicc >/dev/null && return 0
    fi
    [ "${CI:-}" != true ] || { _say_missing; return 1; }
    echo "warning: there is no second MPI, so the tests with another one are left out (Debian, Ubuntu: ${missing_packages[*]})" >&2
}

# ArviZ, which reads draws from the posterior, and emcee, a sampler to compare with: Python packages that Debian 12 doesn't have. They
# lie in a folder of their own, with the name of the interpreter that they were made for.
sampling_packages() { printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/homodyne-mpi/python"; }

_have_sampling_packages() {
    local folder
    folder=$(sampling_packages)
    [ -f "$folder/interpreter" ] && PYTHONPATH=$folder "$(cat "$folder/interpreter")" -c 'import arviz, emcee, h5netcdf' >/dev/null 2>&1
}

# Without them a user's tests go on, leaving out those that need them; the CI's don't.
_bring_sampling_packages() {
    _have_sampling_packages && return 0
    local folder name
    folder=$(sampling_packages)
    for name in python3 /usr/bin/python3; do
        rm -rf "$folder"
        mkdir -p "$folder"
        if "$name" -m pip install --quiet --target "$folder" 'arviz>=0.17,<1' h5netcdf emcee >/dev/null 2>&1; then
            printf '%s\n' "$name" >"$folder/interpreter"
            _have_sampling_packages && return 0
        fi
    done
    rm -rf "$folder"
    echo "warning: ArviZ can't be fetched from PyPI, so tests that need it are left out (pip install 'arviz<1' h5netcdf emcee)" >&2
    [ "${CI:-}" != true ]
}

# NVIDIA's run-time compiler, which needs no GPU: the tests compile the kernels with it. Without it they leave that out.
_bring_nvrtc() {
    local folder=target/nvrtc library name fetched
    library=$folder/nvidia/cuda_nvrtc/lib/libnvrtc.so.12
    [ "$(uname -sm)" = 'Linux x86_64' ] && [ ! -e "$library" ] || return 0
    fetched=$(mktemp -d)
    for name in python3 /usr/bin/python3; do
        if "$name" -m pip download --quiet --no-deps --only-binary :all: -d "$fetched" nvidia-cuda-nvrtc-cu12==12.9.86 &&
            mkdir -p "$folder" && "$name" -m zipfile -e "$fetched"/*.whl "$folder"; then
            break
        fi
    done >/dev/null 2>&1
    rm -rf "$fetched"
    [ -e "$library" ] || echo "warning: NVRTC can't be fetched from PyPI, so the test that compiles the GPU kernels with it is left out" >&2
}

_miss() {
    missing_things+=("$1")
    shift
    missing_packages+=("$@")
}

_apt_get() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 "$@"
    else
        sudo -n env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 "$@"
    fi
}

_may_install() {
    _have apt-get || return 1
    [ "$(id -u)" -eq 0 ] || { _have sudo && sudo -n true 2>/dev/null; }
}

# An update that fails for one source of many needn't matter: the install decides.
_install() {
    echo "Installing with apt-get: ${missing_packages[*]}"
    local log
    log=$(mktemp)
    if { _apt_get update -q; _apt_get install -q -y --no-install-recommends "${missing_packages[@]}"; } >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        return 0
    fi
    _install_failure=$(grep -E '^(E|W|Err)[: ]' "$log" | tail -n 3)
    rm -f "$log"
    return 1
}

_say_missing() {
    local list things
    printf -v things '%s, ' "${missing_things[@]}"
    list="${missing_packages[*]}"
    if [ -z "$list" ]; then
        echo "error: missing: ${things%, }" >&2
        return
    fi
    {
        echo "error: missing: ${things%, }${_install_failure:+; apt-get could not install them:}"
        [ -z "$_install_failure" ] || printf '%s\n' "$_install_failure" | sed 's/^/    /'
        echo "  Debian, Ubuntu:  sudo apt-get install $list"
        echo "  Fedora, RHEL:    sudo dnf install gcc pkgconf-pkg-config openmpi-devel hdf5-devel clang-devel hdf5, then: module load mpi"
        echo "  On a cluster:    module load the site's MPI, HDF5 and LLVM (set HDF5_DIR, LIBCLANG_PATH if the modules don't)"
    } >&2
}

# cargo is on the PATH, or where rustup puts it, and new enough.
_find_cargo() {
    local wanted found
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$1/Cargo.toml")
    if ! _have cargo && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    if ! _have cargo; then
        echo "error: cargo (Rust $wanted or newer) is missing; get it from https://rustup.rs: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2
        return 1
    fi
    if ! found=$(cargo --version 2>&1); then
        printf 'error: cargo does not run: %s\n' "$found" >&2
        return 1
    fi
    found=$(printf '%s\n' "$found" | sed -n 's/^cargo \([0-9]*\.[0-9]*\).*/\1/p')
    if [ -n "$found" ] && [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        echo "error: Rust $wanted or newer is needed, this is $found ($(command -v cargo)); run 'rustup update', or get it from https://rustup.rs" >&2
        return 1
    fi
}

_setup() {
    _bring "$1" || return 1
    [ "$1" != --tests ] || { _bring_nvrtc && _bring_slurm && _bring_test_python && _bring_sampling_packages && _bring_other_mpi; }
}

_bring() {
    local root
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || return 1
    _install_failure=
    _find_cargo "$root" || return 1
    _look "$1"
    [ ${#missing_things[@]} -eq 0 ] && return 0
    if [ ${#missing_packages[@]} -gt 0 ] && _may_install && _install; then
        hash -r
        _look "$1"
        [ ${#missing_things[@]} -eq 0 ] && return 0
    fi
    _say_missing
    return 1
}

# Lets mpirun start N ranks here, whoever asks and however small the machine is. For one machine only: on a cluster
# the batch system says where ranks go.
mpi_environment() {
    local ranks="$1"
    if [ "$(id -u)" -eq 0 ]; then
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
        export PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    # Open MPI counts physical cores, so even two ranks can be too many: always allow more (Open MPI 4; then 5).
    export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
    # Ranks share the machine's cores among their threads instead of being bound to one core each.
    export OMPI_MCA_hwloc_base_binding_policy=none PRTE_MCA_hwloc_default_binding_policy=none
    # Containers forbid this shortcut between processes, and Open MPI complains at length.
    export OMPI_MCA_btl_vader_single_copy_mechanism=none
    if [ "$(nproc)" -lt "$ranks" ]; then
        export OMPI_MCA_mpi_yield_when_idle=1
    fi
}

# Sourced, a failure ends the script that needs this; called, this one.
_setup "${1:---build}" || exit 1
