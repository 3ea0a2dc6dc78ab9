"""Each alert rule tried by its fault: the local stack, the real services, a real Prometheus with the real rules on times divided
by a factor (shorten.py). First nothing is wrong for a while and no alert may fire; then each fault is made from outside, its alerts
have to fire with the labels that they are to have, the fault is taken away, and they have to resolve. Prints a table; exit code
1 unless all of it is as it should be."""

import argparse
import shutil
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "end_to_end"))

import services  # noqa: E402
import yaml  # noqa: E402
from faults import ANY, PHASES  # noqa: E402
from fleet import Fleet  # noqa: E402
from server import ROOT, Prometheus  # noqa: E402

# What is not of the rule but of every alert.
ALWAYS = {"alertname", "severity"}
FIRES_WITHIN, RESOLVES_WITHIN = 240, 300


def rules():
    """Each alert's severity."""
    groups = yaml.safe_load((ROOT / "k8s/components/monitoring/rules.yaml").read_text())["groups"]
    return {rule["alert"]: rule["labels"]["severity"] for group in groups for rule in group["rules"] if "alert" in rule}


class Watch(threading.Thread):
    """What fires, looked at twice a second; and everything that ever did."""

    def __init__(self, prometheus):
        super().__init__(daemon=True)
        self.prometheus, self.now, self.ever, self.over = prometheus, [], {}, False

    def run(self):
        while not self.over:
            try:
                self.now = self.prometheus.firing()
            except OSError:
                continue
            for alert in self.now:
                self.ever.setdefault(alert["labels"]["alertname"], alert["labels"])
            time.sleep(0.5)

    def firing(self, name, labels):
        """The alert that fires with these labels."""
        for alert in self.now:
            of_alert = alert["labels"]
            if of_alert["alertname"] == name and all(of_alert.get(label) == value or value is ANY for label, value in labels.items()):
                return alert
        return None


class Trial:
    def __init__(self, fault, watch, severities):
        self.fault, self.watch, self.severities = fault, watch, severities
        self.fired, self.resolved, self.wrong = {}, {}, []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            self._try()
        except Exception:
            self.wrong.append(traceback.format_exc())
            self.ended.set()

    def _try(self):
        self.fault.begin()
        begun = time.monotonic()
        waiting = dict(self.fault.alerts)
        while waiting and time.monotonic() < begun + FIRES_WITHIN:
            for name, labels in list(waiting.items()):
                if alert := self.watch.firing(name, labels):
                    self.fired[name] = time.monotonic() - begun
                    self._check(name, alert, waiting.pop(name))
            time.sleep(0.2)
        self.wrong += [f"{name} did not fire with {labels}" for name, labels in waiting.items()]
        over = time.monotonic()
        ending = threading.Thread(target=self._end, daemon=True)
        ending.start()
        waiting = {name: self.fault.alerts[name] for name in self.fired}
        while waiting and time.monotonic() < over + RESOLVES_WITHIN:
            for name, labels in list(waiting.items()):
                if not self.watch.firing(name, labels):
                    self.resolved[name] = time.monotonic() - over
                    del waiting[name]
            time.sleep(0.2)
        self.wrong += [f"{name} did not resolve" for name in waiting]
        ending.join()

    def _end(self):
        try:
            self.fault.end()
        except Exception:
            self.wrong.append(traceback.format_exc())
        self.ended.set()

    def _check(self, name, alert, labels):
        print(f"  {name} fires after {self.fired[name]:.0f} s: {alert['annotations']['summary']}")
        if alert["labels"]["severity"] != self.severities[name] or set(alert["labels"]) != ALWAYS | set(labels):
            self.wrong.append(f"{name} fires with {alert['labels']}")
        if "no value" in alert["annotations"]["summary"]:
            self.wrong.append(f"{name}: {alert['annotations']['summary']}")

    def rows(self):
        for name in self.fault.alerts:
            times = [f"{times[name]:.0f} s" if name in times else "NEVER" for times in (self.fired, self.resolved)]
            yield f"| [{name}]({name}.md) | {self.fault.what} | {times[0]} | {times[1]} |"


