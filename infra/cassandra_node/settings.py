"""What a node of ours is told: a small heap, quick start, nothing of the network but its own ports.

Owns cassandra.yaml, the logging file and the Java command line. Never starts anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

HEAP = "512M"
OFF_HEAP = "256M"

# Java modules Cassandra reaches into; its own start script opens the same ones for Java 17.
_EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.base/java.lang.ref",
    "jdk.unsupported/sun.misc",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.attach/sun.tools.attach",
)
_OPENS = (
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.lang.reflect",
    "jdk.compiler/com.sun.tools.javac",
    "java.base/java.lang",
    "java.base/java.util",
    "java.base/java.nio",
)

_LOGBACK = """<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender">
    <file>{log}</file>
    <encoder><pattern>%-5level [%thread] %date{{ISO8601}} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="FILE"/></root>
</configuration>
"""


class Ports(msgspec.Struct, frozen=True):
    native: int
    storage: int
    jmx: int


def write(folder: Path, host: str, ports: Ports, *, seed: str, more: Mapping[str, object]) -> None:
    """cassandra.yaml and logback.xml in `folder`. JSON is YAML. more: over what a node of ours is told."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    config = _layout(folder, host, ports, seed) | _SMALL | dict(more)
    (folder / "cassandra.yaml").write_bytes(msgspec.json.format(msgspec.json.encode(config)))
    (folder / "logback.xml").write_text(_LOGBACK.format(log=folder / "system.log"), encoding="utf-8")


def _layout(folder: Path, host: str, ports: Ports, seed: str) -> dict[str, object]:
    return {
        "cluster_name": "msgxc",
        "num_tokens": 1,
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "seed_provider": [
            {
                "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                "parameters": [{"seeds": seed}],
            }
        ],
        "listen_address": host,
        "rpc_address": host,
        "native_transport_port": ports.native,
        "storage_port": ports.storage,
        "endpoint_snitch": "SimpleSnitch",
        "auto_bootstrap": False,
        "data_file_directories": [str(folder / "data")],
        "commitlog_directory": str(folder / "commitlog"),
        "saved_caches_directory": str(folder / "saved_caches"),
        "hints_directory": str(folder / "hints"),
        "cdc_raw_directory": str(folder / "cdc_raw"),
        "heap_dump_path": str(folder),
    }


_SMALL: dict[str, object] = {
    "commitlog_sync": "periodic",
    "commitlog_sync_period": "10000ms",
    "commitlog_segment_size": "32MiB",
    "commitlog_total_space": "256MiB",
    # What Cassandra's cassandra_latest.yaml turns on for new clusters.
    "storage_compatibility_mode": "NONE",
    "sstable": {"selected_format": "bti"},
    "memtable": {
        "configurations": {
            "skiplist": {"class_name": "SkipListMemtable"},
            "trie": {"class_name": "TrieMemtable"},
            "default": {"inherits": "trie"},
        }
    },
    "memtable_allocation_type": "offheap_objects",
    # A small footprint.
    "memtable_heap_space": "96MiB",
    "memtable_offheap_space": "96MiB",
    "key_cache_size": "8MiB",
    "counter_cache_size": "4MiB",
    "file_cache_size": "32MiB",
    "networking_cache_size": "32MiB",
    "prepared_statements_cache_size": "4MiB",
    "column_index_size": "4KiB",
    "concurrent_reads": 16,
    "concurrent_writes": 16,
    "concurrent_counter_writes": 8,
    "concurrent_compactors": 1,
    "dynamic_snitch": False,
    # Tables are dropped by the dozen in tests; a snapshot of each would only fill the disk.
    "auto_snapshot": False,
}


def command(java: str, jars: list[Path], folder: Path, ports: Ports) -> list[str]:
    """The node in the foreground."""
    modules = [f"--add-exports={name}=ALL-UNNAMED" for name in _EXPORTS]
    modules += [f"--add-opens={name}=ALL-UNNAMED" for name in _OPENS]
    properties = {
        "java.net.preferIPv4Stack": "true",
        "java.io.tmpdir": folder / "tmp",
        "jdk.attach.allowAttachSelf": "true",
        "io.netty.tryReflectionSetAccessible": "true",
        "io.netty.allocator.useCacheForAllThreads": "true",
        "io.netty.allocator.maxOrder": "11",
        "chronicle.analytics.disable": "true",
        "logback.configurationFile": folder / "logback.xml",
        "cassandra.config": (folder / "cassandra.yaml").as_uri(),
        "cassandra.storagedir": folder,
        "cassandra.logdir": folder,
        "cassandra.libjemalloc": "-",
        "cassandra.jmx.local.port": ports.jmx,
        # One node: there is nobody to wait for.
        "cassandra.skip_wait_for_gossip_to_settle": "0",
        "cassandra.ring_delay_ms": "1000",
        "cassandra.superuser_setup_delay_ms": "0",
    }
    return [
        java,
        *modules,
        "-Xms64M",
        f"-Xmx{HEAP}",
        "-Xss256k",
        f"-XX:MaxDirectMemorySize={OFF_HEAP}",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+PerfDisableSharedMem",
        "-XX:+ExitOnOutOfMemoryError",
        *(f"-D{name}={value}" for name, value in properties.items()),
        "-cp",
        os.pathsep.join(map(str, jars)),
        "org.apache.cassandra.service.CassandraDaemon",
    ]
