"""Several Redis processes that make one whole: a Cluster, and a Sentinel with its master."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .binaries import Binary
from .ports import HOST
from .servers import RedisServer, wait_until

SLOTS = 16_384


class _Group:
    """Servers that start and stop together."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self):
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        raise NotImplementedError


class RedisCluster(_Group):
    """Masters that share the slots between them."""

    def __init__(self, binary: Binary | None = None, *, size: int = 3) -> None:
        super().__init__()
        self.nodes = [RedisServer(binary, cluster_enabled=True) for _ in range(size)]
        self._moved: dict[int, RedisServer] = {}

    @property
    def url(self) -> str:
        """The address of one node, ``redis://host:port``; clients find the others."""
        return f"redis://{HOST}:{self.nodes[0].port}"

    def slot_of(self, key: bytes) -> int:
        with self.nodes[0].client() as client:
            return client.execute_command("CLUSTER", "KEYSLOT", key)

    @contextmanager
    def moving(self, slot: int) -> Iterator[None]:
        """Have a slot under way from its node to the next one; at the end its keys go over."""
        source = self._moved.get(slot) or self._first(slot)
        target = self.nodes[(self.nodes.index(source) + 1) % len(self.nodes)]
        with source.client() as here, target.client() as there:
            origin, goal = (each.execute_command("CLUSTER", "MYID") for each in (here, there))
            there.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", origin)
            here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", goal)
            yield
            while keys := here.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
                here.execute_command("MIGRATE", HOST, target.port, keys[0], 0, 5000)
            # Else what the source sent before may have a later epoch, and take the slot back.
            there.execute_command("CLUSTER", "BUMPEPOCH")
        for node in sorted(self.nodes, key=lambda node: node is not target):
            with node.client() as client:
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", goal)
        wait_until(lambda: self._all_know(slot, goal), what="the slot at its new node")
        self._moved[slot] = target

    def _all_know(self, slot: int, owner: bytes) -> bool:
        for node in self.nodes:
            with node.client() as client:
                ranges = client.execute_command("CLUSTER", "SLOTS")
            if not any(first <= slot <= last and at[2] == owner for first, last, at, *_ in ranges):
                return False
        return True

    def _first(self, slot: int) -> RedisServer:
        return next(node for index, node in enumerate(self.nodes) if slot in self._share(index))

    def _start(self, stack: ExitStack) -> None:
        for node in self.nodes:
            stack.enter_context(node)
        for index, node in enumerate(self.nodes):
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTS", *self._share(index))
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
                for other in self.nodes[:index]:
                    client.execute_command("CLUSTER", "MEET", HOST, other.port)
        wait_until(lambda: all(map(self._is_whole, self.nodes)), what="the Redis Cluster")

    def _share(self, index: int) -> range:
        """Slots in one piece: clients read the map at every start, range by range."""
        size = len(self.nodes)
        return range(SLOTS * index // size, SLOTS * (index + 1) // size)

    def _is_whole(self, node: RedisServer) -> bool:
        with node.client() as client:
            state = str(client.execute_command("CLUSTER", "INFO"))
        return "cluster_state:ok" in state and f"cluster_known_nodes:{len(self.nodes)}" in state


class Sentinel(RedisServer):
    """The sentinel process alone; it keeps what it knows in its configuration file."""

    name = "sentinel"

    def __init__(self, binary: Binary | None, watching: RedisServer, service: str) -> None:
        super().__init__(binary)
        self._service = service
        self._configuration = self.directory / "sentinel.conf"
        self._configuration.write_text(
            f"port {self.port}\nbind {HOST}\ndir {self.directory}\n"
            f"sentinel monitor {service} {HOST} {watching.port} 1\n"
            f"sentinel down-after-milliseconds {service} 500\n"
            f"sentinel failover-timeout {service} 2000\n"
        )

    def _command(self) -> list[str]:
        return [str(self.binary.path), str(self._configuration), "--sentinel"]


class RedisSentinel(_Group):
    """One master, its replicas, and one sentinel that watches them.

    Attributes:
        service: The name under which the sentinel knows the master.
        master, replicas, sentinel: The servers, each to be killed or frozen by a test.
    """

    service = "main"

    def __init__(self, binary: Binary | None = None, *, replicas: int = 0) -> None:
        super().__init__()
        at_once = ("--repl-diskless-sync-delay", "0")  # a master of Redis 7 waits 5 s for more
        self.master = RedisServer(binary, args=at_once)
        follow = ("--replicaof", HOST, str(self.master.port), *at_once)
        self.replicas = [RedisServer(binary, args=follow) for _ in range(replicas)]
        self.sentinel = Sentinel(binary, self.master, self.service)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the sentinel."""
        return HOST, self.sentinel.port

    def _start(self, stack: ExitStack) -> None:
        for server in (self.master, *self.replicas, self.sentinel):
            stack.enter_context(server)
        wait_until(self._is_whole, what="the Redis Sentinel")

    def _is_whole(self) -> bool:
        with self.master.client() as master, self.sentinel.client() as sentinel:
            replication = master.info("replication")
            known = sentinel.info("sentinel")["master0"]
        synced = sum(
            replication[f"slave{index}"]["state"] == "online"
            for index in range(replication["connected_slaves"])
        )
        return synced == len(self.replicas) == known["slaves"] and known["status"] == "ok"
