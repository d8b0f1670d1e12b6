#!/usr/bin/python3
"""Writes the dashboards beside it, fleet.json, photos.json and device.json: deploy/grafana/dashboards.py

Panels are described here, and every metric in them must be one of common/report/metrics.h or of the rules that
deploy/prometheus records: a name that does not exist is an error. tests/integration/metrics.py runs each query against
a real Prometheus."""
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# title, unit (Grafana's name), [(query, legend)], kind
FLEET = [
    ("Photos in the queue", "short", [("sum by (state) (cloak_queue_photos)", "{{state}}")], "timeseries"),
    ("Photos finished per second", "short", [("cloak:photos:rate5m", "{{outcome}}")], "timeseries"),
    ("Workers", "short", [("cloak_queue_workers", "alive"), ("count(cloak_worker_memory_bytes)", "scraped")], "timeseries"),
    ("Device time ahead, per worker", "s",
        [("cloak_queue_backlog_seconds / clamp_min(cloak_queue_workers, 1)", "until the queue is empty")], "timeseries"),
    ("Longest wait", "s", [("cloak_queue_oldest_seconds", "oldest photo")], "timeseries"),
    ("Attempts that failed, per second", "short", [("sum by (class) (rate(cloak_photo_failures_total[5m]))", "{{class}}")],
        "timeseries"),
    ("Lost, retried, dead, per second", "short", [("sum by (event) (rate(cloak_queue_events_total[5m]))", "{{event}}")], "timeseries"),
    ("Dead photos", "short", [("cloak_queue_dead_photos", "dead")], "stat"),
    ("Books that do not balance", "short", [("cloak_albums_imbalanced", "albums")], "stat"),
    ("Redis", "short", [("cloak_redis_up", "answers")], "stat"),
    ("Claims, 99th percentile", "s",
        [("histogram_quantile(0.99, sum by (le) (rate(cloak_claim_seconds_bucket[5m])))", "claim")], "timeseries"),
    ("Memory per worker", "bytes", [("cloak_worker_memory_bytes", "{{instance}}")], "timeseries"),
    ("Memory of Redis", "bytes", [("cloak_redis_memory_bytes", "{{kind}}")], "timeseries"),
    ("Free space for photos", "bytes", [("cloak_destination_free_bytes", "{{instance}}")], "timeseries"),
    ("Calls to Redis per second", "short", [("sum(rate(cloak_redis_round_trips_total[5m]))", "workers")], "timeseries"),
    ("Versions and models", "short", [("count by (version) (cloak_build_info)", "version {{version}}"),
        ("count by (sha256) (cloak_model_info)", "model {{sha256}}")], "timeseries"),
]
PHOTOS = [
    ("Faces found at IoU 0.5", "percentunit", [("avg by (when) (cloak_recall_ratio)", "recall {{when}}"),
        ("avg by (when) (cloak_average_precision_ratio)", "AP {{when}}")], "timeseries"),
    ("Faces left, last hour", "percentunit", [("cloak:faces_left:ratio1h", "of those found before")], "stat"),
    ("Photos with something left, last hour", "percentunit", [("cloak:residual:ratio1h", "residual")], "stat"),
    ("Where a photo's time goes", "s", [("cloak:stage_seconds:mean5m", "{{stage}}")], "timeseries"),
    ("Seconds per photo", "s",
        [("histogram_quantile(0.5, sum by (le) (rate(cloak_photo_seconds_bucket[5m])))", "median"),
         ("histogram_quantile(0.95, sum by (le) (rate(cloak_photo_seconds_bucket[5m])))", "95 %")], "timeseries"),
    ("Steps per photo", "short",
        [("sum(rate(cloak_attack_steps_total[5m])) / sum(rate(cloak_photos_total[5m]))", "steps")], "timeseries"),
    ("Size after over size before", "short", [('sum(rate(cloak_photo_bytes_total{direction="out"}[5m])) / '
        'sum(rate(cloak_photo_bytes_total{direction="in"}[5m]))', "ratio")], "timeseries"),
]
DEVICE = [
    ("Share of the time that the device works", "percentunit",
        [('sum by (instance) (rate(cloak_stage_seconds_sum{stage=~"detect|attack|verify"}[5m]))', "{{instance}}")], "timeseries"),
    ("Steps of attacks per second", "short", [("sum by (instance) (rate(cloak_attack_steps_total[5m]))", "{{instance}}")],
        "timeseries"),
    ("Photos finished per second", "short", [("sum by (instance) (rate(cloak_photos_total[5m]))", "{{instance}}")], "timeseries"),
    ("Seconds of attack per step", "s", [('sum by (instance) (rate(cloak_stage_seconds_sum{stage="attack"}[5m])) / '
        "sum by (instance) (rate(cloak_attack_steps_total[5m]))", "{{instance}}")], "timeseries"),
    ("Memory in use", "bytes", [("cloak_worker_memory_bytes", "{{instance}}")], "timeseries"),
    ("GPUs: memory in use", "percentunit", [("cloak_gpu_memory_used_bytes / cloak_gpu_memory_total_bytes", "{{instance}} {{gpu}}")],
        "timeseries"),
    ("GPUs: busy", "percentunit", [("cloak_gpu_busy_ratio", "{{instance}} {{gpu}}")], "timeseries"),
    ("Restarts, last hour", "short", [("sum by (instance) (changes(cloak_start_time_seconds[1h]))", "{{instance}}")],
        "timeseries"),
    ("Rests after failures, last hour", "short", [("sum by (instance) (increase(cloak_worker_rests_total[1h]))", "{{instance}}")],
        "timeseries"),
]


