#!/usr/bin/env bash
# Sets up what run.py needs, in a cache outside the clone. Safe to run again: what is there is kept.
#
#   prepare.sh                    all parts
#   prepare.sh python engine      only these (E2E_PARTS="python engine" says the same)
#
#   python   virtual environment with the OpenAI SDK, grpcio, h2 $CACHE/e2e-python
#   node     folder with the OpenAI SDK and buf             $CACHE/e2e-node
#   engine   llama.cpp's llama-server, built from source    $CACHE/llama-server-$ENGINE_VERSION
#   model    a tiny model made on the spot                  $CACHE/tiny.gguf
#   llama    the binary with llama.cpp in it                plimsoll-llama beside target/debug/plimsoll
#
# A part that cannot be had prints one line `SKIP part: why`; with PLIMSOLL_REQUIRE_ALL=1 that is a failure.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
CACHE=${PLIMSOLL_CACHE:-$HOME/.cache/plimsoll}
PARTS=${*:-${E2E_PARTS:-python node engine model llama}}
ENGINE_VERSION=0.3.36
PYTHON=$CACHE/e2e-python/bin/python
SKIPPED=0

skip() {
    echo "SKIP $1: $2"
    SKIPPED=$((SKIPPED + 1))
}

have() { command -v "$1" >/dev/null 2>&1; }

# quietly PART SECONDS COMMAND...: the output goes to a log, and nothing runs for ever.
quietly() {
    local log=$CACHE/log/$1.log limit=$2
    shift 2
    if have timeout; then set -- timeout "$limit" "$@"; fi
    echo "+ $*" >>"$log"
    "$@" >>"$log" 2>&1 </dev/null
}

# made STAMP SOURCE: was the part made from exactly this source?
made() { cmp -s "$1" "$2"; }

prepare_python() {
    local stamp=$CACHE/e2e-python/made-from
    # The second look is for a system Python that was upgraded under the environment.
    if made "$stamp" "$HERE/requirements.txt" && "$PYTHON" -c "import openai, grpc, h2" 2>/dev/null; then return 0; fi
    have python3 || { why="no python3"; return 1; }
    rm -rf "$CACHE/e2e-python"
    quietly python 300 python3 -m venv "$CACHE/e2e-python" || { why="no venv module (Debian: python3-venv)"; return 1; }
    quietly python 900 "$PYTHON" -m pip install -r "$HERE/requirements.txt" || { why="pip install failed"; return 1; }
    cp "$HERE/requirements.txt" "$stamp"
}

prepare_node() {
    local stamp=$CACHE/e2e-node/made-from
    if made "$stamp" "$HERE/package.json"; then return 0; fi
    have node || { why="no node"; return 1; }
    have npm || { why="no npm"; return 1; }
    rm -rf "$CACHE/e2e-node"
    mkdir -p "$CACHE/e2e-node" && cp "$HERE/package.json" "$CACHE/e2e-node/" || return 1
    quietly node 900 npm install --prefix "$CACHE/e2e-node" --no-audit --no-fund --no-package-lock --ignore-scripts ||
        { why="npm install failed"; return 1; }
    (cd "$CACHE/e2e-node" && quietly node 60 node -e 'require("openai")') ||
        { why="this node cannot load the SDK"; return 1; }
    cp "$HERE/package.json" "$stamp"
}

# The engine comes as the source archive of a Python package, which carries all of llama.cpp.
unpack_engine() {
    local source=$1
    if [ -d "$source/llama.cpp" ]; then return 0; fi
    prepare_python || return 1
    quietly engine 900 "$PYTHON" -m pip download --no-deps --no-binary llama-cpp-python \
        --dest "$source/sdist" "llama-cpp-python==$ENGINE_VERSION" || { why="pip download failed"; return 1; }
    tar -xzf "$source/sdist/llama_cpp_python-$ENGINE_VERSION.tar.gz" -C "$source" ||
        { why="the source archive does not unpack"; return 1; }
    mv "$source/llama_cpp_python-$ENGINE_VERSION/vendor/llama.cpp" "$source/llama.cpp"
}

