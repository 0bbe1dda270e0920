"""A case table for each filter: who passes, and what is said of who does not."""

from __future__ import annotations

import dataclasses

import pytest

from scheduler.facts import Facts, NumaCell
from scheduler.filters import FILTERS
from scheduler.json_query import BadQuery, check
from tests.scheduler.views import group, host, request, scene

MAKE = {one.__name__: one for one in FILTERS}
FACTS = Facts(
    architecture="x86_64",
    hypervisor_type="QEMU",
    hypervisor_version=7_002_022,
    cpu_model="Skylake",
    cpu_cores=8,
    cpu_features=frozenset({"vmx", "sse4"}),
    numa_cells=(NumaCell(0, 4, 4096), NumaCell(1, 4, 2048)),
    capabilities=frozenset({"numa", "uefi"}),
)
MADE = host(facts=dataclasses.replace(FACTS, domain_type="kvm"), address="10.0.1.7", vcpus=8)
APART, TWO_A_HOST, TOGETHER = group("anti-affinity"), group("anti-affinity", 2), group("affinity")
SOFT = group("soft-anti-affinity")


BAD_QUERY = "cannot be asked: The hint query knows the operators =, <, >, <=, >=, in, not, or, and, not 'exec'."


def spec(**specs):
    return request(extra_specs={key.replace("__", ":"): value for key, value in specs.items()})


def image(**properties):
    return request(image_properties=properties)


def hint(**hints):
    return request(hints=hints)


def numa(**said):
    return request(
        vcpus=4, memory_mb=4096, extra_specs={f"hw:{name.replace('_dot_', '.')}": said[name] for name in said}
    )


