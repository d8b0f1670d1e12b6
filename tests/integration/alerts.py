#!/usr/bin/python3
"""The alert rules: well formed, each firing by its condition and silent without it (deploy/prometheus/rules_test.yml),
naming only metrics that there are, and each with its section in docs/operating.md."""
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

RULES = fleet.ROOT / "deploy/prometheus/rules.yml"


class Alerts(fleet.Case):
    def promtool(self, *words):
        fleet.need("promtool")
        done = subprocess.run(["promtool", *words], cwd=RULES.parent, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_rules_are_well_formed(self):
        self.promtool("check", "rules", RULES.name)

    def test_each_fires_by_its_condition_only(self):
        self.promtool("test", "rules", "rules_test.yml")
        alerts = re.findall(r"alert: (\w+)", RULES.read_text())
        tested = re.findall(r"alertname: (\w+)", (RULES.parent / "rules_test.yml").read_text())
        self.assertEqual(sorted(alerts * 2), sorted(tested))  # once firing, once silent

    def test_metrics_exist(self):
        known = set(re.findall(r'"(cloak_\w+)"', (fleet.ROOT / "common/report/metrics.h").read_text()))
        used = set(re.findall(r"\bcloak_\w+", "".join(re.findall(r"expr: (.*)", RULES.read_text()))))
        used = {re.sub(r"_(sum|count|bucket)$", "", name) for name in used}
        self.assertTrue(used and used <= known, used - known)

    def test_each_has_a_section(self):
        text = (fleet.ROOT / "docs/operating.md").read_text()
        for alert in re.findall(r"alert: (\w+)", RULES.read_text()):
            self.assertIn(f"### {alert}\n", text)


if __name__ == "__main__":
    fleet.main()
