#!/usr/bin/env bash
# Build .venv with what knowswap_mm needs; safe to run again at any time: what is there already is kept, and when
# nothing has changed it ends at once.
#
#   install.sh         everything: mmcv with its operators, all hosts, the tools of the tests (`make setup`)
#   install.sh light   what a classifier needs: mmcv without operators, which takes seconds (`make setup-light`);
#                      an environment that has everything already stays as it is
#
# Environment (all optional, see the Makefile):
#   WHEELS     folder with prebuilt wheels, of onedl-mmcv above all; without it mmcv is compiled
#   PYTHON     interpreter for a new .venv
#   VENV_ARGS  options for `python -m venv`, e.g. --system-site-packages to keep the machine's torch
#   TORCH      what to install when there is no torch
#   MAX_JOBS, CFLAGS, FORCE_CUDA, TORCH_CUDA_ARCH_LIST   passed on to the compilation of mmcv
set -euo pipefail

say() { printf '[setup] %s\n' "$*"; }
die() { printf '[setup] error: %s\n' "$*" >&2; exit 1; }

case ${1:-full} in
full | light) mode=${1:-full} ;;
*) die "there is no set-up '$1': say install.sh or install.sh light" ;;
esac

wheels=${WHEELS:-}
if [ -n "$wheels" ]; then
    [ -d "$wheels" ] || die "WHEELS=$wheels is not a folder"
    wheels=$(cd "$wheels" && pwd -P)
fi

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=.venv/bin/python
stamp=.venv/.setup-stamp
[ "$mode" = full ] || stamp=.venv/.setup-stamp-light
constraints=.venv/.setup-constraints.txt
export OMP_NUM_THREADS=1 PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONDONTWRITEBYTECODE # .venv has its bytecode, as after any pip: else each start would compile torch again
export PATH="$PWD/.venv/bin:$PATH" # torch looks for ninja there: without it mmcv compiles one file at a time

environment() { "$python" -W ignore tools/setup/environment.py "$@"; }
# In the light state pip writes no bytecode of all files, which would be two thirds of its time; the imports of this
# set-up and of the first commands write that of a quarter.
compile=()
[ "$mode" = full ] || compile=(--no-compile)
pip_install() { "$python" -m pip install -qq ${compile[@]+"${compile[@]}"} "$@"; }
supported() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; }

# 1. The virtual environment.
if [ ! -x "$python" ]; then
    base=
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
        if supported "$candidate"; then base=$candidate; break; fi
    done
    [ -n "$base" ] || die "no Python from 3.10 to 3.13 found${PYTHON:+ (PYTHON=$PYTHON)}: install one," \
        "or name one with PYTHON=/path/to/python3"
    say "creating .venv with $("$base" --version)"
    # shellcheck disable=SC2086  # VENV_ARGS is a list of options
    "$base" -m venv ${VENV_ARGS:-} .venv || die "'$base -m venv' failed: on Debian and Ubuntu install" \
        "the package python3-venv"
fi
supported "$python" || die ".venv has $("$python" --version), but 3.10 to 3.13 is needed: remove .venv" \
    "(make distclean) and name another Python with PYTHON=/path/to/python3"
if [[ ${VENV_ARGS:-} == *--system-site-packages* ]] &&
    ! grep -q 'include-system-site-packages = true' .venv/pyvenv.cfg; then
    die ".venv was made without --system-site-packages: run 'make distclean' first"
fi

# Who has everything has what a classifier needs.
for each in .venv/.setup-stamp "$stamp"; do
    if [ -f "$each" ] && [ "$(environment fingerprint)" = "$(cat "$each")" ]; then exit 0; fi
done
rm -f "$stamp"

# 2. What the build of mmcv needs.
say "build tools"
"$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip || die ".venv has no pip and none" \
    "can be put there: remove .venv and try again"
pip_install -r requirements/build.txt