# (filter, options, host, request, surroundings, why not; empty: it passes)
CASES = [
    ("AllHostsFilter", {}, host(up=False), request(memory_mb=10**9), scene(), ""),
    ("RetryFilter", {}, host(), request(tried=frozenset({2})), scene(), ""),
    ("RetryFilter", {}, host(), request(seeing=frozenset({1, 2})), scene(), ""),
    ("RetryFilter", {}, host(), request(seeing=frozenset({2})), scene(), "does not see the disks of the server"),
    ("RetryFilter", {}, host(), request(tried=frozenset({1})), scene(), "was tried for this request and failed"),
    ("RequestedHostFilter", {}, host(), request(), scene(), ""),
    ("RequestedHostFilter", {}, host(), request(host="a"), scene(), ""),
    ("RequestedHostFilter", {}, host(), request(host="b"), scene(), "the host b was asked for"),
    ("AvailabilityZoneFilter", {}, host(), request(), scene(), ""),
    ("AvailabilityZoneFilter", {}, host(), request(zone="nova"), scene(), ""),
    ("AvailabilityZoneFilter", {}, host(), request(zone="e"), scene(), "is in zone nova, zone e was asked for"),
    ("ComputeFilter", {}, host(), request(), scene(), ""),
    ("ComputeFilter", {}, host(up=False, down_reason="no route"), request(), scene(), "is down: no route"),
    ("ComputeFilter", {}, host(enabled=False, down_reason="repair"), request(), scene(), "is disabled: repair"),
    ("RamFilter", {}, host(), request(), scene(), ""),
    (
        "RamFilter",
        {},
        host(memory_capacity_mb=24576, memory_used_mb=18476),
        request(memory_mb=8192),
        scene(),
        "wants 8192 MB, 6100 of 24576 MB free at ratio 1.5",
    ),
    ("RamFilter", {}, host(memory_used_mb=2000), request(), scene(), "wants 512 MB, 0 of 1536 MB free at ratio 1.5"),
    ("DiskFilter", {}, host(), request(), scene(), ""),
    ("DiskFilter", {}, host(), request(disk_gb=2), scene(), "wants 2 GB of disk, 1 of 100 GB free at ratio 1"),
    ("CoreFilter", {}, host(), request(), scene(), ""),
    ("CoreFilter", {}, host(), request(vcpus=2), scene(), "wants 2 vCPUs, 1 of 16 free at ratio 16"),
    ("ServerGroupAntiAffinityFilter", {}, host(), request(), scene(), ""),
    ("ServerGroupAntiAffinityFilter", {}, host(), request(group=APART), scene(members=(APART, [2, 3])), ""),
    (
        "ServerGroupAntiAffinityFilter",
        {},
        host(),
        request(group=APART),
        scene(members=(APART, [1, 2])),
        "has 1 of the server group's members, its policy anti-affinity allows 1 on a host",
    ),
    ("ServerGroupAntiAffinityFilter", {}, host(), request(group=TWO_A_HOST), scene(members=(TWO_A_HOST, [1])), ""),
    (
        "ServerGroupAntiAffinityFilter",
        {},
        host(),
        request(group=TWO_A_HOST),
        scene(members=(TWO_A_HOST, [1, 1])),
        "has 2 of the server group's members, its policy anti-affinity allows 2 on a host",
    ),
    ("ServerGroupAntiAffinityFilter", {}, host(), request(group=SOFT), scene(members=(SOFT, [1])), ""),
    ("ServerGroupAffinityFilter", {}, host(), request(), scene(), ""),
    ("ServerGroupAffinityFilter", {}, host(), request(group=TOGETHER), scene(members=(TOGETHER, [])), ""),
    ("ServerGroupAffinityFilter", {}, host(), request(group=TOGETHER), scene(members=(TOGETHER, [1])), ""),
    (
        "ServerGroupAffinityFilter",
        {},
        host(),
        request(group=TOGETHER),
        scene(members=(TOGETHER, [2, 2])),
        "has none of the 2 members of the server group, whose policy is affinity",
    ),
    ("SameHostFilter", {}, host(), hint(), scene(), ""),
    ("SameHostFilter", {}, host(), hint(same_host=["x", "y"]), scene(hinted=(("x", "y"), [1])), ""),
    (
        "SameHostFilter",
        {},
        host(),
        hint(same_host="x"),
        scene(hinted=(("x",), [2])),
        "has none of the instances that the hint same_host names",
    ),
    ("DifferentHostFilter", {}, host(), hint(), scene(), ""),
    ("DifferentHostFilter", {}, host(), hint(different_host="x"), scene(hinted=(("x",), [2])), ""),
    (
        "DifferentHostFilter",
        {},
        host(),
        hint(different_host=["x"]),
        scene(hinted=(("x",), [1])),
        "has an instance that the hint different_host names",
    ),
    ("ComputeCapabilitiesFilter", {}, MADE, request(), scene(), ""),
    ("ComputeCapabilitiesFilter", {}, MADE, spec(capabilities__hypervisor_type="QEMU"), scene(), ""),
    ("ComputeCapabilitiesFilter", {}, MADE, spec(hypervisor_type="s== QEMU"), scene(), ""),
    ("ComputeCapabilitiesFilter", {}, MADE, spec(hw__anything="no business of its"), scene(), ""),
    ("ComputeCapabilitiesFilter", {}, MADE, spec(capabilities__cpu_info__features="<in> vmx"), scene(), ""),
    ("ComputeCapabilitiesFilter", {}, MADE, spec(capabilities__cpu_info__features="<all-in> vmx sse4"), scene(), ""),
    ("ComputeCapabilitiesFilter", {}, MADE, spec(capabilities__cpu_info__topology__cores=">= 8"), scene(), ""),
    ("ComputeCapabilitiesFilter", {}, MADE, spec(capabilities__vcpus_total="= 4"), scene(), ""),
    (
        "ComputeCapabilitiesFilter",
        {},
        MADE,
        spec(capabilities__cpu_info__features="<in> svm"),
        scene(),
        "has others: the flavor asks for cpu_info:features <in> svm",
    ),
    (
        "ComputeCapabilitiesFilter",
        {},
        MADE,
        spec(capabilities__vcpus_total=">= 9"),
        scene(),
        "has 8: the flavor asks for vcpus_total >= 9",
    ),
    (
        "ComputeCapabilitiesFilter",
        {},
        MADE,
        spec(colour="red"),
        scene(),
        "does not have it: the flavor asks for colour red",
    ),
    ("ImagePropertiesFilter", {}, MADE, request(), scene(), ""),
    (
        "ImagePropertiesFilter",
        {},
        MADE,
        image(hw_architecture="x86_64", img_hv_type="qemu", hw_vm_mode="hvm"),
        scene(),
        "",
    ),
    ("ImagePropertiesFilter", {}, MADE, image(architecture="amd64", hypervisor_type="kvm"), scene(), ""),
    ("ImagePropertiesFilter", {}, MADE, image(img_hv_requested_version=">=6.0,<8"), scene(), ""),
    (
        "ImagePropertiesFilter",
        {},
        MADE,
        image(hw_architecture="aarch64"),
        scene(),
        "has the architecture x86_64, the image needs aarch64",
    ),
    (
        "ImagePropertiesFilter",
        {},
        host(),
        image(hw_architecture="aarch64"),
        scene(),
        "has the architecture unknown, the image needs aarch64",
    ),
    ("ImagePropertiesFilter", {}, MADE, image(img_hv_type="xen"), scene(), "runs kvm and qemu, the image needs xen"),
    (
        "ImagePropertiesFilter",
        {},
        host(facts=FACTS),
        image(img_hv_type="kvm"),
        scene(),
        "runs qemu, the image needs kvm",
    ),
    (
        "ImagePropertiesFilter",
        {},
        MADE,
        image(hw_vm_mode="xen"),
        scene(),
        "runs guests in the mode hvm, the image needs xen",
    ),
    (
        "ImagePropertiesFilter",
        {},
        MADE,
        image(img_hv_requested_version=">=8"),
        scene(),
        "has version 7.2.22 of its hypervisor, the image needs >=8",
    ),
    (
        "ImagePropertiesFilter",
        {"image_properties_default_architecture": "arm"},
        MADE,
        request(),
        scene(),
        "has the architecture x86_64, the image needs arm",
    ),
    ("IsolatedHostsFilter", {}, host(), request(image_id="i"), scene(), ""),
    (
        "IsolatedHostsFilter",
        {"isolated_images": ["i"], "isolated_hosts": ["a"]},
        host(),
        request(image_id="i"),
        scene(),
        "",
    ),
    (
        "IsolatedHostsFilter",
        {"isolated_images": ["i"], "isolated_hosts": ["b"]},
        host(),
        request(image_id="i"),
        scene(),
        "is not one of the isolated hosts, where this image must run",
    ),
    (
        "IsolatedHostsFilter",
        {"isolated_hosts": ["a"]},
        host(),
        request(image_id="j"),
        scene(),
        "is kept for isolated images",
    ),
    (
        "IsolatedHostsFilter",
        {"isolated_hosts": ["a"], "restrict_isolated_hosts_to_isolated_images": False},
        host(),
        request(image_id="j"),
        scene(),
        "",
    ),
    ("AggregateInstanceExtraSpecsFilter", {}, host(), spec(ssd="true"), scene(), ""),
    (
        "AggregateInstanceExtraSpecsFilter",
        {},
        host(),
        spec(aggregate_instance_extra_specs__ssd="true"),
        scene(({"ssd": "true"}, [1])),
        "",
    ),
    (
        "AggregateInstanceExtraSpecsFilter",
        {},
        host(),
        spec(aggregate_instance_extra_specs__rack="<or> a <or> b"),
        scene(({"rack": "b, c"}, [1])),
        "",
    ),
    (
        "AggregateInstanceExtraSpecsFilter",
        {},
        host(),
        spec(aggregate_instance_extra_specs__iops=">= 100"),
        scene(({"iops": "50"}, [1]), ({"iops": "200"}, [2])),
        "has iops 50, the flavor asks for >= 100",
    ),
    (
        "AggregateInstanceExtraSpecsFilter",
        {},
        host(),
        spec(aggregate_instance_extra_specs__ssd="true"),
        scene(({"ssd": "true"}, [2])),
        "has no aggregate with ssd, the flavor asks for true",
    ),
    (
        "AggregateInstanceExtraSpecsFilter",
        {"unscoped": True},
        host(),
        spec(ssd="true"),
        scene(),
        "has no aggregate with ssd, the flavor asks for true",
    ),
    ("AggregateImagePropertiesIsolation", {}, host(), image(os="linux"), scene(), ""),
    ("AggregateImagePropertiesIsolation", {}, host(), image(os="linux"), scene(({"os": "linux, bsd"}, [1])), ""),
    ("AggregateImagePropertiesIsolation", {}, host(), image(), scene(({"os": "linux"}, [1])), ""),
    (
        "AggregateImagePropertiesIsolation",
        {},
        host(),
        image(os="windows"),
        scene(({"os": "linux"}, [1])),
        "is kept for images with os linux, this one has windows",
    ),
    (
        "AggregateImagePropertiesIsolation",
        {"aggregate_image_properties_isolation_namespace": "iso"},
        host(),
        image(os="windows"),
        scene(({"os": "linux"}, [1])),
        "",
    ),
    ("AggregateMultiTenancyIsolation", {}, host(), request(project_id="p"), scene(({"x": "q"}, [1])), ""),
    (
        "AggregateMultiTenancyIsolation",
        {},
        host(),
        request(project_id="p"),
        scene(({"filter_tenant_id": "q, p"}, [1])),
        "",
    ),
    (
        "AggregateMultiTenancyIsolation",
        {},
        host(),
        request(project_id="p"),
        scene(({"filter_tenant_id": "q"}, [2])),
        "",
    ),
    (
        "AggregateMultiTenancyIsolation",
        {},
        host(),
        request(project_id="p"),
        scene(({"filter_tenant_id3": "q"}, [1])),
        "is kept for other projects",
    ),
    ("AggregateTypeAffinityFilter", {}, host(), request(flavor_name="m1"), scene(), ""),
    (
        "AggregateTypeAffinityFilter",
        {},
        host(),
        request(flavor_name="m1"),
        scene(({"instance_type": "m1,m2"}, [1])),
        "",
    ),
    (
        "AggregateTypeAffinityFilter",
        {},
        host(),
        request(flavor_name="m1"),
        scene(({"instance_type": "m2"}, [1])),
        "is kept for the flavors m2, not for m1",
    ),
    ("IoOpsFilter", {}, host(), request(), scene(io={1: 7}), ""),
    ("IoOpsFilter", {}, host(), request(), scene(io={1: 8}), "has 8 operations under way, 8 are allowed"),
    (
        "IoOpsFilter",
        {"max_io_ops_per_host": 2},
        host(),
        request(),
        scene(io={1: 2}),
        "has 2 operations under way, 2 are allowed",
    ),
    ("AggregateIoOpsFilter", {}, host(), request(), scene(({"max_io_ops_per_host": "9"}, [1]), io={1: 8}), ""),
    (
        "AggregateIoOpsFilter",
        {},
        host(),
        request(),
        scene(({"max_io_ops_per_host": "9"}, [1]), ({"max_io_ops_per_host": "3"}, [1]), io={1: 3}),
        "has 3 operations under way, 3 are allowed",
    ),
    ("NumInstancesFilter", {}, host(instances=49), request(), scene(), ""),
    ("NumInstancesFilter", {}, host(instances=50), request(), scene(), "has 50 instances, 50 are allowed"),
    ("NumInstancesFilter", {}, host(instances=50), request(instances=0), scene(), ""),
    (
        "AggregateNumInstancesFilter",
        {},
        host(),
        request(),
        scene(({"max_instances_per_host": "3"}, [1])),
        "has 3 instances, 3 are allowed",
    ),
    ("AggregateNumInstancesFilter", {}, host(), request(), scene(({"max_instances_per_host": "x"}, [1])), ""),
    ("SimpleCIDRAffinityFilter", {}, MADE, hint(), scene(), ""),
    ("SimpleCIDRAffinityFilter", {}, MADE, hint(build_near_host_ip="10.0.1.200"), scene(), ""),
    ("SimpleCIDRAffinityFilter", {}, MADE, hint(build_near_host_ip="10.0.0.0", cidr="/16"), scene(), ""),
    (
        "SimpleCIDRAffinityFilter",
        {},
        MADE,
        hint(build_near_host_ip="10.0.2.1", cidr="24"),
        scene(),
        "has the address 10.0.1.7, which is not in 10.0.2.0/24",
    ),
    ("JsonFilter", {}, MADE, hint(), scene(), ""),
    (
        "JsonFilter",
        {},
        MADE,
        hint(query='["and", [">=", "$free_ram_mb", 512], ["=", "$cpu_info.model", "Skylake"]]'),
        scene(),
        "",
    ),
    ("JsonFilter", {}, MADE, hint(query=["in", "vmx", "$cpu_info.features"]), scene(), ""),
    ("JsonFilter", {}, MADE, hint(query=["not", ["=", "$host", "b"]]), scene(), ""),
    ("JsonFilter", {}, MADE, hint(query=["<", "$num_io_ops", 2]), scene(io={1: 1}), ""),
    ("JsonFilter", {}, MADE, hint(query=["<", "$num_io_ops", 2]), scene(io={1: 2}), "does not fulfil the hint query"),
    ("JsonFilter", {}, MADE, hint(query=["<", "$host", 2]), scene(), "does not fulfil the hint query"),
    (
        "JsonFilter",
        {},
        MADE,
        hint(query=["or", [">", 1, 2], ["in", "$host", "x", "y"]]),
        scene(),
        "does not fulfil the hint query",
    ),
    ("JsonFilter", {}, MADE, hint(query=["exec"]), scene(), BAD_QUERY),
    (
        "SimpleCIDRAffinityFilter",
        {},
        MADE,
        hint(build_near_host_ip="10.0.2.1", cidr="/99"),
        scene(),
        "cannot be asked: build_near_host_ip and cidr make no network: 10.0.2.1 and /99.",
    ),
    ("MetricsFilter", {}, host(), request(), scene(), ""),
    (
        "MetricsFilter",
        {"weight_setting": ["cpu.percent=1"]},
        host(),
        request(),
        scene(samples={1: {"cpu.percent": 1.0}}),
        "",
    ),
    (
        "MetricsFilter",
        {"weight_setting": ["cpu.percent=1"]},
        host(),
        request(),
        scene(),
        "has not reported cpu.percent lately",
    ),
    ("NUMATopologyFilter", {}, host(), request(), scene(), ""),
    ("NUMATopologyFilter", {}, MADE, numa(numa_nodes="2"), scene(), ""),
    (
        "NUMATopologyFilter",
        {},
        MADE,
        numa(
            numa_nodes="2", numa_cpus_dot_0="0,1", numa_cpus_dot_1="2-3", numa_mem_dot_0="1024", numa_mem_dot_1="3072"
        ),
        scene(),
        "",
    ),
    ("NUMATopologyFilter", {}, host(), numa(numa_nodes="1"), scene(), "cannot give a guest NUMA cells"),
    (
        "NUMATopologyFilter",
        {},
        MADE,
        numa(numa_nodes="4"),
        scene(),
        "has the NUMA cells 4 CPUs with 4096 MB, 4 CPUs with 2048 MB, which do not hold 1 vCPUs with 1024 MB, "
        "1 vCPUs with 1024 MB, 1 vCPUs with 1024 MB, 1 vCPUs with 1024 MB (ratios included)",
    ),
    (
        "NUMATopologyFilter",
        {},
        MADE,
        numa(numa_nodes="3"),
        scene(),
        "cannot be asked, as hw:numa_nodes and its companions make no sense: 4 vCPUs and 4096 MB do not divide by 3",
    ),
    ("NUMATopologyFilter", {}, MADE, numa(cpu_policy="dedicated"), scene(), "cannot give a guest dedicated CPUs"),
    ("NUMATopologyFilter", {}, MADE, numa(mem_page_size="1GB"), scene(), "cannot give a guest large memory pages"),
    ("PciPassthroughFilter", {}, host(), request(), scene(), ""),
    (
        "PciPassthroughFilter",
        {},
        MADE,
        spec(pci_passthrough__alias="gpu:1"),
        scene(),
        "cannot give a guest PCI devices",
    ),
    (
        "PciPassthroughFilter",
        {"alias": ["gpu=10de:1db6"]},
        host(facts=Facts(capabilities=frozenset({"pci-passthrough"}), pci_devices=("10de:1db6",))),
        spec(pci_passthrough__alias="gpu:1"),
        scene(),
        "",
    ),
    (
        "PciPassthroughFilter",
        {"alias": ["gpu=10de:1db6"]},
        host(facts=Facts(capabilities=frozenset({"pci-passthrough"}), pci_devices=("10de:1db6",))),
        spec(pci_passthrough__alias="gpu:2"),
        scene(),
        "wants 2 of the PCI device 10de:1db6, 1 are there",
    ),
    (
        "PciPassthroughFilter",
        {},
        host(facts=Facts(capabilities=frozenset({"pci-passthrough"}))),
        spec(pci_passthrough__alias="gpu"),
        scene(),
        "cannot be asked for PCI devices: the alias gpu is not defined",
    ),
]


