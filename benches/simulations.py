"""The sections of RESULTS.md that are simulated: the same figures on every machine."""

import csv
import json
import pathlib
import re
import tempfile

import children
from children import Skipped


def scenario(name, metrics=("TTFT",)):
    """What a scenario comes to, as the program prints it: some metrics, beside what was published."""
    try:
        said = children.plimsoll("simulate", name)
    except RuntimeError as error:
        if "no trace" in str(error):
            raise Skipped(f"{error} (PLIMSOLL_TRACES names the folder of traces)") from error
        raise
    kept, keeps = [], True
    for line in said.splitlines():
        # A line that begins with a word begins another metric, and a row of the same one with spaces.
        if line and not line.startswith(" "):
            keeps = line.startswith((*metrics, "published", name))
            kept += [""] * line.startswith("published")
        if keeps:
            kept.append(line)
    return f"plimsoll simulate {name}", "```text\n" + "\n".join(kept) + "\n```"


def theory():
    """The supermarket model"""
    return scenario("power-of-two")


def mooncake():
    """A published figure, where its trace is there"""
    return scenario("mooncake-fig5")


def precise():
    """llm-d's published figures of routing by known prefixes"""
    return scenario("llm-d-precise", ("TTFT mean", "TTFT p99", "cache hit", "tokens/s"))


def shown(name):
    """The file of a scenario, without the variants that it compares."""
    text = children.plimsoll("simulate", name, "--show")
    return re.sub(r"^variants:\n(  - .*\n)+", "", text, flags=re.MULTILINE)


def conversations():
    """Mooncake's conversations before GPUs that are not quite what the table says, with as many as the paper and with fewer."""
    eight = shown("mooncake-fig5").replace("speed_sigma: 0}", "speed_sigma: 0.3}")
    return eight, eight.replace("count: 8", "count: 6")


def with_line(text):
    """A scenario that sends at once, with the line that the configuration has."""
    assert "routing: {line_prefill_ms: 0}\n" in text
    return text.replace("routing: {line_prefill_ms: 0}\n", "")


def routing():
    """The default policy beside others, where its traces are there"""
    eight, six = conversations()
    cached = {
        "Mooncake conversations, 8 backends": eight,
        "Mooncake conversations, 6 backends": six,
        "the same before 4 gateways, reports each second": f"{six}gateways: [{{count: 4}}]\nreports_ms: 1000\n",
        "6 backends and a gateway that holds back": with_line(six),
    }
    names = ("azure-conversation", "azure-code", "three-regions", "mixed-gpus", "many-gateways")
    metrics = ("TTFT mean", "TTFT p99", "E2E mean", "attainment", "cache hit", "dollars")
    rows = ["| | policy | " + " | ".join(metrics) + " |", "|---|---|" + "--:|" * len(metrics)]
    # Policies differ as much as they do with nothing dearer: the first is what the others are held against.
    simple = ("power_of_two", "least_tokens")
    for name, text in cached.items():
        rows += compared((name, text), metrics, (*simple, "prefix_hash", "prefix_affinity", "expected_cost"))
    for name in names:
        rows += compared((name, shown(name)), metrics, (*simple, "expected_cost"))
    how = (
        "Means over five seeds, GPUs off from their table by a lognormal factor (\u03c3 0.3), prompts by another (\u03c3 0.2).\n"
        "Below a mean its ratio to `power_of_two` with 95 % confidence, seed by seed."
    )
    return "benches/results.py routing", f"{how}\n\n" + "\n".join(rows)