def calm(watch, seconds):
    """With nothing wrong nothing fires. What the start itself has set off is waited for."""
    begun = quiet = time.monotonic()
    while quiet + seconds > time.monotonic():
        if watch.now:
            quiet = time.monotonic()
        assert time.monotonic() < begun + seconds + 60, f"nothing is wrong, and there fires {watch.now}"
        time.sleep(0.2)


def run(fleet, watch, chosen):
    severities, trials = rules(), []
    for phase in PHASES:
        faults = [fault for fault in phase(fleet) if not chosen or chosen & set(fault.alerts)]
        if not faults:
            continue
        watch.ever.clear()
        of_phase = [Trial(fault, watch, severities) for fault in faults]
        trials += of_phase
        for trial in of_phase:
            print(f"{time.strftime('%H:%M:%S')} {trial.fault.what}")
            trial.thread.start()
        for trial in of_phase:
            trial.ended.wait()
            if not trial.fault.lasts:
                trial.thread.join()
        expected = {name for trial in trials for name in trial.fault.alerts}
        if others := set(watch.ever) - expected:
            print(f"  fired too: {', '.join(sorted(others))}")
        wait_for_calm(watch, {name for trial in trials if trial.fault.lasts for name in trial.fault.alerts})
    for trial in trials:
        trial.thread.join()
    return trials


def wait_for_calm(watch, lasting):
    until = time.monotonic() + RESOLVES_WITHIN
    while left := [alert["labels"] for alert in watch.now if alert["labels"]["alertname"] not in lasting]:
        assert time.monotonic() < until, f"the faults are gone, and there fires {left}"
        time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", required=True, help="the Prometheus server")
    parser.add_argument("--binaries", type=Path, help="the folder of the services (target/debug)")
    parser.add_argument("--factor", type=float, default=20, help="what the rules' times are divided by")
    parser.add_argument("--calm", type=float, default=60, help="seconds in which nothing may fire before the first fault")
    parser.add_argument("--keep", action="store_true", help="keep the folder of logs")
    parser.add_argument("alert", nargs="*", help="these alerts only")
    asked = parser.parse_args()
    if asked.binaries:
        services.BINARIES = asked.binaries
    begun = time.monotonic()
    # Not below a folder that its owner alone may enter: a database that refuses root runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="tickstream-alerts-"))
    folder.chmod(0o755)
    prometheus = fleet = None
    try:
        prometheus = Prometheus(asked.prometheus, folder, asked.factor)
        fleet = Fleet(folder, prometheus)
        watch = Watch(prometheus)
        watch.start()
        print(f"{time.strftime('%H:%M:%S')} all is well: {len(fleet.scraped)} services; logs are in {folder}")
        calm(watch, asked.calm)
        print(f"nothing fired for {asked.calm:g} s")
        trials = run(fleet, watch, set(asked.alert))
        watch.over = True
        audited = fleet.audit()
    finally:
        if fleet:
            fleet.close()
        if prometheus:
            prometheus.close()
        if not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"\nTimes are divided by {asked.factor:g}; it took {(time.monotonic() - begun) / 60:.0f} minutes. Afterwards the audit found "
          f"everything equal: {audited['delivered']} records delivered, {audited['postgres_rows']} rows.\n")
    return tell(trials, asked)


def tell(trials, asked):
    print("| alert | fault | fired after | resolved after |\n|---|---|---|---|")
    for trial in trials:
        print("\n".join(trial.rows()))
    wrong = [text for trial in trials for text in trial.wrong]
    tried = {name for trial in trials for name in trial.fault.alerts}
    if not asked.alert and tried != set(rules()):
        wrong.append(f"not tried, or no rule: {sorted(tried ^ set(rules()))}")
    for text in wrong:
        print(f"WRONG: {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
