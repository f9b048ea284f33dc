#!/usr/bin/env python3
"""Runs the gateway in front of three real llama-servers and asks it things through the official SDKs.

    tests/e2e/prepare.sh && tests/e2e/run.py --gateway-bin target/debug/plimsoll
    tests/e2e/run.py --direct          # an engine alone, to test the tests

Prints `ok NAME`, `FAILED NAME: why` or `skip NAME: why` for each case and ends with `N passed, N failed, N skipped`.
Exit status 1 if one failed, or with PLIMSOLL_REQUIRE_ALL=1 if one was skipped.
"""
import argparse
import contextlib
import inspect
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cases_batching
import cases_executor
import cases_faults
import cases_grpc
import cases_habits
import cases_llama
import cases_sharing
import cases_text
import cases_watch
import stack as stacks
from runner import Tally, run, say

SDK_LIMIT_S = 600
JOINED = "batching: {enabled: true}"
FAULT_LIMITS = "pipeline: {ttft_limit_ms: 2000, idle_limit_ms: 3000}"


def run_sdk(tally, name, command, stack, only):
    """Runs a script that prints result lines of its own."""
    if not command:
        return tally.skip(name, "its SDK is not installed (run prepare.sh)")
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=stack.sdk_environment(only), text=True)
    killer = threading.Timer(SDK_LIMIT_S, child.kill)
    killer.start()
    try:
        for line in child.stdout:
            tally.relay(line.rstrip("\n"))
        status = child.wait()
    finally:
        killer.cancel()
        child.kill()
    if status not in (0, 1):  # 1 is told by FAILED lines
        tally.fail(name, f"ended with status {status}")


def own_cases(module):
    """The cases of a module in its order: functions of one argument, the stack."""
    functions = [f for _, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__]
    functions.sort(key=lambda f: f.__code__.co_firstlineno)
    area = module.__name__.removeprefix("cases_")
    return [(f"{area}.{f.__name__}", f) for f in functions if list(inspect.signature(f).parameters) == ["stack"]]


def run_modules(tally, stack, modules, only):
    for module in modules:
        for name, function in own_cases(module):
            if only in name:
                run(tally, name, function, stack)


@contextlib.contextmanager
def stack_for(tally, name, start):
    """A running stack, or a failure in its place."""
    try:
        stack = start()
    except (RuntimeError, OSError) as error:
        tally.fail(name, error)
        yield None
        return
    failed_before = tally.failed
    try:
        yield stack
    finally:
        stack.close()
        if tally.failed == failed_before:
            shutil.rmtree(stack.folder, ignore_errors=True)
        else:
            say(f"logs of this stack: {stack.folder}")


def run_everything(tally, binary, only):
    if binary:
        run_executor(tally, binary, only)
    if why := stacks.missing():
        return tally.skip("e2e", why)
    if binary:
        run_llama(tally, Path(binary).with_name("plimsoll-llama"), only)
    with stack_for(tally, "ordinary_stack", lambda: stacks.Stack(binary, extra_config="grpc: {reflection: true}")) as stack:
        if stack:
            run_sdk(tally, "python", stacks.sdk_command(stacks.SDK_PYTHON, "sdk_python.py"), stack, only)
            run_sdk(tally, "node", stacks.sdk_command(stacks.SDK_NODE, "sdk_node.mjs"), stack, only)
            if binary:
                run_sdk(tally, "grpc", stacks.sdk_command(stacks.SDK_PYTHON, "grpc_python.py"), stack, only)
                run_sdk(tally, "table", stacks.sdk_command(stacks.SDK_PYTHON, "table_python.py"), stack, only)
                run_modules(tally, stack, [cases_grpc], only)
            run_modules(tally, stack, [cases_text, cases_habits, cases_sharing], only)
    if binary and any(only in name for name, _ in own_cases(cases_batching)):
        # One slot: with several, what else is computed at the same time changes the last digits of a vector.
        options = {"engines": 1, "slots": 1, "extra_config": JOINED}
        with stack_for(tally, "batching_stack", lambda: stacks.Stack(binary, **options)) as stack:
            if stack:
                run_modules(tally, stack, [cases_batching], only)
    if binary and any(only in name for name, _ in own_cases(cases_watch)):
        with stack_for(tally, "watched_stack", lambda: stacks.Stack(binary)) as stack:
            if stack:
                run_modules(tally, stack, [cases_watch], only)
    if binary and any(only in name for name, _ in own_cases(cases_faults)):
        # Twice the slots: one engine that is left carries the whole load without a queue of its own.
        options = {"slots": 16, "context": 1024, "extra_config": FAULT_LIMITS}
        with stack_for(tally, "fault_stack", lambda: stacks.Stack(binary, **options)) as stack:
            if stack:
                run_modules(tally, stack, [cases_faults], only)


def run_executor(tally, binary, only):
    if not any(only in name for name, _ in own_cases(cases_executor)):
        return
    if not stacks.sdk_command(stacks.SDK_PYTHON, ""):
        return tally.skip("executor", "grpcio is not installed (run prepare.sh)")
    with stack_for(tally, "executor_stack", lambda: stacks.ExecutorStack(binary, "--pause-ms", "2")) as stack:
        if stack:
            run_modules(tally, stack, [cases_executor], only)


def run_llama(tally, binary, only):
    if not any(only in name for name, _ in own_cases(cases_llama)):
        return
    if not binary.exists():
        return tally.skip("llama", f"no {binary.name} beside the gateway (run prepare.sh)")
    with stack_for(tally, "llama_stack", lambda: stacks.LlamaStack(binary)) as stack:
        if stack:
            run_modules(tally, stack, [cases_llama], only)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--gateway-bin", help="the plimsoll binary to test")
    what.add_argument("--direct", action="store_true", help="ask one engine without a gateway")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name contains TEXT")
    options = parser.parse_args()
    # A build that is cancelled ends what was started here, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tally = Tally()
    run_everything(tally, options.gateway_bin, options.only)
    print(tally.summary(), flush=True)
    every = os.environ.get("PLIMSOLL_REQUIRE_ALL") == "1"
    return 1 if tally.failed or (every and tally.skipped) else 0


if __name__ == "__main__":
    sys.exit(main())
