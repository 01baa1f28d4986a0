"""A Ray cluster on the loopback address."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

#: No dashboard, and little shared memory.
SMALL = {"include_dashboard": False, "object_store_memory": 80 * 2**20, "dashboard_agent_listen_port": 0}


class Nodes:
    """A cluster whose nodes are processes of their own.

    Args:
        niceness: of the processes of the head.
        options: of the head, as `ray start` takes them.
    """

    def __init__(self, niceness: int, **options: Any) -> None:
        from ray import cluster_utils

        self.cluster = cluster_utils.Cluster()
        self.head = self.add(niceness, **options)
        self.address = self.cluster.address

    def add(self, niceness: int, **options: Any) -> Any:
        """A node; what Ray adds to the priority of its processes tells them apart, on one machine."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_worker_niceness", str(niceness))
            patch.setenv("RAY_health_check_period_ms", "500")
            patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
            return self.cluster.add_node(wait=True, **SMALL, **options)

    def remove(self, node: Any) -> None:
        """Kill a node."""
        self.cluster.remove_node(node, allow_graceful=False)

    def shut_down(self) -> None:
        """End the connection of this process and the cluster."""
        import ray

        ray.shutdown()
        self.cluster.shutdown()
