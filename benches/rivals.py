"""Other proxies, found on this machine: how each is started before the same backends, with as many threads."""

import os
import pathlib
import shutil
import subprocess
import sys

import children

HOME = pathlib.Path.home() / ".cache/plimsoll/rivals"
WHEELS = ["vllm-router==0.1.17", "sglang-router==0.3.2", "smg==1.13.0"]

HAPROXY = """
global
    nbthread {threads}
    maxconn 4000
defaults
    mode http
    # Without this the tokens of a stream are held back and leave in bursts.
    option http-no-delay
    http-reuse always
    timeout connect 5s
    timeout client 5m
    timeout server 5m
listen all
    bind 127.0.0.1:{port}
    balance roundrobin
{servers}
"""

NGINX = """
user root;
worker_processes {threads};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log error;
worker_rlimit_nofile 20000;
events {{ worker_connections 8000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 256k;
    keepalive_requests 1000000000;
    upstream all {{
{servers}
        keepalive 1100;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://all;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 5m;
        }}
    }}
}}
"""

ENVOY = """
static_resources:
  listeners:
  - name: callers
    enable_reuse_port: true
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: callers
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: all, timeout: 0s}}}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: all
    type: STATIC
    lb_policy: ROUND_ROBIN
    circuit_breakers: {{thresholds: [{{max_connections: 10000, max_pending_requests: 10000, max_requests: 10000}}]}}
    load_assignment:
      cluster_name: all
      endpoints:
      - lb_endpoints:
{servers}
"""

LITELLM = """
model_list:
{servers}
router_settings: {{routing_strategy: simple-shuffle, num_retries: 0}}
litellm_settings: {{telemetry: false}}
general_settings: {{disable_spend_logs: true}}
"""

# Its configuration, and how it names a backend there.
FORMS = {
    "haproxy": (HAPROXY, "    server s{port} 127.0.0.1:{port}"),
    "nginx": (NGINX, "        server 127.0.0.1:{port};"),
    "envoy": (ENVOY, "      - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}"),
    "litellm": (
        LITELLM,
        "  - model_name: m\n"
        '    litellm_params: {{model: openai/m, api_base: "http://127.0.0.1:{port}/v1", api_key: none}}',
    ),
}
ROUTER = "--host 127.0.0.1 --port {port} --policy round_robin --prometheus-host 127.0.0.1 --prometheus-port {spare}"
COMMANDS = {
    # Not a rival, but what there is when a proxy does nothing: src/bin/bare.rs.
    "hyper": "--port {port} --threads {threads} --backends {ports}",
    "haproxy": "-db -f {file}",
    "nginx": "-c {file} -e {folder}/nginx-error.log",
    "envoy": "-c {file} --concurrency {threads} -l error --disable-hot-restart",
    "vllm-router": ROUTER + " --log-level warning --worker-startup-check-interval 1 --worker-urls {urls}",
    "sglang-router": "launch " + ROUTER + " --log-level warn --worker-startup-check-interval 1 --worker-urls {urls}",
    "smg": "launch " + ROUTER + " --log-level warn --worker-startup-check-interval 1 --disable-tokenizer-autoload"
    " --worker-urls {urls}",
    "litellm": "--config {file} --host 127.0.0.1 --port {port} --num_workers {threads} --telemetry False",
}
VERSIONS = {"haproxy": "-v", "nginx": "-v", "envoy": "--version"}
# A Python process for each thread: it carries a twentieth of what the others do.
SLOW = {"litellm"}
NAMES = list(COMMANDS)


def found(name):
    """Its program, on the path or where `install` puts it."""
    own = children.TARGET / "release/bare" if name == "hyper" else HOME / "bin" / name
    return str(own) if own.exists() else shutil.which(name)


def command(name, port, spare, backends, threads, folder):
    """How it is started on `port` before the ports `backends`; its configuration is written into `folder`."""
    file = folder / f"{name}.conf"
    said = {"port": port, "spare": spare, "threads": threads, "folder": folder, "file": file}
    if name in FORMS:
        text, server = FORMS[name]
        servers = "\n".join(server.format(port=backend) for backend in backends)
        file.write_text(text.format(servers=servers, **said))
    urls = " ".join(f"http://127.0.0.1:{backend}" for backend in backends)
    ports = ",".join(map(str, backends))
    return [found(name), *COMMANDS[name].format(urls=urls, ports=ports, **said).split()]


def environment(threads):
    """What tells them how many threads to have where no switch does."""
    return {
        "TOKIO_WORKER_THREADS": str(threads),
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "NO_PROXY": "127.0.0.1",
    }


def version(name):
    """Its version as far as it says."""
    if name == "hyper":
        lock = (children.ROOT / "Cargo.lock").read_text()
        return lock.split('name = "hyper"\nversion = "', 1)[1].split('"', 1)[0] + ", bare"
    if name in VERSIONS:
        done = subprocess.run([found(name), VERSIONS[name]], capture_output=True, text=True, check=False)
        words = (done.stdout + done.stderr).replace("nginx/", "").split()
        return next((word for word in words if word[0].isdigit()), "?")
    python = pathlib.Path(found(name)).parent / "python3"
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "?"


def install():
    """Fetches what is not there: wheels from PyPI into a folder of their own, and Debian's packages where one may."""
    packages = [package for name, package in (("haproxy", "haproxy"), ("nginx", "nginx-light")) if not found(name)]
    if packages and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], check=False)
    if not (HOME / "bin/python3").exists():
        subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
    for wheel in WHEELS:
        # One that cannot be had must not keep the others away.
        subprocess.run([HOME / "bin/pip", "install", "-q", wheel], check=False)
