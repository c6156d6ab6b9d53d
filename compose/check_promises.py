"""What the compose file and the dashboard promise. Reads the resolved compose file from stdin."""

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DASHBOARD = HERE / "grafana" / "dashboards" / "millrace.json"

# They run once and end.
JOBS = {"s3-bucket", "millrace"}
# Asked for by the dashboard before the sources have them; take a name out here when they do.
AWAITED: set[str] = set()
OWN_IMAGE = "millrace:local"
# What a histogram is to Prometheus.
HISTOGRAM = ["_bucket", "_sum", "_count"]


def complaints(name: str, service: dict[str, Any]) -> list[str]:
    found = []
    tag = service["image"].rpartition(":")[2]
    if service["image"] != OWN_IMAGE and not re.search(r"\d+\.\d+", tag):
        found.append(f"image {service['image']} has no pinned version")
    if name not in JOBS and "test" not in service.get("healthcheck", {}):
        found.append("no health check")
    for port in service.get("ports", []):
        if port.get("host_ip") != "127.0.0.1":
            found.append(f"port {port['target']} is published to everybody")
    for key, value in service.get("environment", {}).items():
        if re.search(r"(PASSWORD|SECRET_KEY|TOKEN)$", key) and value:
            found.append(f"{key} is a secret in the environment: use a file")
        # Millrace speaks TLS to other machines unless it is told not to.
        if key == "MILLRACE_CATALOG_URL" and "sslmode=" not in value:
            found.append(f"{key} does not say whether PostgreSQL is reached over TLS")
    return [f"{name}: {text}" for text in found]


def unknown_metrics() -> list[str]:
    """Metrics of the dashboard that no source file sets."""
    asked = set(re.findall(r"millrace_[a-z_]+", DASHBOARD.read_text()))
    folders = [path for path in HERE.parent.iterdir() if (path / "Cargo.toml").exists()] + [HERE.parent / "src"]
    sources = (path for folder in folders for path in folder.rglob("*.rs") if "target" not in path.parts)
    set_in = re.compile(r'\b(counter|gauge|histogram)!\(\s*"(millrace_[a-z_]+)"')
    known = {(kind, name) for path in sources for kind, name in set_in.findall(path.read_text())}
    shown = {name + part for kind, name in known for part in (HISTOGRAM if kind == "histogram" else [""])}
    return [f"dashboard: no source has {name}" for name in sorted(asked - shown - AWAITED)]


def main() -> int:
    services = json.load(sys.stdin)["services"]
    found = [text for name, service in sorted(services.items()) for text in complaints(name, service)]
    found += unknown_metrics()
    for text in found:
        print(text, file=sys.stderr)
    if not found:
        print(f"{len(services)} services: pinned, checked, published to this machine alone; every metric is known")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
