"""A real Prometheus that scrapes every second, as monitoring/prometheus.yaml has it, with the real rules on shorter times."""

import json
import subprocess
import urllib.request
from pathlib import Path
from urllib.parse import quote

import yaml
from services import free_port, wait_until
from shorten import shortened

ROOT = Path(__file__).resolve().parents[3]


class Prometheus:
    def __init__(self, program, folder, factor):
        self.folder = folder / "prometheus"
        self.folder.mkdir()
        rules = (ROOT / "k8s/components/monitoring/rules.yaml").read_text()
        (self.folder / "rules.yaml").write_text(shortened(rules, factor))
        config = yaml.safe_load((ROOT / "monitoring/prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(self.folder / "rules.yaml")]
        # And what a textfile collector would tell of audits.
        config["scrape_configs"] = [self._scraped(name) for name in [*(job["job_name"] for job in config["scrape_configs"]), "audit"]]
        (self.folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(
            [program, f"--config.file={self.folder}/prometheus.yaml", f"--storage.tsdb.path={self.folder}/data",
             f"--web.listen-address={self.url.removeprefix('http://')}", "--log.level=warn"],
            stdout=self.log, stderr=self.log,
        )
        wait_until("Prometheus", self._is_up)

    def _scraped(self, job):
        self.scrape(job, [])
        return {"job_name": job, "file_sd_configs": [{"files": [str(self.folder / f"{job}.json")], "refresh_interval": "1s"}]}

    def _is_up(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
        try:
            return self._get("/-/ready") is not None
        except OSError:
            return False

    def scrape(self, job, addresses):
        """From now on these are the addresses of the job."""
        whole = self.folder / f"{job}.json"
        half = whole.with_suffix(".new")
        half.write_text(json.dumps([{"targets": addresses}]))
        half.rename(whole)

    def _get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.read()

    def alerts(self):
        """The alerts that are pending or firing: [{labels, annotations, state, …}]."""
        return json.loads(self._get("/api/v1/alerts"))["data"]["alerts"]

    def firing(self):
        return [alert for alert in self.alerts() if alert["state"] == "firing"]

    def value(self, expression):
        """[(labels, value)] of an expression now."""
        result = json.loads(self._get(f"/api/v1/query?query={quote(expression)}"))["data"]["result"]
        return [(one["metric"], float(one["value"][1])) for one in result]

    def close(self):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()