# 3. torch: an installed one is kept.
if beside=$(environment beside_torch); then
    if [ -n "$beside" ]; then
        say "$beside for the installed torch"
        pip_install --no-deps "$beside"
    fi
elif "$python" -c 'from importlib.metadata import version; version("torch")' 2>/dev/null; then
    exit 1 # too old, and said so
else
    spec=${TORCH:-torch==2.13.0 torchvision==0.28.0}
    say "$spec"
    # shellcheck disable=SC2086  # TORCH is a list of requirements
    pip_install $spec 'numpy<2.3'
    if [ "$mode" = light ]; then
        # Its bytecode, while the next steps wait for the network; what goes wrong is seen by the check.
        "$python" -W ignore -c 'import torch._dynamo, torch.distributed.tensor, torch.distributed.optim' \
            >/dev/null 2>&1 &
    fi
fi
environment constraints >"$constraints"

# 4. The start-up shim, before anything imports torchvision.
"$python" tools/setup/install_shim.py

# 5. mmcv. With build isolation, which hides torch, its build leaves the operators out; without, it compiles them.
mmcv_install() {
    CFLAGS=${CFLAGS:--g0 -O1} MAX_JOBS=${MAX_JOBS:-$(getconf _NPROCESSORS_ONLN)} \
        "$python" tools/setup/with_progress.py .venv/mmcv-build.log \
        "$python" -m pip install -v --no-build-isolation --constraint "$constraints" "$@" onedl-mmcv
}
from_wheels() {
    pip_install --only-binary onedl-mmcv --find-links "$wheels" --constraint "$constraints" "$@" onedl-mmcv \
        2>/dev/null && environment ops 2>/dev/null
}
if [ "$mode" = light ]; then
    # The second attempt puts one with operators in the place of one without.
    if [ -n "$wheels" ] && { from_wheels || from_wheels --force-reinstall --no-deps; }; then
        say "onedl-mmcv with its operators, from $wheels"
    elif ! environment mmcv; then
        say "onedl-mmcv without its operators, which a classifier does not need"
        # Not through pip's cache: a later build of everything would find this one there.
        pip_install --no-cache-dir --no-deps --force-reinstall --no-binary onedl-mmcv \
            --constraint "$constraints" onedl-mmcv
    fi
elif ! environment ops 2>/dev/null; then
    options=()
    if "$python" -m pip show --quiet onedl-mmcv 2>/dev/null; then
        options+=(--force-reinstall --no-deps) # it is there, but does not work
    fi
    if [ -n "$wheels" ]; then
        say "onedl-mmcv, from $wheels if a wheel fits"
        options+=(--find-links "$wheels")
    else
        say "onedl-mmcv, compiled here: this takes 5 to 20 minutes"
    fi
    mmcv_install ${options[@]+"${options[@]}"}
    if ! environment ops; then
        say "this build of onedl-mmcv does not fit the installed torch: compiling it, 5 to 20 minutes"
        mmcv_install --force-reinstall --no-deps --no-cache-dir --no-binary onedl-mmcv
        environment ops || die "the operators of mmcv do not work; the message above says why"
    fi
fi

# 6. The hosts and the tools.
lists=(runtime)
if [ "$mode" = full ]; then
    lists+=(detection segmentation tests)
fi
say "requirements: ${lists[*]}"
# shellcheck disable=SC2046  # a list of options
pip_install --constraint "$constraints" $(printf -- "--requirement=requirements/%s.txt " "${lists[@]}")

# 7. The package itself.
say "knowswap_mm"
pip_install --no-deps --no-build-isolation --editable .

# 8. Does it all work together?
say "checking"
wait # for the bytecode of torch
environment "check_$mode"
if grep -q 'include-system-site-packages = false' .venv/pyvenv.cfg; then
    "$python" -m pip check --quiet || die "the versions of the packages do not fit, see above"
fi
environment fingerprint >"$stamp"
say "done"
