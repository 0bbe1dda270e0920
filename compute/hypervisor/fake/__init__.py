"""A host without a hypervisor, for tests, demonstrations and thousands of hosts on one machine."""

from compute.hypervisor.fake.driver import FakeHypervisor

__all__ = ["FakeHypervisor"]