def knowledge():
    """The default policy where it knows less: old reports, several gateways"""
    _, six = conversations()
    rows = ["| gateways | reports | TTFT mean | to the first row | cache hit |", "|--:|---|--:|--:|--:|"]
    first = None
    worlds = ((1, 0), (1, 1_000), (1, 15_000), (4, 200), (4, 1_000), (4, 15_000), (4, 0), (16, 1_000))
    sharing = ((six, 4, 1_000, True), (with_line(six), 1, 0, False), (with_line(six), 4, 1_000, True))
    for world, gateways, millis, caches in (*((six, *world, False) for world in worlds), *sharing):
        told = f"reports_ms: {millis}\ntell_caches: {str(caches).lower()}\n"
        text = f"{world}gateways: [{{count: {gateways}}}]\n{told}"
        (policy,) = compare(text, ("expected_cost",))
        scores = {score["metric"]: score["mean"] for score in policy["scores"]}
        mean, hit = scores["TTFT mean"], scores["cache hit"]
        first = first or mean
        told = (f"each {millis / 1_000:g} s" if millis else "none") + (", of caches too" if caches else "")
        told += ", holds back" if world != six else ""
        rows.append(f"| {gateways} | {told} | {mean:.2f} s | \u00d7{mean / first:.2f} | {100 * hit:.1f} % |")
    how = "Mooncake conversations, six backends, five seeds, as in the table above. One gateway knows all that was sent."
    return "benches/results.py knowledge", f"{how}\n\n" + "\n".join(rows)


def line():
    """What it is worth to send no more than is read soon"""
    _, six = conversations()
    at_once = "routing: {line_prefill_ms: 0}\n"
    worlds = {
        name: (f"{shown(name)}{at_once}", shown(name)) for name in ("azure-conversation", "azure-code")
    } | {"Mooncake conversations, 6 backends": (six, with_line(six))}
    metrics = ("TTFT mean", "TTFT p99", "E2E mean", "attainment", "cache hit")
    rows = ["| | sends | " + " | ".join(metrics) + " |", "|---|---|" + "--:|" * len(metrics)]
    for name, texts in worlds.items():
        for sends, text in zip(("at once", "up to the line"), texts):
            (policy,) = compare(text, ("expected_cost",))
            rows.append(f"| {name} | {sends} | {cells(policy, metrics)} |")
    how = "`expected_cost`, five seeds. What is refused, since it would have waited more than five seconds, attains nothing."
    return "benches/results.py line", f"{how}\n\n" + "\n".join(rows)


def regions():
    """Three regions that share, beside each by itself"""
    metrics = ("dollars", "attainment", "TTFT mean", "TTFT p99", "E2E mean", "cache hit")
    rows = ["| | " + " | ".join(metrics) + " |", "|---|" + "--:|" * len(metrics)]
    text = children.plimsoll("simulate", "three-regions", "--show")
    rows += [f"| {row['policy']} | {cells(row, metrics)} |" for row in compare(text, ("expected_cost",))]
    how = "`three-regions`, five seeds. Below a mean its ratio to the regions that share."
    return "benches/results.py regions", f"{how}\n\n" + "\n".join(rows)


def outage():
    """A region that dies under load"""
    metrics = ("failures", "TTFT mean", "TTFT p99", "E2E mean", "goodput")
    rows = ["| | " + " | ".join(metrics) + " |", "|---|" + "--:|" * len(metrics)]
    text = children.plimsoll("simulate", "region-outage", "--show")
    rows += [f"| {row['policy']} | {cells(row, metrics)} |" for row in compare(text, ("expected_cost", "round_robin"))]
    how = "`region-outage`, five seeds: a region of 6 of 14 GPUs is dead from 120 s to 180 s of 300 s."
    return "benches/results.py outage", f"{how}\n\n" + "\n".join(rows)


def compared(world, metrics, policies):
    """The rows of one scenario: policies, and what each came to."""
    name, text = world
    rows = []
    for policy in compare(text, policies):
        rows.append(f"| {name} | `{policy['policy']}` | {cells(policy, metrics)} |")
        name = ""
    return rows