def known():
    """Every series that there can be."""
    table = (ROOT / "common/report/metrics.h").read_text()
    names = set()
    for kind, name in re.findall(r'X\(CLOAK_METRIC_\w+, (\w+), "(cloak_\w+)"', table):
        names |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if kind == "HISTOGRAM" else {name}
    return names | set(re.findall(r"record: (\S+)", (ROOT / "deploy/prometheus/rules.yml").read_text()))


def panel(number, title, unit, queries, kind):
    unknown = {name for query, _ in queries for name in re.findall(r"\bcloak[:_][\w:]+", query)} - known()
    if unknown:
        sys.exit(f"dashboards: \"{title}\" names what does not exist: {', '.join(sorted(unknown))}")
    source = {"type": "prometheus", "uid": "${source}"}
    made = {"id": number, "type": kind, "title": title, "datasource": source,
        "gridPos": {"x": (number - 1) % 3 * 8, "y": (number - 1) // 3 * 8, "w": 8, "h": 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": chr(65 + i), "datasource": source, "expr": query, "legendFormat": legend}
            for i, (query, legend) in enumerate(queries)]}
    if kind == "stat":
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}}
    return made


def dashboard(uid, title, panels):
    return {"uid": uid, "title": title, "tags": ["cloakfleet"], "timezone": "", "refresh": "30s", "schemaVersion": 38,
        "time": {"from": "now-6h", "to": "now"}, "editable": True,
        "templating": {"list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]},
        "panels": [panel(i + 1, *p) for i, p in enumerate(panels)]}


def written():
    """{file name: text} of all dashboards."""
    boards = {"fleet.json": dashboard("cloakfleet-fleet", "Cloakfleet: the fleet", FLEET),
        "photos.json": dashboard("cloakfleet-photos", "Cloakfleet: photos", PHOTOS),
        "device.json": dashboard("cloakfleet-device", "Cloakfleet: devices", DEVICE)}
    return {name: json.dumps(board, indent=1) + "\n" for name, board in boards.items()}


if __name__ == "__main__":
    for file_name, text in written().items():
        (HERE / file_name).write_text(text)