@pytest.mark.parametrize(("name", "options", "view", "wanted", "around", "why"), CASES)
def test_a_filter_lets_pass_or_says_why_not(name, options, view, wanted, around, why):
    one = MAKE[name](options)
    if why:
        assert one.keep([view], wanted, around) == []
        assert one.why(view, wanted, around) == why
        assert one.short or name == "AllHostsFilter"
    else:
        assert one.keep([view], wanted, around) == [view]


def test_every_filter_has_cases_both_ways():
    passing = {case[0] for case in CASES if not case[5]}
    refusing = {case[0] for case in CASES if case[5]}
    assert passing == set(MAKE)
    assert refusing == set(MAKE) - {"AllHostsFilter"}


ROOMS = [
    ("RamFilter", host(memory_used_mb=0), request(), scene(), 3),
    ("DiskFilter", host(disk_used_gb=0), request(disk_gb=30), scene(), 3),
    ("DiskFilter", host(), request(disk_gb=0), scene(), None),
    ("CoreFilter", host(vcpus_used=0), request(vcpus=5), scene(), 3),
    ("NumInstancesFilter", host(instances=48), request(), scene(), 2),
    ("ServerGroupAntiAffinityFilter", host(), request(group=TWO_A_HOST), scene(members=(TWO_A_HOST, [1])), 1),
    ("ServerGroupAntiAffinityFilter", host(), request(), scene(), None),
    ("ComputeFilter", host(), request(), scene(), None),
]


@pytest.mark.parametrize(("name", "view", "wanted", "around", "room"), ROOMS)
def test_how_many_more_a_filter_lets_on_a_host(name, view, wanted, around, room):
    assert MAKE[name]().room(view, wanted, around) == room


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "at most 4096 characters"),
        ("[" * 2000, "is not JSON"),
        ('"text"', "a list that begins with an operator"),
        ({"a": 1}, "a list that begins with an operator"),
        ([], "knows the operators"),
        (["exec", "x"], "knows the operators"),
        (["and"], "needs something"),
        (["=", 1], "compares two values"),
        (["=", "$password", 1], "asks for '$password'"),
        (["=", {"a": 1}, 1], "no object"),
        (["not", ["not"]], "needs something"),
        (["or", *[1] * 300], "at most 200 parts"),
    ],
)
def test_what_is_no_query_is_refused(query, said):
    with pytest.raises(BadQuery) as refused:
        check(query)
    assert said in str(refused.value)


def test_a_query_too_deep_is_refused():
    query: object = True
    for _ in range(12):
        query = ["not", query]
    with pytest.raises(BadQuery, match="10 lists deep"):
        check(query)