def compare(text, policies):
    """What a scenario comes to with each policy, over five seeds."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-results-"))
    (folder / "scenario.yaml").write_text(text)
    switches = ("--policies", ",".join(policies), "--seeds", 5, "--json", folder / "report.json")
    try:
        children.plimsoll("simulate", folder / "scenario.yaml", *switches)
    except RuntimeError as error:
        if "no trace" in str(error):
            raise Skipped(f"{error} (PLIMSOLL_TRACES names the folder of traces)") from error
        raise
    return json.loads((folder / "report.json").read_text())["policies"]


def cells(policy, metrics):
    """What a policy came to, metric by metric."""
    scores = {score["metric"]: score for score in policy["scores"]}
    return " | ".join(cell(scores.get(metric)) for metric in metrics)


def cell(score):
    """A mean, and how it differs from the first policy's."""
    if score is None:
        return ""
    mean, change = score["mean"], score["change"]
    share = score["metric"] in ("attainment", "cache hit", "failures")
    text = f"{100 * mean:.3g} %" if share else f"{mean:.3g}"
    if not change or change.get("scale") == "difference" or share:
        return text
    return f"{text}<br>\u00d7{change['change']:.2f} ({change['low']:.2f}\u2013{change['high']:.2f})"


def queue():
    """Waiting here instead of there, where its trace is there"""
    metrics = ("TTFT mean", "TTFT p99", "TPOT p99", "goodput", "attainment", "failures")
    rows = ["| requests/s | | " + " | ".join(metrics) + " | later than in order |", "|--:|---|" + "--:|" * (len(metrics) + 1)]
    for name, rate in (("queue-memory", 14), ("queue-memory", 16), ("queue-overload", 24)):
        rows += queued(name, rate, metrics)
    how = (
        "Azure conversations on four H200 with Llama 3 8B, three seeds; 77 and 88 requests a second with memory for 90,000\n"
        "tokens on each, 133 with all of it and a wait of 0.6 s at the most. Means, and below them the ratio to dispatch at once\n"
        "by `power_of_two` with 95 % confidence. Failures are refusals, and count against attainment and goodput. Last, of those\n"
        "that got their first token in both worlds, the largest delay beside the world that serves in the order of arrival and\n"
        "refuses nobody."
    )
    return "benches/results.py queue", f"{how}\n\n" + "\n".join(rows)


def queued(name, rate, metrics):
    """The rows of one scenario at one rate: each variant, and how much later than in the order of arrival it began anything."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-results-"))
    text = children.plimsoll("simulate", name, "--show")
    (folder / "all.yaml").write_text(text)
    alone = re.sub(r"variants:\n(  - .*\n)+", "", text)
    (folder / "short.yaml").write_text(alone)
    patient = "pipeline: {queue_order: arrival, max_queued: 1000000, max_wait_ms: 3600000, "
    (folder / "order.yaml").write_text(re.sub(r"pipeline: \{(max_wait_ms: \d+, )?", patient, alone))
    at = ("--rate", rate / float(re.search(r" rate: (\d+)", text)[1]))
    try:
        children.plimsoll("simulate", folder / "all.yaml", *at, "--json", folder / "all.json")
        for world in ("short", "order"):
            children.plimsoll("simulate", folder / f"{world}.yaml", *at, "--csv", folder / f"{world}.csv")
    except RuntimeError as error:
        if "no trace" in str(error):
            raise Skipped(f"{error} (PLIMSOLL_TRACES names the folder of traces)") from error
        raise
    worlds = [csv.DictReader((folder / f"{world}.csv").read_text().splitlines()) for world in ("short", "order")]
    times = [[row["ttft_seconds"] for row in world] for world in worlds]
    late = max(float(short) - float(order) for short, order in zip(*times) if short and order)
    rows = []
    for variant in json.loads((folder / "all.json").read_text())["policies"]:
        said = f"{late:.1f} s" if variant["policy"] == "short first" else ""
        rows.append(f"| {rate * 5.53:.0f} | {variant['policy']} | {cells(variant, metrics)} | {said} |")
    return rows


ALL = (theory, mooncake, precise, routing, knowledge, line, regions, outage, queue)
