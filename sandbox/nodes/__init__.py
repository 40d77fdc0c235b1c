"""A real cluster on this machine: three nodes in namespaces of their own, with containers, Services, DNS and a gateway.

Each node is a process tree in its own network, mount, process and host-name namespace. Nothing is installed on the
host: Debian's packages lie over `/usr` inside a node's mount namespace, and all of a node ends with its first process.
"""
