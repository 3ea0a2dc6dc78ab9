"""What the page costs the browser: script time a frame and long tasks, out of Chromium's own trace. Counted is the thread's time on
a core, so that what else runs on the machine does not count."""

import json

CATEGORIES = ["devtools.timeline", "disabled-by-default-devtools.timeline", "v8.execute"]
SCRIPT = {"FunctionCall", "EvaluateScript", "v8.run", "FireAnimationFrame", "EventDispatch", "TimerFire", "RunMicrotasks", "v8.callFunction"}


def measure(browser, page, seconds):
    """Script milliseconds of each frame in order, and every task over 50 ms."""
    browser.start_tracing(page=page, categories=CATEGORIES)
    page.wait_for_timeout(seconds * 1000)
    return read(json.loads(browser.stop_tracing())["traceEvents"])


def read(events):
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    threads = {}
    for event in events:
        if event.get("ph") == "X":
            threads.setdefault((event["pid"], event["tid"]), []).append(event)
    mains = [thread for thread in threads if names.get(thread) == "CrRendererMain"]
    busiest = max(mains, key=lambda thread: sum(e["name"] in SCRIPT for e in threads[thread]))
    own = sorted(threads[busiest], key=lambda e: (e["ts"], -e["dur"]))
    # A frame's script is what ran since the frame before was laid out.
    ends = [e["ts"] for e in own if e["name"] == "Layerize"]
    frames, covered, at = [0.0] * (len(ends) + 1), 0, 0
    for event in own:
        # Nested calls are part of the outermost.
        if event["name"] not in SCRIPT or event["ts"] < covered:
            continue
        covered = event["ts"] + event["dur"]
        while at < len(ends) and ends[at] <= event["ts"]:
            at += 1
        frames[at] += event["tdur"] / 1000
    long_tasks = [e["tdur"] / 1000 for e in own if e["name"] == "RunTask" and e["tdur"] > 50_000]
    return {"frames": frames[1:-1], "long_tasks": long_tasks}


def share(values, wanted):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * wanted))] if ordered else 0.0