# One static program without OpenMP, web page or downloads at build time.
engine_flags() {
    local off
    echo -DCMAKE_BUILD_TYPE=Release
    for off in BUILD_SHARED_LIBS GGML_NATIVE GGML_OPENMP LLAMA_BUILD_TESTS LLAMA_BUILD_EXAMPLES LLAMA_BUILD_APP \
        LLAMA_BUILD_UI LLAMA_USE_PREBUILT_UI LLAMA_OPENSSL; do
        echo "-D$off=OFF"
    done
    # Named one by one because a native build would not run on another machine that shares the cache.
    if grep -qsw avx2 /proc/cpuinfo; then echo -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON; fi
    if have ninja; then echo -G Ninja; fi
}

prepare_engine() {
    local binary=$CACHE/llama-server-$ENGINE_VERSION source=$CACHE/build-llama-$ENGINE_VERSION jobs
    if [ -x "$binary" ]; then return 0; fi
    have cmake || { why="no cmake"; return 1; }
    have c++ || { why="no C++ compiler"; return 1; }
    have ninja || have make || { why="neither ninja nor make"; return 1; }
    mkdir -p "$source"
    unpack_engine "$source" || return 1
    jobs=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
    # Word splitting is wanted: no flag holds a space.
    # shellcheck disable=SC2046
    quietly engine 600 cmake -S "$source/llama.cpp" -B "$source/build" $(engine_flags) ||
        { why="cmake failed"; return 1; }
    quietly engine 5400 nice -n 5 cmake --build "$source/build" --target llama-server -j "$jobs" ||
        { why="the build failed"; return 1; }
    strip "$source/build/bin/llama-server" 2>/dev/null || true
    cp "$source/build/bin/llama-server" "$binary.new" && mv "$binary.new" "$binary" && rm -rf "$source"
}

prepare_model() {
    local stamp=$CACHE/tiny.made-from
    if [ -f "$CACHE/tiny.gguf" ] && made "$stamp" "$HERE/tiny_model.py"; then return 0; fi
    prepare_python || return 1
    quietly model 120 "$PYTHON" "$HERE/tiny_model.py" "$CACHE/tiny.gguf.new" ||
        { why="tiny_model.py failed"; return 1; }
    mv "$CACHE/tiny.gguf.new" "$CACHE/tiny.gguf" && cp "$HERE/tiny_model.py" "$stamp"
}

have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || have llvm-config || ldconfig -p 2>/dev/null | grep -Eq 'libclang(-[0-9]+)?\.so'
}

# Cargo sees by itself what has to be built again. What was built last stands at debug/plimsoll: that is to be the ordinary
# binary again afterwards.
prepare_llama() {
    local target=${CARGO_TARGET_DIR:-$HERE/../../target}
    have cargo || { why="no cargo"; return 1; }
    have cmake || { why="no cmake"; return 1; }
    have c++ || { why="no C++ compiler"; return 1; }
    have_libclang || { why="no libclang (Debian: libclang-dev)"; return 1; }
    (
        cd "$HERE/../.." &&
            quietly llama 3600 cargo build --locked --features llama &&
            cp "$target/debug/plimsoll" "$target/debug/plimsoll-llama.new" &&
            mv "$target/debug/plimsoll-llama.new" "$target/debug/plimsoll-llama" &&
            quietly llama 3600 cargo build --locked
    ) || { why="the build failed"; return 1; }
}

mkdir -p "$CACHE/log"
# Two runs at once would build into the same folder.
if have flock; then
    exec 9>"$CACHE/e2e.lock"
    flock 9
fi

# A function called in a condition runs without `set -e`: each returns non-zero itself, and says why in `why`.
for part in $PARTS; do
    case $part in
    python | node | engine | model | llama) ;;
    *) echo "prepare.sh: no part '$part'; there are python, node, engine, model, llama" >&2 && exit 2 ;;
    esac
    rm -f "$CACHE/log/$part.log"
    why=unknown
    if "prepare_$part"; then
        echo "ready $part"
    else
        [ -f "$CACHE/log/$part.log" ] && why="$why (see $CACHE/log/$part.log)"
        skip "$part" "$why"
    fi
done

if [ "$SKIPPED" -gt 0 ] && [ "${PLIMSOLL_REQUIRE_ALL:-}" = 1 ]; then exit 1; fi
